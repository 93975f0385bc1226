/* A user's choices: from a dict of names to struct codec_options. */
#include "codec.h"

void
codec_options_init(struct codec_options *options)
{
    memset(options, 0, sizeof *options);
    options->money_digits = 2;
}

void
codec_options_clear(struct codec_options *options)
{
    Py_CLEAR(options->json_loads);
    Py_CLEAR(options->json_dumps);
    Py_CLEAR(options->zone);
    Py_CLEAR(options->range_type);
    Py_CLEAR(options->multirange_type);
}

int
codec_options_traverse(struct codec_options *options, visitproc visit, void *arg)
{
    Py_VISIT(options->json_loads);
    Py_VISIT(options->json_dumps);
    Py_VISIT(options->zone);
    Py_VISIT(options->range_type);
    Py_VISIT(options->multirange_type);
    return 0;
}

/* Whether the module of a function or type is one of the JSON libraries that read bytes
 * faster than str. */
static bool
options_is_from(PyObject *object)
{
    PyObject *module = PyObject_GetAttrString(object, "__module__");
    const char *name = module != NULL && PyUnicode_Check(module) ? PyUnicode_AsUTF8(module) : NULL;
    bool found =
        name != NULL && (strncmp(name, "orjson", 6) == 0 || strncmp(name, "msgspec", 7) == 0);
    Py_XDECREF(module);
    PyErr_Clear();
    return found;
}

static bool
options_takes_bytes(PyObject *loads)
{
    PyObject *self = PyObject_GetAttrString(loads, "__self__");
    PyErr_Clear();
    bool found =
        options_is_from(loads) || (self != NULL && options_is_from((PyObject *)Py_TYPE(self)));
    Py_XDECREF(self);
    return found;
}

static int
options_set_object(struct codec_options *options, PyObject *name, PyObject *value)
{
    const struct {
        const char *name;
        PyObject **slot;
    } slots[] = {
        {"json_loads", &options->json_loads},
        {"json_dumps", &options->json_dumps},
        {"zone", &options->zone},
        {"range_type", &options->range_type},
        {"multirange_type", &options->multirange_type},
    };
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        if (PyUnicode_CompareWithASCIIString(name, slots[i].name) == 0) {
            if (i == 0) {
                options->json_bytes = options_takes_bytes(value);
            }
            Py_XSETREF(*slots[i].slot, Py_NewRef(value));
            return 1;
        }
    }
    return 0;
}

static int
options_set_flag(struct codec_options *options, PyObject *name, PyObject *value)
{
    const struct {
        const char *name;
        bool *slot;
    } flags[] = {
        {"naive_utc", &options->naive_utc},
        {"naive_local", &options->naive_local},
        {"json_exact", &options->json_exact},
        {"json_null", &options->json_null},
    };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (PyUnicode_CompareWithASCIIString(name, flags[i].name) == 0) {
            int on = PyObject_IsTrue(value);
            *flags[i].slot = on > 0;
            return on < 0 ? -1 : 1;
        }
    }
    return 0;
}

static int
options_set_beyond(struct codec_options *options, PyObject *value)
{
    static const char *const words[] = {"error", "clamp", "sentinel"};
    for (int i = 0; PyUnicode_Check(value) && i < 3; i++) {
        if (PyUnicode_CompareWithASCIIString(value, words[i]) == 0) {
            options->beyond = (enum codec_beyond)i;
            return 1;
        }
    }
    PyErr_Format(PyExc_ValueError, "beyond is 'error', 'clamp' or 'sentinel', not %R", value);
    return -1;
}

static int
options_set_digits(struct codec_options *options, PyObject *value)
{
    long digits = PyLong_AsLong(value);
    if (digits < 0 || digits > 18) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "money_digits is 0 to 18, not %R", value);
        }
        return -1;
    }
    options->money_digits = (int)digits;
    return 1;
}

/* 1: set; -1: an exception is set. */
static int
options_set(struct codec_options *options, PyObject *name, PyObject *value)
{
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "an option's name is a str");
        return -1;
    }
    if (PyUnicode_CompareWithASCIIString(name, "beyond") == 0) {
        return options_set_beyond(options, value);
    }
    if (PyUnicode_CompareWithASCIIString(name, "money_digits") == 0) {
        return options_set_digits(options, value);
    }
    int found = options_set_object(options, name, value);
    if (found == 0) {
        found = options_set_flag(options, name, value);
    }
    if (found == 0) {
        PyErr_Format(PyExc_ValueError, "there is no codec option %R", name);
        return -1;
    }
    return found;
}

int
codec_options_set(struct codec_options *options, PyObject *named)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    if (!PyDict_Check(named)) {
        PyErr_SetString(PyExc_TypeError, "codec options come in a dict");
        return -1;
    }
    while (PyDict_Next(named, &at, &name, &value)) {
        if (options_set(options, name, value) < 0) {
            return -1;
        }
    }
    return 0;
}
