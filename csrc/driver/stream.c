#include "stream.h"

#include "errors.h"

/* The rows that have come and the place in them. A subclass has a coroutine method
 * _more() that gives the next rows, a list that is empty at the end. */
struct stream {
    PyObject_HEAD
    PyTypeObject *step_type; /* borrowed: the module of its own type keeps it */
    PyObject *rows; /* list, or NULL */
    Py_ssize_t position;
};

/* What __anext__ gives: an await of one row. */
struct stream_step {
    PyObject_HEAD
    struct stream *stream;
    PyObject *more; /* the coroutine that is awaited, or NULL */
};

/* The next row that is here: a new reference, NULL without an exception when there is none. */
static PyObject *
stream_next(struct stream *stream)
{
    if (stream->rows == NULL || stream->position >= PyList_GET_SIZE(stream->rows)) {
        return NULL;
    }
    PyObject *row = Py_NewRef(PyList_GET_ITEM(stream->rows, stream->position));
    stream->position += 1;
    if (stream->position == PyList_GET_SIZE(stream->rows)) {
        Py_CLEAR(stream->rows);
    }
    return row;
}

/* One step */

/* The coroutine has given `rows` (stolen): the first of them, NULL with StopAsyncIteration or
 * another exception. */
static PyObject *
step_take(struct stream_step *step, PyObject *rows)
{
    struct stream *stream = step->stream;
    Py_CLEAR(step->more);
    if (!PyList_CheckExact(rows)) {
        Py_DECREF(rows);
        return errors_set(PyExc_TypeError, "_more() gives a list");
    }
    Py_XSETREF(stream->rows, rows);
    stream->position = 0;
    PyObject *row = stream_next(stream);
    if (row == NULL) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
    }
    return row;
}

static PySendResult
step_send(struct stream_step *step, PyObject *value, PyObject **result)
{
    if (step->more == NULL) {
        *result = stream_next(step->stream);
        if (*result != NULL) {
            return PYGEN_RETURN;
        }
        step->more = PyObject_CallMethod((PyObject *)step->stream, "_more", NULL);
        if (step->more == NULL) {
            return PYGEN_ERROR;
        }
    }
    PyObject *more = Py_NewRef(step->more);
    PySendResult status = PyIter_Send(more, value, result);
    Py_DECREF(more);
    if (status == PYGEN_NEXT) {
        return PYGEN_NEXT;
    }
    if (status == PYGEN_RETURN) {
        *result = step_take(step, *result);
        return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
    }
    Py_CLEAR(step->more);
    return PYGEN_ERROR;
}

/* As iterators say that they have ended with a value. */
static PyObject *
step_stop(PyObject *row)
{
    PyObject *stop = row == NULL ? NULL : PyObject_CallOneArg(PyExc_StopIteration, row);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
    Py_XDECREF(row);
    return NULL;
}

static PyObject *
Step_send(struct stream_step *step, PyObject *value)
{
    PyObject *result = NULL;
    switch (step_send(step, value, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        return step_stop(result);
    case PYGEN_ERROR:
        break;
    }
    return NULL;
}

static PyObject *
Step_iternext(struct stream_step *step)
{
    return Step_send(step, Py_None);
}

static PyObject *
Step_await(struct stream_step *step)
{
    return Py_NewRef((PyObject *)step);
}

/* The value of the StopIteration that is raised: a new reference; NULL: it is another. */
static PyObject *
step_stopped(void)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return NULL;
    }
    PyObject *stop = errors_take();
    PyObject *value = stop == NULL ? NULL : PyObject_GetAttrString(stop, "value");
    Py_XDECREF(stop);
    return value;
}

static PyObject *
Step_throw(struct stream_step *step, PyObject *args)
{
    if (step->more == NULL) {
        step->more = PyObject_CallMethod((PyObject *)step->stream, "_more", NULL);
        if (step->more == NULL) {
            return NULL;
        }
    }
    PyObject *method = PyObject_GetAttrString(step->more, "throw");
    PyObject *yielded = method == NULL ? NULL : PyObject_Call(method, args, NULL);
    Py_XDECREF(method);
    if (yielded != NULL) {
        return yielded;
    }
    PyObject *rows = step_stopped();
    if (rows != NULL) {
        return step_stop(step_take(step, rows));
    }
    Py_CLEAR(step->more);
    return NULL;
}

static PyObject *
Step_close(struct stream_step *step, PyObject *unused)
{
    (void)unused;
    PyObject *more = step->more;
    step->more = NULL;
    PyObject *done = more == NULL ? Py_NewRef(Py_None) : PyObject_CallMethod(more, "close", NULL);
    Py_XDECREF(more);
    return done;
}

static int
Step_traverse(struct stream_step *step, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(step));
    Py_VISIT(step->stream);
    Py_VISIT(step->more);
    return 0;
}

static int
Step_clear(struct stream_step *step)
{
    Py_CLEAR(step->more);
    return 0;
}

static void
Step_dealloc(struct stream_step *step)
{
    PyTypeObject *type = Py_TYPE(step);
    PyObject_GC_UnTrack(step);
    Py_CLEAR(step->more);
    Py_CLEAR(step->stream);
    PyObject_GC_Del(step);
    Py_DECREF(type);
}

static PyMethodDef Step_methods[] = {
    {"send", (PyCFunction)Step_send, METH_O, NULL},
    {"throw", (PyCFunction)Step_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)Step_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Step_slots[] = {
    {Py_tp_dealloc, Step_dealloc},
    {Py_tp_traverse, Step_traverse},
    {Py_tp_clear, Step_clear},
    {Py_am_await, Step_await},
    {Py_am_send, step_send},
    {Py_tp_iter, Step_await},
    {Py_tp_iternext, Step_iternext},
    {Py_tp_methods, Step_methods},
    {Py_tp_doc, "The await of one row."},
    {0, NULL},
};

static PyType_Spec Step_spec = {
    .name = "pgasync._core.StreamStep",
    .basicsize = sizeof(struct stream_step),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Step_slots,
};

/* The stream */

static PyObject *
Stream_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    PyTypeObject *own = type;
    while (own->tp_base != &PyBaseObject_Type) { /* the module's is the last before it */
        own = own->tp_base;
    }
    struct core_state *st = PyType_GetModuleState(own);
    struct stream *stream = st == NULL ? NULL : (struct stream *)type->tp_alloc(type, 0);
    if (stream != NULL) {
        stream->step_type = st->stream_step_type;
    }
    return (PyObject *)stream;
}

static PyObject *
Stream_anext(struct stream *stream)
{
    struct stream_step *step = PyObject_GC_New(struct stream_step, stream->step_type);
    if (step == NULL) {
        return NULL;
    }
    step->stream = (struct stream *)Py_NewRef((PyObject *)stream);
    step->more = NULL;
    PyObject_GC_Track(step);
    return (PyObject *)step;
}

static PyObject *
Stream_aiter(struct stream *stream)
{
    return Py_NewRef((PyObject *)stream);
}

static PyObject *
Stream_pop(struct stream *stream, PyObject *count)
{
    Py_ssize_t most = PyLong_AsSsize_t(count);
    if (most < 0) {
        return PyErr_Occurred() ? NULL : errors_set(PyExc_ValueError, "%zd rows", most);
    }
    if (stream->rows == NULL) {
        return PyList_New(0);
    }
    Py_ssize_t left = PyList_GET_SIZE(stream->rows) - stream->position;
    if (most >= left && stream->position == 0) {
        PyObject *all = stream->rows;
        stream->rows = NULL;
        return all;
    }
    Py_ssize_t end = stream->position + (most < left ? most : left);
    PyObject *some = PyList_GetSlice(stream->rows, stream->position, end);
    stream->position = end;
    if (end == PyList_GET_SIZE(stream->rows)) {
        Py_CLEAR(stream->rows);
    }
    return some;
}

static PyObject *
Stream_push(struct stream *stream, PyObject *rows)
{
    if (!PyList_CheckExact(rows)) {
        return errors_set(PyExc_TypeError, "_push() takes a list");
    }
    Py_XSETREF(stream->rows, Py_NewRef(rows));
    stream->position = 0;
    Py_RETURN_NONE;
}

static int
Stream_traverse(struct stream *stream, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(stream));
    Py_VISIT(stream->rows);
    return 0;
}

static int
Stream_clear(struct stream *stream)
{
    Py_CLEAR(stream->rows);
    return 0;
}

static void
Stream_dealloc(struct stream *stream)
{
    PyTypeObject *type = Py_TYPE(stream);
    PyObject_GC_UnTrack(stream);
    Stream_clear(stream);
    type->tp_free(stream);
    Py_DECREF(type);
}

static PyMethodDef Stream_methods[] = {
    {"_pop", (PyCFunction)Stream_pop, METH_O, NULL},
    {"_push", (PyCFunction)Stream_push, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Stream_slots[] = {
    {Py_tp_new, Stream_new},
    {Py_tp_dealloc, Stream_dealloc},
    {Py_tp_traverse, Stream_traverse},
    {Py_tp_clear, Stream_clear},
    {Py_am_aiter, Stream_aiter},
    {Py_am_anext, Stream_anext},
    {Py_tp_methods, Stream_methods},
    {Py_tp_doc, "Rows for `async for`, a list of them at a time."},
    {0, NULL},
};

static PyType_Spec Stream_spec = {
    .name = "pgasync._core.Stream",
    .basicsize = sizeof(struct stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = Stream_slots,
};

int
stream_type_init(struct core_state *st, PyObject *module)
{
    st->stream_step_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Step_spec, NULL);
    PyObject *type =
        st->stream_step_type == NULL ? NULL : PyType_FromModuleAndSpec(module, &Stream_spec, NULL);
    int status = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return status;
}
