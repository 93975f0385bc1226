#include "copyreader.h"

#include "errors.h"
#include "factory.h"

#include "../wire/copyformat.h"

/* How often a row is decoded again because a value in it was of a type not met before. */
#define COPY_TRIES_MAX 8

struct copy_reader {
    PyObject_HEAD
    struct connection *conn;
    struct operation *op; /* never sent: says what rows are and takes them */
    struct wire_copy format;
    struct wire_buffer kept; /* the beginning of a row whose end has not come */
    bool busy;               /* a codec may be running Python */
};

static int
CopyReader_traverse(struct copy_reader *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->conn);
    Py_VISIT(self->op);
    return 0;
}

static int
CopyReader_clear(struct copy_reader *self)
{
    Py_CLEAR(self->conn);
    Py_CLEAR(self->op);
    return 0;
}

static void
CopyReader_dealloc(struct copy_reader *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    CopyReader_clear(self);
    wire_buffer_clear(&self->kept, false);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Making one */

/* A statement that the server has never seen, with columns of these names and types: a
 * list of (str, int). NULL with an exception. */
static struct statement *
columns_statement(struct core_state *st, PyObject *columns)
{
    struct wire_buffer fields;
    wire_buffer_init(&fields);
    Py_ssize_t count = PyList_GET_SIZE(columns);
    for (Py_ssize_t i = 0; i < count; i++) {
        const char *name;
        unsigned long oid;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(columns, i), "sk", &name, &oid)) {
            wire_buffer_clear(&fields, false);
            return NULL;
        }
        wire_buffer_put(&fields, name, strlen(name) + 1);
        wire_buffer_put_u32(&fields, 0); /* of no table */
        wire_buffer_put_u16(&fields, 0);
        wire_buffer_put_u32(&fields, (uint32_t)oid);
        wire_buffer_put_u16(&fields, UINT16_MAX); /* no size, no modifier */
        wire_buffer_put_u32(&fields, UINT32_MAX);
        wire_buffer_put_u16(&fields, WIRE_FORMAT_BINARY);
    }
    PyObject *sql = codec_buffer_failed(&fields) ? NULL : PyUnicode_FromString("");
    struct statement *stmt = sql == NULL ? NULL : stmt_new(st, sql, NULL, false);
    struct wire_reader r = wire_reader_of(wire_buffer_unread(&fields));
    if (stmt != NULL) {
        stmt->returns_rows = true;
        if (stmt_set_columns(stmt, (size_t)count, &r) < 0) {
            Py_CLEAR(stmt);
        }
    }
    Py_XDECREF(sql);
    wire_buffer_clear(&fields, false);
    return stmt;
}

static struct statement *
given_statement(struct connection *conn, PyObject *given)
{
    if (PyList_Check(given)) {
        return columns_statement(conn->st, given);
    }
    if (Py_IS_TYPE(given, conn->st->statement_type)) {
        return (struct statement *)Py_NewRef(given);
    }
    PyErr_SetString(PyExc_TypeError, "copy_reader() takes a Statement or a list of (name, OID)");
    return NULL;
}

static PyObject *
copy_reader_new(struct connection *conn, struct operation *op)
{
    struct copy_reader *self = PyObject_GC_New(struct copy_reader, conn->st->copy_reader_type);
    if (self == NULL) {
        return NULL;
    }
    self->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    self->op = (struct operation *)Py_NewRef((PyObject *)op);
    self->format = (struct wire_copy){0};
    wire_buffer_init(&self->kept);
    self->busy = false;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

PyObject *
Connection_copy_reader(struct connection *conn, PyObject *args)
{
    PyObject *given, *factory;
    if (!PyArg_ParseTuple(args, "OO:copy_reader", &given, &factory) || conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_EXECUTE, OP_ROWS, NULL);
    if (op == NULL) {
        return NULL;
    }
    op->stmt = given_statement(conn, given);
    PyObject *made = NULL;
    if (op->stmt != NULL && op_set_row_factory(op, factory) == 0) {
        int status = conn_resolve_statement(conn, op);
        if (status == REQUEST_WAITS) {
            made = conn->lookup_sql;
            conn->lookup_sql = NULL;
        }
        else if (status == 0 && op_find_maker(op) == 0) {
            made = copy_reader_new(conn, op);
        }
    }
    Py_DECREF(op);
    return made;
}

PyObject *
Connection_forget(struct connection *conn, PyObject *statement)
{
    if (!Py_IS_TYPE(statement, conn->st->statement_type)) {
        return errors_set(PyExc_TypeError, "forget() takes a Statement");
    }
    if (((struct statement *)statement)->owner == conn) {
        stmtcache_drop(&conn->cache, (struct statement *)statement, true);
    }
    Py_RETURN_NONE;
}

/* Reading */

static int
copy_reader_refuse(struct copy_reader *self, const char *message)
{
    PyObject *error = errors_violation(self->conn->st, message, OUTCOME_FAILED, NULL);
    if (error != NULL) {
        compat_raise(error);
    }
    return -1;
}

/* A value held types that nobody had met. 0: their codecs are there now; -1 with an
 * exception: the catalog must be asked, which cannot be done while the COPY runs. */
static int
copy_reader_ask(struct copy_reader *self)
{
    struct connection *conn = self->conn;
    PyObject *oids = conn_take_missing(conn);
    if (oids == NULL) {
        return -1;
    }
    PyObject *sql = NULL;
    int status = conn_ask_types(conn, oids, &sql);
    if (status == 0 && sql != NULL) {
        PyErr_Format(conn->st->not_supported_error,
                     "a record in the COPY holds values of types that this connection has not "
                     "met yet (OIDs %R), and it cannot ask for them while the COPY runs: fetch "
                     "a row with such a record first, or select the record's fields",
                     oids);
        status = -1;
    }
    Py_XDECREF(sql);
    Py_DECREF(oids);
    return status;
}

static int
copy_reader_decode(struct copy_reader *self, const struct wire_copy_tuple *tuple)
{
    struct connection *conn = self->conn;
    for (int tries = 0;; tries++) {
        switch (op_decode_row(conn, self->op, tuple->cells)) {
        case ROWS_OK:
            return 0;
        case ROWS_VIOLATION:
            return copy_reader_refuse(self, "a row of the COPY does not fit its own lengths");
        case ROWS_ERROR:
            break;
        }
        if (PyList_GET_SIZE(conn->missing) == 0 || tries == COPY_TRIES_MAX) {
            return -1;
        }
        PyErr_Clear();
        if (copy_reader_ask(self) < 0) {
            return -1;
        }
    }
}

/* Decodes all rows in `data` and leaves it behind them. */
static int
copy_reader_read(struct copy_reader *self, struct wire_reader *data)
{
    struct statement *stmt = self->op->stmt;
    struct wire_copy_tuple tuple;
    for (;;) {
        enum wire_status status = wire_copy_next(&self->format, data, &tuple);
        if (status == WIRE_MORE) {
            return 0;
        }
        if (status < 0) {
            return copy_reader_refuse(self, self->format.error.text);
        }
        if (tuple.count != stmt->columns_count) {
            PyErr_Format(self->conn->st->data_error,
                         "the COPY has rows of %zu columns, and types for %zu are known",
                         tuple.count, stmt->columns_count);
            return -1;
        }
        if (copy_reader_decode(self, &tuple) < 0) {
            return -1;
        }
    }
}

/* As above, with what was left of the bytes before in front. */
static int
copy_reader_feed(struct copy_reader *self, const Py_buffer *view)
{
    struct wire_buffer *kept = &self->kept;
    wire_slice data = {view->buf, (size_t)view->len};
    if (wire_buffer_size(kept) > 0) {
        wire_buffer_put(kept, data.ptr, data.len);
        if (codec_buffer_failed(kept)) {
            return -1;
        }
        data = wire_buffer_unread(kept);
        struct wire_reader r = wire_reader_of(data);
        int status = copy_reader_read(self, &r);
        wire_buffer_consume(kept, data.len - wire_reader_left(&r));
        return status;
    }
    struct wire_reader r = wire_reader_of(data);
    if (copy_reader_read(self, &r) < 0) {
        return -1;
    }
    wire_buffer_put(kept, r.p, wire_reader_left(&r));
    return codec_buffer_failed(kept) ? -1 : 0;
}

static PyObject *
CopyReader_feed(struct copy_reader *self, PyObject *data)
{
    Py_buffer view;
    if (self->busy) {
        return errors_set(self->conn->st->interface_error,
                          "rows of a COPY are read by one task at a time");
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *rows = PyList_New(0);
    Py_XSETREF(self->op->rows, Py_XNewRef(rows));
    self->busy = true;
    if (rows != NULL && copy_reader_feed(self, &view) < 0) {
        Py_CLEAR(rows);
    }
    self->busy = false;
    Py_CLEAR(self->op->rows);
    PyBuffer_Release(&view);
    return rows;
}

static PyObject *
CopyReader_end(struct copy_reader *self, PyObject *unused)
{
    (void)unused;
    if (wire_copy_end(&self->format) < 0) {
        copy_reader_refuse(self, self->format.error.text);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* What it has for each column */

static PyObject *
CopyReader_get_description(struct copy_reader *self, void *closure)
{
    (void)closure;
    return stmt_description(self->op->stmt);
}

static PyObject *
CopyReader_get_textual(struct copy_reader *self, void *closure)
{
    (void)closure;
    const struct statement *stmt = self->op->stmt;
    PyObject *textual = PyList_New(0);
    for (size_t i = 0; textual != NULL && i < stmt->columns_count; i++) {
        if (stmt->columns[i].codec->format != WIRE_FORMAT_TEXT) {
            continue;
        }
        PyObject *index = PyLong_FromSize_t(i);
        if (index == NULL || PyList_Append(textual, index) < 0) {
            Py_CLEAR(textual);
        }
        Py_XDECREF(index);
    }
    return textual;
}

static PyMethodDef CopyReader_methods[] = {
    {"feed", (PyCFunction)CopyReader_feed, METH_O, NULL},
    {"end", (PyCFunction)CopyReader_end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef CopyReader_getset[] = {
    {"description", (getter)CopyReader_get_description, NULL, NULL, NULL},
    {"textual", (getter)CopyReader_get_textual, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot CopyReader_slots[] = {
    {Py_tp_dealloc, CopyReader_dealloc},
    {Py_tp_traverse, CopyReader_traverse},
    {Py_tp_clear, CopyReader_clear},
    {Py_tp_methods, CopyReader_methods},
    {Py_tp_getset, CopyReader_getset},
    {Py_tp_doc, "Makes rows of the bytes of a binary COPY."},
    {0, NULL},
};

static PyType_Spec CopyReader_spec = {
    .name = "pgasync._core.CopyReader",
    .basicsize = sizeof(struct copy_reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = CopyReader_slots,
};

int
copy_reader_type_init(struct core_state *st, PyObject *module)
{
    st->copy_reader_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &CopyReader_spec, NULL);
    return st->copy_reader_type == NULL ? -1 : PyModule_AddType(module, st->copy_reader_type);
}
