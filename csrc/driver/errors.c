#include "errors.h"

PyObject *
errors_fields(wire_slice body)
{
    struct wire_reader reader;
    PyObject *fields = PyDict_New();
    if (fields == NULL || !wire_error_fields(body, &reader)) {
        return fields;
    }
    struct wire_error_field field;
    while (wire_next_error_field(&reader, &field)) {
        PyObject *code = PyUnicode_FromOrdinal((unsigned char)field.code);
        PyObject *text = PyUnicode_DecodeUTF8((const char *)field.value.ptr,
                                              (Py_ssize_t)field.value.len, "replace");
        int failed = code == NULL || text == NULL || PyDict_SetItem(fields, code, text) < 0;
        Py_XDECREF(code);
        Py_XDECREF(text);
        if (failed) {
            Py_DECREF(fields);
            return NULL;
        }
    }
    return fields;
}

bool
errors_is_fatal(PyObject *fields)
{
    /* "V" is never translated; servers before 9.6 have only "S". */
    PyObject *severity = PyDict_GetItemString(fields, "V");
    if (severity == NULL) {
        severity = PyDict_GetItemString(fields, "S");
    }
    return severity != NULL
           && (PyUnicode_CompareWithASCIIString(severity, "FATAL") == 0
               || PyUnicode_CompareWithASCIIString(severity, "PANIC") == 0);
}

PyObject *
errors_from_fields(struct core_state *st, PyObject *fields, PyObject *query, const char *outcome)
{
    return PyObject_CallFunction(st->from_fields, "OOs", fields, query != NULL ? query : Py_None,
                                 outcome);
}

PyObject *
errors_stale(struct core_state *st, PyObject *fields, PyObject *query)
{
    return PyObject_CallFunctionObjArgs(st->stale, fields, query != NULL ? query : Py_None, NULL);
}

PyObject *
errors_lost(struct core_state *st, const char *message, PyObject *fields, int error,
            const char *outcome, PyObject *query)
{
    PyObject *cause = NULL;
    if (error != 0) {
        cause = PyObject_CallFunction(PyExc_OSError, "is", error, strerror(error));
        if (cause == NULL) {
            return NULL;
        }
    }
    PyObject *exception = PyObject_CallFunction(
        st->lost, "sOOsO", message, fields != NULL ? fields : Py_None,
        cause != NULL ? cause : Py_None, outcome, query != NULL ? query : Py_None);
    Py_XDECREF(cause);
    return exception;
}

PyObject *
errors_violation(struct core_state *st, const char *message, const char *outcome, PyObject *query)
{
    return PyObject_CallFunction(st->violation, "ssO", message, outcome,
                                 query != NULL ? query : Py_None);
}

PyObject *
errors_auth_failed(struct core_state *st, const char *message)
{
    return PyObject_CallFunction(st->auth_failed, "s", message);
}

PyObject *
errors_rolled_back(struct core_state *st, PyObject *query)
{
    return PyObject_CallOneArg(st->rolled_back, query != NULL ? query : Py_None);
}

void
errors_set_outcome(PyObject *error, const char *outcome)
{
    PyObject *text = PyUnicode_InternFromString(outcome);
    if (text == NULL || PyObject_SetAttrString(error, "outcome", text) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(text);
}

PyObject *
errors_aborted(struct core_state *st, PyObject *query, PyObject *cause)
{
    return PyObject_CallFunctionObjArgs(st->aborted, query != NULL ? query : Py_None,
                                        cause != NULL ? cause : Py_None, NULL);
}

PyObject *
errors_set(PyObject *type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyErr_FormatV(type, format, args);
    va_end(args);
    return NULL;
}

PyObject *
errors_take(void)
{
    PyObject *exception = compat_take_exception();
    if (exception == NULL) {
        exception = PyObject_CallFunction(PyExc_RuntimeError, "s", "unknown error in pgasync");
    }
    return exception;
}
