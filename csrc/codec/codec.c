/* What the families share: the Python types they need and the errors they raise. */
#include "families.h"

/* Characters of a value's repr that a message shows. */
#define CODEC_REPR_MAX 100

static PyObject *
codec_import(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    if (imported == NULL) {
        return NULL;
    }
    PyObject *found = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    return found;
}

/* What pgasync.types has for the codecs. */
static int
codec_types_init_own(struct codec_types *types)
{
    PyObject *module = PyImport_ImportModule("pgasync.types");
    if (module == NULL) {
        return -1;
    }
    bool found = true;
#define X(field, name)                                                                             \
    types->field = PyObject_GetAttrString(module, name);                                           \
    found = found && types->field != NULL;
    CODEC_PYTHON_TYPES(X)
#undef X
    Py_DECREF(module);
    return found ? 0 : -1;
}

static int
codec_types_init_addresses(struct codec_types *types)
{
    PyObject *module = PyImport_ImportModule("ipaddress");
    if (module == NULL) {
        return -1;
    }
    bool found = true;
#define X(field, name)                                                                             \
    types->field = PyObject_GetAttrString(module, name);                                           \
    found = found && types->field != NULL && PyType_Check(types->field);
    CODEC_ADDRESS_TYPES(X)
#undef X
    Py_DECREF(module);
    if (!found && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ImportError, "what ipaddress has is not classes");
    }
    return found ? 0 : -1;
}

static int
codec_types_init_uuid(struct codec_types *types)
{
    PyObject *safe = codec_import("uuid", "SafeUUID");
    if (safe == NULL) {
        return -1;
    }
    types->uuid_safe = PyObject_GetAttrString(safe, "unknown");
    Py_DECREF(safe);
    types->uuid_type = codec_import("uuid", "UUID");
    if (types->uuid_safe == NULL || types->uuid_type == NULL) {
        return -1;
    }
    types->uuid_int = PyObject_GetAttrString(types->uuid_type, "int");
    types->uuid_is_safe = PyObject_GetAttrString(types->uuid_type, "is_safe");
    if (types->uuid_int == NULL || types->uuid_is_safe == NULL) {
        return -1;
    }
    if (!PyType_Check(types->uuid_type) || Py_TYPE(types->uuid_int)->tp_descr_set == NULL
        || Py_TYPE(types->uuid_is_safe)->tp_descr_set == NULL) {
        PyErr_SetString(PyExc_ImportError, "uuid.UUID has no slots 'int' and 'is_safe'");
        return -1;
    }
    return 0;
}

static int
codec_types_init_json(struct codec_types *types)
{
    types->json_dumps = codec_import("json", "dumps");
    return types->json_dumps == NULL ? -1 : 0;
}

int
codec_types_init(struct codec_types *types, PyObject *data_error)
{
    memset(types, 0, sizeof *types);
    types->data_error = Py_NewRef(data_error);
    types->decimal_type = codec_import("decimal", "Decimal");
    types->shift = PyLong_FromLong(64);
    types->str_adjusted = PyUnicode_InternFromString("adjusted");
    types->str_utcoffset = PyUnicode_InternFromString("utcoffset");
    if (types->decimal_type == NULL || types->shift == NULL || types->str_adjusted == NULL
        || types->str_utcoffset == NULL) {
        return -1;
    }
    if (codec_types_init_uuid(types) < 0 || codec_types_init_json(types) < 0
        || codec_types_init_own(types) < 0 || codec_types_init_addresses(types) < 0) {
        return -1;
    }
    return codec_datetime_import();
}

int
codec_types_traverse(struct codec_types *types, visitproc visit, void *arg)
{
#define X(field, name) Py_VISIT(types->field);
    CODEC_PYTHON_TYPES(X)
    CODEC_ADDRESS_TYPES(X)
#undef X
    Py_VISIT(types->data_error);
    Py_VISIT(types->decimal_type);
    Py_VISIT(types->uuid_type);
    Py_VISIT(types->uuid_safe);
    Py_VISIT(types->uuid_int);
    Py_VISIT(types->uuid_is_safe);
    Py_VISIT(types->json_dumps);
    return 0;
}

void
codec_types_clear(struct codec_types *types)
{
#define X(field, name) Py_CLEAR(types->field);
    CODEC_PYTHON_TYPES(X)
    CODEC_ADDRESS_TYPES(X)
#undef X
    Py_CLEAR(types->data_error);
    Py_CLEAR(types->decimal_type);
    Py_CLEAR(types->uuid_type);
    Py_CLEAR(types->uuid_safe);
    Py_CLEAR(types->uuid_int);
    Py_CLEAR(types->uuid_is_safe);
    Py_CLEAR(types->json_dumps);
    for (size_t i = 0; i < CODEC_JSON_KEYS; i++) {
        Py_CLEAR(types->json_keys[i]);
    }
    Py_CLEAR(types->shift);
    Py_CLEAR(types->str_adjusted);
    Py_CLEAR(types->str_utcoffset);
}

/* Takes the exception that is set, if any, out of the thread state. */
static PyObject *
codec_cause_take(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL && value != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* Raises DataError(message) from `cause`; steals both, either may be NULL (no
 * message: the exception that kept it from being made stays). */
static void
codec_raise(struct codec_ctx *ctx, PyObject *message, PyObject *cause)
{
    PyObject *error = NULL;
    if (message != NULL) {
        error = PyObject_CallOneArg(ctx->types->data_error, message);
        Py_DECREF(message);
    }
    if (error == NULL) {
        Py_XDECREF(cause);
        return;
    }
    if (cause != NULL) {
        PyException_SetCause(error, cause);
    }
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

PyObject *
codec_fail(const struct codec *codec, struct codec_ctx *ctx, const char *format, ...)
{
    PyObject *cause = codec_cause_take();
    va_list args;
    va_start(args, format);
    PyObject *reason = PyUnicode_FromFormatV(format, args);
    va_end(args);
    PyObject *message = NULL;
    if (reason != NULL) {
        message = PyUnicode_FromFormat("cannot decode %s: %U", codec->name, reason);
        Py_DECREF(reason);
    }
    codec_raise(ctx, message, cause);
    return NULL;
}

PyObject *
codec_miss(const struct codec *self, struct codec_ctx *ctx, uint32_t oid)
{
    codec_fail(self, ctx, "it holds a value of a type (OID %lu) that is not known",
               (unsigned long)oid);
    if (ctx->missing != NULL) {
        PyObject *error = codec_cause_take();
        PyObject *number = PyLong_FromUnsignedLong(oid);
        if (number != NULL) {
            PyList_Append(ctx->missing, number);
            Py_DECREF(number);
        }
        if (!PyErr_Occurred() && error != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        }
        Py_XDECREF(error);
    }
    return NULL;
}

PyObject *
codec_fail_length(const struct codec *codec, struct codec_ctx *ctx, size_t len)
{
    return codec_fail(codec, ctx, "a value of %zu bytes, not %d", len, (int)codec->fixed_len);
}

/* The front of a long value, so that its repr is not made as a whole. */
static PyObject *
codec_front(PyObject *value)
{
    int sliceable = PyUnicode_CheckExact(value) || PyBytes_CheckExact(value)
                    || PyList_CheckExact(value) || PyTuple_CheckExact(value);
    if (sliceable && PyObject_Size(value) > CODEC_REPR_MAX) {
        return PySequence_GetSlice(value, 0, CODEC_REPR_MAX);
    }
    return Py_NewRef(value);
}

/* The repr of any value, shortened; a value that has none is named by its type. */
static PyObject *
codec_repr(PyObject *value)
{
    PyObject *front = codec_front(value);
    PyObject *repr = front == NULL ? NULL : PyObject_Repr(front);
    Py_XDECREF(front);
    if (repr == NULL) {
        PyErr_Clear();
        return PyUnicode_FromFormat("<%s>", Py_TYPE(value)->tp_name);
    }
    if (PyUnicode_GET_LENGTH(repr) > CODEC_REPR_MAX) {
        PyObject *start = PyUnicode_Substring(repr, 0, CODEC_REPR_MAX);
        Py_SETREF(repr, start == NULL ? NULL : PyUnicode_FromFormat("%U...", start));
        Py_XDECREF(start);
    }
    return repr;
}

static PyObject *
codec_value_message(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                    PyObject *remedy)
{
    PyObject *repr = codec_repr(value);
    if (repr == NULL) {
        return NULL;
    }
    char parameter[16] = "";
    if (ctx->param_index > 0) {
        snprintf(parameter, sizeof parameter, "$%d: ", ctx->param_index);
    }
    PyObject *message = PyUnicode_FromFormat("%scannot send %U (%s) as %s: %U", parameter, repr,
                                             Py_TYPE(value)->tp_name, codec->name, remedy);
    Py_DECREF(repr);
    return message;
}

enum codec_outcome
codec_fail_value(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                 const char *remedy, ...)
{
    PyObject *cause = codec_cause_take();
    va_list args;
    va_start(args, remedy);
    PyObject *text = PyUnicode_FromFormatV(remedy, args);
    va_end(args);
    PyObject *message = NULL;
    if (text != NULL) {
        message = codec_value_message(codec, ctx, value, text);
        Py_DECREF(text);
    }
    codec_raise(ctx, message, cause);
    return CODEC_ERROR;
}

int
codec_may_convert(void)
{
    return PyErr_ExceptionMatches(PyExc_Exception) && !PyErr_ExceptionMatches(PyExc_MemoryError);
}

enum codec_outcome
codec_fail_raised(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                  const char *remedy)
{
    if (PyErr_Occurred() && !codec_may_convert()) {
        return CODEC_ERROR;
    }
    return codec_fail_value(codec, ctx, value, "%s", remedy);
}

/* An array of one element has an item(), too, but is no scalar. */
static bool
codec_is_numpy_scalar(PyObject *value)
{
    const char *name = Py_TYPE(value)->tp_name;
    return strncmp(name, "numpy.", 6) == 0 && strcmp(name, "numpy.ndarray") != 0;
}

enum codec_outcome
codec_encode_item(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out, size_t mark)
{
    if (!codec_is_numpy_scalar(value) || !PyErr_ExceptionMatches(ctx->types->data_error)) {
        return CODEC_ERROR;
    }
    enum codec_outcome outcome = CODEC_ERROR;
    PyObject *error = codec_cause_take();
    PyObject *item = PyObject_CallMethod(value, "item", NULL);
    PyErr_Clear();
    if (item != NULL && Py_TYPE(item) != Py_TYPE(value)) {
        wire_buffer_rollback(out, mark);
        outcome = codec->encode(codec, ctx, item, out);
    }
    Py_XDECREF(item);
    if (outcome == CODEC_ERROR && error != NULL) { /* about the value as it was given */
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    }
    Py_XDECREF(error);
    return outcome;
}

int
codec_buffer_failed(const struct wire_buffer *out)
{
    if (out->failed == WIRE_OK) {
        return 0;
    }
    if (out->failed == WIRE_ERR_LIMIT) {
        PyErr_SetString(PyExc_OverflowError, "the message would be over 1 GiB");
    }
    else {
        PyErr_NoMemory();
    }
    return 1;
}

enum codec_outcome
codec_fail_room(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                const struct wire_buffer *out)
{
    if (out->failed == WIRE_ERR_LIMIT) {
        return codec_fail_value(codec, ctx, value, "the message would be over 1 GiB");
    }
    PyErr_NoMemory();
    return CODEC_ERROR;
}

enum codec_outcome
codec_put_bytes(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                const void *bytes, size_t len, struct wire_buffer *out)
{
    if (len == 0) {
        return CODEC_BINARY; /* a buffer that owns nothing yet has no address to give */
    }
    uint8_t *p = wire_buffer_reserve(out, len);
    if (p == NULL) {
        return codec_fail_room(codec, ctx, value, out);
    }
    memcpy(p, bytes, len);
    wire_buffer_commit(out, len);
    return CODEC_BINARY;
}

int
codec_utf8_borrow(const struct codec *codec, struct codec_ctx *ctx, PyObject *value, PyObject *str,
                  wire_slice *text)
{
    Py_ssize_t len;
    const char *utf8 = PyUnicode_AsUTF8AndSize(str, &len);
    if (utf8 == NULL) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            codec_fail_value(codec, ctx, value, "it holds a lone surrogate, which UTF-8 has not");
        }
        return 0;
    }
    if (memchr(utf8, 0, (size_t)len) != NULL) {
        codec_fail_value(codec, ctx, value, "PostgreSQL has no NUL in text; use bytea");
        return 0;
    }
    text->ptr = (const uint8_t *)utf8;
    text->len = (size_t)len;
    return 1;
}

enum codec_outcome
codec_put_str(const struct codec *codec, struct codec_ctx *ctx, PyObject *text,
              struct wire_buffer *out)
{
    wire_slice utf8;
    if (!codec_utf8_borrow(codec, ctx, text, text, &utf8)) {
        return CODEC_ERROR;
    }
    if (codec_put_bytes(codec, ctx, text, utf8.ptr, utf8.len, out) == CODEC_ERROR) {
        return CODEC_ERROR;
    }
    return CODEC_TEXT;
}

enum codec_outcome
codec_put_text_only(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                    const char *remedy, struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(codec, ctx, value, out);
    }
    return codec_fail_value(codec, ctx, value, "%s", remedy);
}

PyObject *
codec_int_text(struct codec_ctx *ctx, PyObject *value)
{
    PyObject *text = PyLong_Type.tp_repr(value);
    if (text != NULL || !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return text;
    }
    PyErr_Clear();
    PyObject *decimal = PyObject_CallOneArg(ctx->types->decimal_type, value);
    if (decimal == NULL) {
        return NULL;
    }
    text = PyObject_Str(decimal);
    Py_DECREF(decimal);
    return text;
}

PyObject *
codec_tuple_of(PyObject *type, PyObject *items)
{
    PyObject *args = items == NULL ? NULL : PyTuple_Pack(1, items);
    Py_XDECREF(items);
    if (args == NULL) {
        return NULL;
    }
    PyObject *made = PyTuple_Type.tp_new((PyTypeObject *)type, args, NULL);
    Py_DECREF(args);
    return made;
}

PyObject *
codec_sequence_tuple(PyObject *value)
{
    if (PyTuple_CheckExact(value)) {
        return Py_NewRef(value);
    }
    if (!PySequence_Check(value) || PyUnicode_Check(value) || PyBytes_Check(value)
        || PyByteArray_Check(value)) {
        return NULL;
    }
    return PySequence_Tuple(value);
}

/* Whether all bytes are below 0x80, looked at eight at a time. */
static bool
codec_is_ascii(const uint8_t *p, size_t len)
{
    uint64_t all = 0;
    for (; len >= sizeof all; len -= sizeof all, p += sizeof all) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        all |= word;
    }
    for (; len > 0; len--, p++) {
        all |= *p;
    }
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

PyObject *
codec_str_of(const struct codec *codec, struct codec_ctx *ctx, wire_slice value)
{
    if (value.len > 1 && codec_is_ascii(value.ptr, value.len)) {
        PyObject *ascii = PyUnicode_New((Py_ssize_t)value.len, 127);
        if (ascii != NULL) {
            memcpy(PyUnicode_1BYTE_DATA(ascii), value.ptr, value.len);
        }
        return ascii;
    }
    PyObject *text = PyUnicode_DecodeUTF8((const char *)value.ptr, (Py_ssize_t)value.len, NULL);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        return codec_fail(codec, ctx, "the text is not valid UTF-8");
    }
    return text;
}
