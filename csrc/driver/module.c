/* The module: its state, its functions, its slots. */
#include "module.h"
#include "taint.h"
#include "tls.h"

#include "block.h"
#include "connection.h"
#include "copyrows.h"
#include "copyreader.h"
#include "descriptions.h"
#include "cursor.h"
#include "errors.h"
#include "lease.h"
#include "stream.h"
#include "factory.h"
#include "rows.h"

#include "../codec/dynamic.h"
#include "../wire/frontend.h"

static struct core_state *
state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

/* Codecs without a connection, for tests and tools */

/* Knows the built-in types only. */
static const struct codec *
bare_find(struct codec_ctx *ctx, uint32_t oid)
{
    (void)ctx;
    return codec_find(oid);
}

/* Options from a dict (may be NULL or None); -1 with an exception. */
static int
bare_ctx(struct core_state *st, PyObject *named, struct codec_options *options,
         struct codec_ctx *ctx)
{
    codec_options_init(options);
    if (named != NULL && named != Py_None && codec_options_set(options, named) < 0) {
        codec_options_clear(options);
        return -1;
    }
    *ctx = (struct codec_ctx){.types = &st->types, .options = options, .find = bare_find};
    return 0;
}

/* By OID or by Codec object; NULL with an exception. */
static const struct codec *
codec_of(struct core_state *st, PyObject *which)
{
    if (!PyLong_Check(which)) {
        return codec_object_borrow(st->codec_type, which);
    }
    const struct codec *codec = codec_find((uint32_t)PyLong_AsUnsignedLongMask(which));
    return codec != NULL ? codec : &codec_unknown;
}

static PyObject *
core_codec_elements(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *elements = PyDict_New();
    for (size_t i = 0; elements != NULL && i < codec_count(); i++) {
        const struct codec *codec = codec_at(i);
        PyObject *oid = PyLong_FromUnsignedLong(codec->oid);
        PyObject *elem = PyLong_FromUnsignedLong(codec->elem == NULL ? 0 : codec->elem->oid);
        if (oid == NULL || elem == NULL || PyDict_SetItem(elements, oid, elem) < 0) {
            Py_CLEAR(elements);
        }
        Py_XDECREF(oid);
        Py_XDECREF(elem);
    }
    return elements;
}

static PyObject *
core_codec_kinds(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return codec_kinds();
}

static PyObject *
core_codec_table(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *table = PyList_New(0);
    for (size_t i = 0; table != NULL && i < codec_count(); i++) {
        const struct codec *codec = codec_at(i);
        PyObject *row =
            Py_BuildValue("(kksi)", (unsigned long)codec->oid, (unsigned long)codec->array_oid,
                          codec->name, (int)codec->fixed_len);
        if (row == NULL || PyList_Append(table, row) < 0) {
            Py_CLEAR(table);
        }
        Py_XDECREF(row);
    }
    return table;
}

static PyObject *
core_codec_decode(PyObject *module, PyObject *args)
{
    struct core_state *st = state_of(module);
    PyObject *which;
    const char *bytes;
    Py_ssize_t len;
    PyObject *named = NULL;
    struct codec_options options;
    struct codec_ctx ctx;
    if (!PyArg_ParseTuple(args, "Oy#|O:codec_decode", &which, &bytes, &len, &named)) {
        return NULL;
    }
    const struct codec *codec = codec_of(st, which);
    if (codec == NULL || bare_ctx(st, named, &options, &ctx) < 0) {
        return NULL;
    }
    wire_slice value = {(const uint8_t *)bytes, (size_t)len};
    PyObject *result = codec_decode(codec, &ctx, value);
    codec_options_clear(&options);
    return result;
}

static PyObject *
core_codec_encode(PyObject *module, PyObject *args)
{
    struct core_state *st = state_of(module);
    PyObject *which, *value;
    PyObject *named = NULL;
    struct codec_options options;
    struct codec_ctx ctx;
    if (!PyArg_ParseTuple(args, "OO|O:codec_encode", &which, &value, &named)) {
        return NULL;
    }
    const struct codec *codec = codec_of(st, which);
    if (codec == NULL || bare_ctx(st, named, &options, &ctx) < 0) {
        return NULL;
    }
    ctx.param_index = 1;
    struct wire_buffer out;
    wire_buffer_init(&out);
    PyObject *result = NULL;
    enum codec_outcome outcome = codec_encode(codec, &ctx, value, &out);
    if (outcome != CODEC_ERROR && !codec_buffer_failed(&out)) {
        wire_slice bytes = wire_buffer_unread(&out);
        result = Py_BuildValue("(iy#)", (int)outcome, bytes.len > 0 ? (const char *)bytes.ptr : "",
                               (Py_ssize_t)bytes.len);
    }
    wire_buffer_clear(&out, false);
    codec_options_clear(&options);
    return result;
}

/* Small functions */

static PyObject *
core_cancel_request(PyObject *module, PyObject *args)
{
    (void)module;
    unsigned long pid;
    const char *key;
    Py_ssize_t len;
    if (!PyArg_ParseTuple(args, "ky#:cancel_request", &pid, &key, &len)) {
        return NULL;
    }
    if (len < WIRE_CANCEL_KEY_MIN || len > WIRE_CANCEL_KEY_MAX) {
        return errors_set(PyExc_ValueError, "a cancel key is %d to %d bytes", WIRE_CANCEL_KEY_MIN,
                          WIRE_CANCEL_KEY_MAX);
    }
    struct wire_buffer out;
    wire_buffer_init(&out);
    wire_slice slice = {(const uint8_t *)key, (size_t)len};
    wire_put_cancel_request(&out, (uint32_t)pid, slice);
    PyObject *result = NULL;
    if (!codec_buffer_failed(&out)) {
        wire_slice bytes = wire_buffer_unread(&out);
        result = PyBytes_FromStringAndSize((const char *)bytes.ptr, (Py_ssize_t)bytes.len);
    }
    wire_buffer_clear(&out, true);
    return result;
}

static PyObject *
core_after_fork(PyObject *module, PyObject *unused)
{
    (void)unused;
    state_of(module)->fork_generation += 1;
    Py_RETURN_NONE;
}

static PyObject *
core_live_objects(PyObject *module, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(state_of(module)->live);
}

static PyObject *
core_row_type(PyObject *module, PyObject *fields)
{
    if (!PyTuple_CheckExact(fields)) {
        return errors_set(PyExc_TypeError, "row_type() takes a tuple of names");
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(fields); i++) {
        if (!PyUnicode_CheckExact(PyTuple_GET_ITEM(fields, i))) {
            return errors_set(PyExc_TypeError, "column names are str");
        }
    }
    return rows_type_for(state_of(module), fields);
}

static PyMethodDef core_methods[] = {
    {"attach", (PyCFunction)(void (*)(void))core_attach, METH_FASTCALL,
     "Takes over a connected socket."},
    {"cursor_execute", (PyCFunction)(void (*)(void))core_cursor_execute,
     METH_FASTCALL | METH_KEYWORDS, "cursor.execute(), as an SQLAlchemy dialect is asked."},
    {"cancel_request", core_cancel_request, METH_VARARGS, "The bytes of a CancelRequest."},
    {"tls_context", (PyCFunction)(void (*)(void))core_tls_context, METH_VARARGS | METH_KEYWORDS,
     "What is trusted and shown; reads files."},
    {"tls_binding", core_tls_binding, METH_O, "tls-server-end-point of a certificate."},
    {"trace_exchange", core_trace_exchange, METH_VARARGS, "Bytes of an exchange, in words."},
    {"after_fork", core_after_fork, METH_NOARGS, "To be called in a forked child."},
    {"live_objects", core_live_objects, METH_NOARGS, "How many objects of the core are alive."},
    {"row_type", core_row_type, METH_O, "The Row subclass for a tuple of column names."},
    {"taints", core_taints, METH_O, "What the statements of a text do to a session."},
    {"codec_table", core_codec_table, METH_NOARGS, "The built-in codecs."},
    {"codec_elements", core_codec_elements, METH_NOARGS, "What built-in types are made of."},
    {"codec_kinds", core_codec_kinds, METH_NOARGS, "The kinds of codecs made at run time."},
    {"codec_decode", core_codec_decode, METH_VARARGS, "Decodes one value."},
    {"codec_encode", core_codec_encode, METH_VARARGS, "Encodes one value."},
    {NULL, NULL, 0, NULL},
};

/* State */

static int
import_attribute(const char *module_name, const char *name, PyObject **slot)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return -1;
    }
    *slot = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return *slot == NULL ? -1 : 0;
}

/* Before CPython 3.12 current_task() is Python, which looks into a dict. */
static void
core_find_tasks(struct core_state *st)
{
    st->current_tasks = NULL;
    if (COMPAT_CURRENT_TASKS
        && import_attribute("asyncio.tasks", "_current_tasks", &st->current_tasks) < 0) {
        PyErr_Clear();
    }
    if (st->current_tasks != NULL && !PyDict_CheckExact(st->current_tasks)) {
        Py_CLEAR(st->current_tasks);
    }
}

static int
core_import(struct core_state *st)
{
    const struct {
        const char *module, *name;
        PyObject **slot;
    } wanted[] = {
        {"pgasync.errors", "InterfaceError", &st->interface_error},
        {"pgasync.errors", "DataError", &st->data_error},
        {"pgasync.errors", "ProgrammingError", &st->programming_error},
        {"pgasync.errors", "NotSupportedError", &st->not_supported_error},
        {"pgasync.errors", "from_fields", &st->from_fields},
        {"pgasync.errors", "not_begun", &st->not_begun},
        {"pgasync.errors", "lost", &st->lost},
        {"pgasync.errors", "violation", &st->violation},
        {"pgasync.errors", "auth_failed", &st->auth_failed},
        {"pgasync.errors", "rolled_back", &st->rolled_back},
        {"pgasync.errors", "aborted", &st->aborted},
        {"pgasync.errors", "stale", &st->stale},
        {"asyncio", "CancelledError", &st->cancelled_error},
        {"asyncio", "_get_running_loop", &st->running_loop},
        {"asyncio", "current_task", &st->current_task},
        {"_collections", "_tuplegetter", &st->tuple_getter},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (import_attribute(wanted[i].module, wanted[i].name, wanted[i].slot) < 0) {
            return -1;
        }
    }
    core_find_tasks(st);
    return 0;
}

static int
core_intern_names(struct core_state *st)
{
#define X(name)                                                                                    \
    if ((st->name_##name = PyUnicode_InternFromString(#name)) == NULL) {                           \
        return -1;                                                                                 \
    }
    CORE_NAMES(X)
#undef X
    st->context_kwnames = PyTuple_Pack(1, st->name_context);
    st->sql_commit = PyUnicode_InternFromString("COMMIT");
    st->sql_rollback = PyUnicode_InternFromString("ROLLBACK");
    st->sql_pid = PyUnicode_InternFromString("SELECT pg_catalog.pg_backend_pid()");
    st->row_types = PyDict_New();
    return st->context_kwnames == NULL || st->sql_commit == NULL || st->sql_rollback == NULL
                   || st->sql_pid == NULL || st->row_types == NULL
               ? -1
               : 0;
}

static int
core_add_constants(PyObject *module)
{
    const struct {
        const char *name;
        long value;
    } constants[] = {
        {"MODE_RESULT", OP_RESULT},
        {"MODE_ROWS", OP_ROWS},
        {"MODE_ROW", OP_ROW},
        {"MODE_VALUE", OP_VALUE},
        {"MODE_NONE", OP_NONE},
        {"ROW_SCALAR", ROW_SCALAR},
        {"ROW_DICT", ROW_DICT},
        {"ROW_STAR", ROW_STAR},
        {"ROW_KEYWORDS", ROW_KEYWORDS},
        {"ROW_CALL", ROW_CALL},
        {"TAINT_SETTINGS", TAINT_SETTINGS},
        {"TAINT_ROLE", TAINT_ROLE},
        {"TAINT_LISTEN", TAINT_LISTEN},
        {"TAINT_TEMP", TAINT_TEMP},
        {"TAINT_LOCKS", TAINT_LOCKS},
        {"TAINT_CURSORS", TAINT_CURSORS},
        {"TAINT_PREPARED", TAINT_PREPARED},
        {"TAINT_OPAQUE", TAINT_OPAQUE},
        {"TAINT_REPORTED", TAINT_REPORTED},
        {"TAINT_DRIVER", TAINT_DRIVER},
        {"ALLOW_NONE", WIRE_ALLOW_NONE},
        {"ALLOW_PASSWORD", WIRE_ALLOW_PASSWORD},
        {"ALLOW_MD5", WIRE_ALLOW_MD5},
        {"ALLOW_SCRAM_SHA_256", WIRE_ALLOW_SCRAM_SHA_256},
        {"ALLOW_SCRAM_KEYS", WIRE_ALLOW_SCRAM_KEYS},
        {"BINDING_DISABLE", WIRE_BINDING_DISABLE},
        {"BINDING_PREFER", WIRE_BINDING_PREFER},
        {"BINDING_REQUIRE", WIRE_BINDING_REQUIRE},
    };
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
core_exec(PyObject *module)
{
    struct core_state *st = state_of(module);
    st->codec_type = codec_object_type_new(module);
    if (st->codec_type == NULL || PyModule_AddType(module, st->codec_type) < 0) {
        return -1;
    }
    if (core_intern_names(st) < 0 || core_import(st) < 0
        || codec_types_init(&st->types, st->data_error) < 0 || rows_type_init(st, module) < 0
        || stmt_type_init(st, module) < 0 || op_type_init(st, module) < 0
        || cursor_type_init(st, module) < 0 || stream_type_init(st, module) < 0
        || copy_rows_type_init(st, module) < 0 || copy_reader_type_init(st, module) < 0
        || conn_type_init(st, module) < 0 || tls_types_init(st, module) < 0
        || block_init(st, module) < 0 || lease_types_init(st, module) < 0
        || descriptions_init(st) < 0 || core_add_constants(module) < 0) {
        return -1;
    }
    st->multiple_statements = PyErr_NewException("pgasync._core.MultipleStatements", NULL, NULL);
    if (st->multiple_statements == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "MultipleStatements", st->multiple_statements);
}

#define CORE_OBJECTS(X)                                                                            \
    X(codec_type)                                                                                  \
    X(connection_type)                                                                             \
    X(operation_type)                                                                              \
    X(copy_rows_type)                                                                              \
    X(cursor_type)                                                                                 \
    X(stream_step_type)                                                                            \
    X(statement_type)                                                                              \
    X(row_type)                                                                                    \
    X(copy_reader_type)                                                                            \
    X(tls_context_type)                                                                            \
    X(tls_type)                                                                                    \
    X(pool_member_type)                                                                            \
    X(pool_counts_type)                                                                            \
    X(acquiring_type)                                                                              \
    X(pool_handle_type)                                                                            \
    X(interface_error)                                                                             \
    X(data_error)                                                                                  \
    X(programming_error)                                                                           \
    X(not_supported_error)                                                                         \
    X(from_fields)                                                                                 \
    X(not_begun)                                                                                   \
    X(lost)                                                                                        \
    X(violation)                                                                                   \
    X(auth_failed)                                                                                 \
    X(rolled_back)                                                                                 \
    X(aborted)                                                                                     \
    X(stale)                                                                                       \
    X(cancelled_error)                                                                             \
    X(running_loop)                                                                                \
    X(current_tasks)                                                                               \
    X(current_task)                                                                                \
    X(tuple_getter)                                                                                \
    X(multiple_statements)                                                                         \
    X(row_types)                                                                                   \
    X(blocks)                                                                                      \
    X(compile_maker)

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct core_state *st = state_of(module);
#define X(name) Py_VISIT(st->name);
    CORE_OBJECTS(X)
#undef X
    Py_VISIT(st->descriptions.by_key);
    return codec_types_traverse(&st->types, visit, arg);
}

static int
core_clear(PyObject *module)
{
    struct core_state *st = state_of(module);
    descriptions_clear(st);
#define X(name) Py_CLEAR(st->name);
    CORE_OBJECTS(X)
#undef X
#define X(name) Py_CLEAR(st->name_##name);
    CORE_NAMES(X)
#undef X
    Py_CLEAR(st->context_kwnames);
    Py_CLEAR(st->sql_commit);
    Py_CLEAR(st->sql_rollback);
    Py_CLEAR(st->sql_pid);
    codec_types_clear(&st->types);
    return 0;
}

static void
core_free(void *module)
{
    core_clear(module);
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
    COMPAT_MODULE_SLOTS{0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pgasync._core",
    .m_doc = "The C core of pgasync.",
    .m_size = sizeof(struct core_state),
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
