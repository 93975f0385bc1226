#include "statement.h"

#include "../codec/oids.h"
#include "rows.h"

static const char hex_digits[] = "0123456789abcdef";

/* What a name is made from: the text, and the types it was parsed with, if any. A
 * new reference to bytes. */
static PyObject *
stmt_name_source(const struct statement *stmt)
{
    PyObject *text = PyUnicode_AsUTF8String(stmt->sql);
    if (text == NULL || stmt->hints == NULL) {
        return text;
    }
    PyObject *hints = PyObject_Repr(stmt->hints);
    PyObject *both = hints == NULL ? NULL
                                   : PyBytes_FromFormat("%s %s", PyUnicode_AsUTF8(hints),
                                                        PyBytes_AS_STRING(text));
    Py_XDECREF(hints);
    Py_DECREF(text);
    return both;
}

/* The same text has the same name on every connection, so a pooler that hands us
 * another backend meets what it knows. 128 bits of SHA-256: no two texts collide. */
static int
stmt_make_name(struct statement *stmt)
{
    static const char prefix[] = "pgasync_";
    PyObject *source = stmt_name_source(stmt);
    if (source == NULL) {
        return -1;
    }
    uint8_t digest[32];
    wire_slice data = {(const uint8_t *)PyBytes_AS_STRING(source),
                       (size_t)PyBytes_GET_SIZE(source)};
    enum wire_status status = wire_sha256(data, digest);
    Py_DECREF(source);
    if (status != WIRE_OK) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(stmt->name, prefix, sizeof(prefix) - 1);
    char *p = stmt->name + sizeof(prefix) - 1;
    for (size_t i = 0; i < 16; i++) {
        *p++ = hex_digits[digest[i] >> 4];
        *p++ = hex_digits[digest[i] & 15];
    }
    stmt->name_len = (size_t)(p - stmt->name);
    return 0;
}

struct statement *
stmt_new(struct core_state *st, PyObject *sql, PyObject *hints, bool named)
{
    struct statement *stmt = PyObject_GC_New(struct statement, st->statement_type);
    if (stmt == NULL) {
        return NULL;
    }
    memset((char *)stmt + sizeof(PyObject), 0, sizeof(*stmt) - sizeof(PyObject));
    stmt->st = st;
    stmt->sql = Py_NewRef(sql);
    stmt->hints = Py_XNewRef(hints);
    st->live += 1;
    PyObject_GC_Track(stmt);
    if (named && stmt_make_name(stmt) < 0) {
        Py_DECREF(stmt);
        return NULL;
    }
    return stmt;
}

static int
Statement_traverse(struct statement *stmt, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(stmt));
    Py_VISIT(stmt->codecs);
    Py_VISIT(stmt->row_type);
    Py_VISIT(stmt->makers);
    return 0;
}

static void
Statement_dealloc(struct statement *stmt)
{
    PyTypeObject *type = Py_TYPE(stmt);
    PyObject_GC_UnTrack(stmt);
    stmt->st->live -= !stmt->shared;
    Py_XDECREF(stmt->sql);
    Py_XDECREF(stmt->shape);
    Py_XDECREF(stmt->key);
    Py_XDECREF(stmt->codecs);
    Py_XDECREF(stmt->hints);
    Py_XDECREF(stmt->fields);
    Py_XDECREF(stmt->description);
    Py_XDECREF(stmt->row_type);
    Py_XDECREF(stmt->makers);
    PyMem_Free(stmt->params);
    PyMem_Free(stmt->param_oids);
    PyMem_Free(stmt->columns);
    PyMem_Free(stmt->result_formats);
    PyObject_GC_Del(stmt);
    Py_DECREF(type);
}

struct statement *
stmt_copy(const struct statement *stmt)
{
    struct statement *copy = stmt_new(stmt->st, stmt->sql, stmt->hints, false);
    if (copy == NULL) {
        return NULL;
    }
    copy->params = PyMem_New(const struct codec *, stmt->params_count + 1);
    copy->param_oids = PyMem_New(uint32_t, stmt->params_count + 1);
    copy->columns = PyMem_New(struct column, stmt->columns_count + 1);
    if (copy->params == NULL || copy->param_oids == NULL || copy->columns == NULL) {
        Py_DECREF(copy);
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(copy->name, stmt->name, sizeof(copy->name));
    copy->name_len = stmt->name_len;
    copy->owner = stmt->owner;
    copy->prepared = stmt->prepared;
    copy->described = stmt->described;
    copy->shape = Py_XNewRef(stmt->shape);
    copy->schema_age = stmt->schema_age;
    copy->returns_rows = stmt->returns_rows;
    copy->copies = stmt->copies;
    copy->alters = stmt->alters;
    copy->taints = stmt->taints;
    copy->params_count = stmt->params_count;
    copy->columns_count = stmt->columns_count;
    for (size_t i = 0; i < stmt->params_count; i++) {
        copy->params[i] = &codec_unknown;
        copy->param_oids[i] = stmt->param_oids[i];
    }
    for (size_t i = 0; i < stmt->columns_count; i++) {
        copy->columns[i] = stmt->columns[i];
        copy->columns[i].codec = &codec_unknown;
    }
    copy->fields = Py_XNewRef(stmt->fields);
    copy->description = Py_XNewRef(stmt->description);
    copy->row_type = (PyTypeObject *)Py_XNewRef((PyObject *)stmt->row_type);
    copy->makers = Py_XNewRef(stmt->makers);
    return copy;
}

void
stmt_share(struct statement *stmt)
{
    stmt->shared = true;
    stmt->prepared = false;
    stmt->owner = NULL;
    Py_CLEAR(stmt->makers); /* they hold what programs gave */
    stmt->st->live -= 1;
}

bool
stmt_has_shape(const struct statement *stmt, size_t count, struct wire_reader fields)
{
    size_t len = wire_reader_left(&fields);
    return stmt->returns_rows && stmt->shape != NULL && stmt->columns_count == count
           && (size_t)PyBytes_GET_SIZE(stmt->shape) == len
           && memcmp(PyBytes_AS_STRING(stmt->shape), fields.p, len) == 0;
}

int
stmt_choose_name(struct statement *stmt, bool named)
{
    if (!named) {
        stmt->name_len = 0;
        stmt->prepared = false;
        return 0;
    }
    return stmt->name_len > 0 ? 0 : stmt_make_name(stmt);
}

int
stmt_set_params(struct statement *stmt, size_t count, struct wire_reader *oids)
{
    PyMem_Free(stmt->params);
    PyMem_Free(stmt->param_oids);
    stmt->params_count = 0;
    stmt->params = PyMem_New(const struct codec *, count + 1);
    stmt->param_oids = PyMem_New(uint32_t, count + 1);
    if (stmt->params == NULL || stmt->param_oids == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        stmt->param_oids[i] = wire_read_u32(oids);
        stmt->params[i] = &codec_unknown;
    }
    stmt->params_count = count;
    return 0;
}

/* Bind's tail: one code for all when they agree, else a code for each. */
static int
stmt_make_result_formats(struct statement *stmt)
{
    size_t count = stmt->columns_count;
    bool uniform = true;
    for (size_t i = 1; i < count; i++) {
        uniform = uniform && stmt->columns[i].codec->format == stmt->columns[0].codec->format;
    }
    size_t codes = count == 0 ? 0 : uniform ? 1 : count;
    PyMem_Free(stmt->result_formats);
    stmt->result_formats_len = 2 + 2 * codes;
    stmt->result_formats = PyMem_Malloc(stmt->result_formats_len);
    if (stmt->result_formats == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    wire_store_u16(stmt->result_formats, (uint16_t)codes);
    for (size_t i = 0; i < codes; i++) {
        wire_store_u16(stmt->result_formats + 2 + 2 * i, (uint16_t)stmt->columns[i].codec->format);
    }
    return 0;
}

void
stmt_drop_columns(struct statement *stmt)
{
    Py_CLEAR(stmt->shape);
    Py_CLEAR(stmt->fields);
    Py_CLEAR(stmt->description);
    Py_CLEAR(stmt->row_type);
    Py_CLEAR(stmt->makers);
    stmt->returns_rows = false;
    stmt->columns_count = 0;
}

int
stmt_set_columns(struct statement *stmt, size_t count, struct wire_reader *fields)
{
    stmt_drop_columns(stmt);
    PyMem_Free(stmt->columns);
    stmt->columns = PyMem_New(struct column, count + 1);
    if (stmt->columns == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    stmt->shape =
        PyBytes_FromStringAndSize((const char *)fields->p, (Py_ssize_t)wire_reader_left(fields));
    if (stmt->shape == NULL) {
        return -1;
    }
    stmt->returns_rows = true;
    PyObject *names = PyTuple_New((Py_ssize_t)count);
    if (names == NULL) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        struct wire_field field;
        wire_next_field(fields, &field);
        PyObject *name = PyUnicode_DecodeUTF8((const char *)field.name.ptr,
                                              (Py_ssize_t)field.name.len, "replace");
        if (name == NULL) {
            Py_DECREF(names);
            return -1;
        }
        PyUnicode_InternInPlace(&name);
        PyTuple_SET_ITEM(names, (Py_ssize_t)i, name);
        stmt->columns[i] = (struct column){
            .codec = &codec_unknown,
            .type_oid = field.type_oid,
            .type_modifier = field.type_modifier,
            .type_size = field.type_size,
        };
    }
    Py_XSETREF(stmt->fields, names);
    stmt->columns_count = count;
    return 0;
}

/* The codec of one type; the object it lies in is kept. NULL with an exception. */
static const struct codec *
stmt_find_codec(struct statement *stmt, struct codec_book *book, uint32_t oid, PyObject *missing)
{
    PyObject *object;
    const struct codec *codec = book_find_borrow(book, oid, &object);
    if (object != NULL) {
        return PyList_Append(stmt->codecs, object) < 0 ? NULL : codec;
    }
    if (codec != NULL) {
        return codec;
    }
    PyObject *number = PyLong_FromUnsignedLong(oid);
    int failed = number == NULL || PyList_Append(missing, number) < 0;
    Py_XDECREF(number);
    return failed ? NULL : &codec_unknown;
}

int
stmt_resolve(struct statement *stmt, struct codec_book *book, PyObject *missing)
{
    PyObject *codecs = PyList_New(0);
    if (codecs == NULL) {
        return -1;
    }
    Py_XSETREF(stmt->codecs, codecs);
    for (size_t i = 0; i < stmt->params_count; i++) {
        stmt->params[i] = stmt_find_codec(stmt, book, stmt->param_oids[i], missing);
        if (stmt->params[i] == NULL) {
            return -1;
        }
    }
    stmt->atomic_rows = true;
    for (size_t i = 0; i < stmt->columns_count; i++) {
        struct column *column = &stmt->columns[i];
        column->codec = stmt_find_codec(stmt, book, column->type_oid, missing);
        if (column->codec == NULL) {
            return -1;
        }
        stmt->atomic_rows = stmt->atomic_rows && codec_is_atomic(column->codec);
    }
    if (stmt_make_result_formats(stmt) < 0) {
        return -1;
    }
    stmt->codec_age = book->age;
    return 0;
}

static PyObject *
long_or_none(bool known, long value)
{
    return known ? PyLong_FromLong(value) : Py_NewRef(Py_None);
}

/* (name, type_code, display_size, internal_size, precision, scale, null_ok). */
static PyObject *
stmt_describe_column(struct statement *stmt, size_t index)
{
    const struct column *column = &stmt->columns[index];
    int32_t modifier = column->type_modifier;
    bool numeric = column->type_oid == OID_NUMERIC && modifier >= 4;
    bool sized =
        (column->type_oid == OID_VARCHAR || column->type_oid == OID_BPCHAR) && modifier >= 4;
    PyObject *size = sized ? PyLong_FromLong(modifier - 4)
                           : long_or_none(column->type_size > 0, column->type_size);
    PyObject *precision = long_or_none(numeric, (modifier - 4) >> 16 & 0xFFFF);
    /* The scale is signed, 11 bits (PostgreSQL 15 has negative ones). */
    PyObject *scale = long_or_none(numeric, (((modifier - 4) & 0x7FF) ^ 1024) - 1024);
    if (size == NULL || precision == NULL || scale == NULL) {
        Py_XDECREF(size);
        Py_XDECREF(precision);
        Py_XDECREF(scale);
        return NULL;
    }
    return Py_BuildValue("(OkONNNO)", PyTuple_GET_ITEM(stmt->fields, (Py_ssize_t)index),
                         (unsigned long)column->type_oid, Py_None, size, precision, scale, Py_None);
}

PyObject *
stmt_description(struct statement *stmt)
{
    if (!stmt->returns_rows) {
        Py_RETURN_NONE;
    }
    if (stmt->description == NULL) {
        PyObject *description = PyTuple_New((Py_ssize_t)stmt->columns_count);
        if (description == NULL) {
            return NULL;
        }
        for (size_t i = 0; i < stmt->columns_count; i++) {
            PyObject *item = stmt_describe_column(stmt, i);
            if (item == NULL) {
                Py_DECREF(description);
                return NULL;
            }
            PyTuple_SET_ITEM(description, (Py_ssize_t)i, item);
        }
        stmt->description = description;
    }
    return Py_NewRef(stmt->description);
}

PyTypeObject *
stmt_row_type_borrow(struct statement *stmt)
{
    if (stmt->row_type == NULL) {
        stmt->row_type = (PyTypeObject *)rows_type_for(stmt->st, stmt->fields);
    }
    return stmt->row_type;
}

static PyObject *
Statement_get_description(struct statement *stmt, void *closure)
{
    (void)closure;
    return stmt_description(stmt);
}

static PyObject *
Statement_get_sql(struct statement *stmt, void *closure)
{
    (void)closure;
    return Py_NewRef(stmt->sql);
}

static PyObject *
Statement_get_name(struct statement *stmt, void *closure)
{
    (void)closure;
    return PyUnicode_FromStringAndSize(stmt->name, (Py_ssize_t)stmt->name_len);
}

static PyObject *
Statement_get_parameters(struct statement *stmt, void *closure)
{
    (void)closure;
    PyObject *oids = PyTuple_New((Py_ssize_t)stmt->params_count);
    for (size_t i = 0; oids != NULL && i < stmt->params_count; i++) {
        PyObject *oid = PyLong_FromUnsignedLong(stmt->param_oids[i]);
        if (oid == NULL) {
            Py_CLEAR(oids);
            break;
        }
        PyTuple_SET_ITEM(oids, (Py_ssize_t)i, oid);
    }
    return oids;
}

static PyObject *
Statement_repr(struct statement *stmt)
{
    return PyUnicode_FromFormat("<pgasync Statement %R>", stmt->sql);
}

static PyGetSetDef Statement_getset[] = {
    {"sql", (getter)Statement_get_sql, NULL, "The text.", NULL},
    {"name", (getter)Statement_get_name, NULL, "Its name on the server; '' is unnamed.", NULL},
    {"parameters", (getter)Statement_get_parameters, NULL, "Type OIDs of its parameters.", NULL},
    {"description", (getter)Statement_get_description, NULL, "PEP 249's description.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* No tp_clear: a cycle passes through the connection, which has one. */
static PyType_Slot Statement_slots[] = {
    {Py_tp_dealloc, Statement_dealloc},   {Py_tp_traverse, Statement_traverse},
    {Py_tp_repr, Statement_repr},         {Py_tp_getset, Statement_getset},
    {Py_tp_doc, "A prepared statement."}, {0, NULL},
};

static PyType_Spec Statement_spec = {
    .name = "pgasync._core.Statement",
    .basicsize = sizeof(struct statement),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Statement_slots,
};

int
stmt_type_init(struct core_state *st, PyObject *module)
{
    st->statement_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Statement_spec, NULL);
    return st->statement_type == NULL ? -1 : PyModule_AddType(module, st->statement_type);
}
