/* Every difference between CPython versions lives here. */
#ifndef DRIVER_COMPAT_H
#define DRIVER_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

/* Module slots that newer interpreters want to see. */
#if PY_VERSION_HEX >= 0x030C0000
#define COMPAT_MODULE_SLOTS {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#else
#define COMPAT_MODULE_SLOTS
#endif

/* Whether asyncio.current_task() is Python, and slow. */
#define COMPAT_CURRENT_TASKS (PY_VERSION_HEX < 0x030C0000)

/* What an empty tuple that PyTuple_New did not make still needs. */
static inline void
compat_tuple_init(PyTupleObject *tuple)
{
#if PY_VERSION_HEX >= 0x030E0000
    tuple->ob_hash = -1; /* not computed yet */
#else
    (void)tuple;
#endif
}

/* Takes the exception now set, normalised, out of the error indicator: a new
 * reference, or NULL when there is none. */
static inline PyObject *
compat_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
#endif
}

/* Where a frame is in its code, in bytes; -1 when it does not say. */
static inline int
compat_frame_place(PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030B0000
    return PyFrame_GetLasti(frame);
#else
    PyObject *place = PyObject_GetAttrString((PyObject *)frame, "f_lasti");
    long found = place == NULL ? -1 : PyLong_AsLong(place);
    Py_XDECREF(place);
    PyErr_Clear();
    return (int)found;
#endif
}

/* Raises the exception object; steals the reference. */
static inline void
compat_raise(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    PyObject *type = Py_NewRef((PyObject *)Py_TYPE(exception));
    PyErr_Restore(type, exception, PyException_GetTraceback(exception));
#endif
}

#endif
