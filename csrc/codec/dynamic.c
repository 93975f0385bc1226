#include "dynamic.h"

#include "families.h"

struct codec_object {
    PyObject_HEAD
    struct codec codec;
    PyObject *name;  /* str that codec.name lies in */
    PyObject *parts; /* list of the Codec objects that elem and members point into */
    struct codec_member *members;
};

/* `elem`: an element's codec is needed; the others have none. */
struct codec_kind {
    const char *name;
    codec_decode_fn decode;
    codec_encode_fn encode;
    int16_t format;
    bool tuples;
    bool elem;
    bool members;
};

#define KIND(kind, family, form, ...)                                                              \
    {.name = kind,                                                                                 \
     .decode = codec_##family##_decode,                                                            \
     .encode = codec_##family##_encode,                                                            \
     .format = WIRE_FORMAT_##form,                                                                 \
     __VA_ARGS__}

/* A domain has everything from its base. */
static const struct codec_kind codec_kind_table[] = {
    KIND("array", array, BINARY, .elem = true),
    {.name = "domain", .elem = true},
    KIND("enum", enum, BINARY, .elem = false),
    KIND("range", range, BINARY, .elem = true, .tuples = true),
    KIND("multirange", multirange, BINARY, .elem = true, .tuples = true),
    KIND("composite", composite, BINARY, .members = true, .tuples = true),
    KIND("text", user, TEXT, .elem = false),
    KIND("string", user, BINARY, .elem = false),
    KIND("binary", userbytes, BINARY, .elem = false),
    KIND("unknown", raw, TEXT, .elem = false),
    KIND("citext", text, BINARY, .elem = false),
    KIND("hstore", hstore, BINARY, .elem = false),
    KIND("ltree", ltree, BINARY, .elem = false),
    KIND("lquery", ltree, BINARY, .elem = false),
    KIND("ltxtquery", ltree, BINARY, .elem = false),
    KIND("cube", cube, BINARY, .tuples = true),
    KIND("vector", pgvector, BINARY, .tuples = true),
    KIND("halfvec", halfvec, BINARY, .tuples = true),
    KIND("sparsevec", sparsevec, BINARY, .elem = false),
};

#define CODEC_KINDS (sizeof codec_kind_table / sizeof codec_kind_table[0])

PyObject *
codec_kinds(void)
{
    PyObject *names = PyList_New(0);
    for (size_t i = 0; names != NULL && i < CODEC_KINDS; i++) {
        PyObject *name = PyUnicode_FromString(codec_kind_table[i].name);
        if (name == NULL || PyList_Append(names, name) < 0) {
            Py_CLEAR(names);
        }
        Py_XDECREF(name);
    }
    return names;
}

static const struct codec_kind *
dynamic_kind(const char *name)
{
    for (size_t i = 0; i < CODEC_KINDS; i++) {
        if (strcmp(codec_kind_table[i].name, name) == 0) {
            return &codec_kind_table[i];
        }
    }
    PyErr_Format(PyExc_ValueError, "there is no kind of codec '%s'", name);
    return NULL;
}

const struct codec *
codec_object_borrow(PyTypeObject *codec_type, PyObject *object)
{
    if (!Py_IS_TYPE(object, codec_type)) {
        PyErr_Format(PyExc_TypeError, "a Codec is needed, not %s", Py_TYPE(object)->tp_name);
        return NULL;
    }
    return &((struct codec_object *)object)->codec;
}

/* The codec that a part names: a Codec, which is kept alive, or the OID of a
 * built-in type. NULL with an exception. */
static const struct codec *
dynamic_part(struct codec_object *self, PyObject *part)
{
    if (PyLong_Check(part)) {
        const struct codec *codec = codec_find((uint32_t)PyLong_AsUnsignedLongMask(part));
        if (codec == NULL) {
            PyErr_Format(PyExc_ValueError, "OID %R is not a built-in type", part);
        }
        return codec;
    }
    const struct codec *codec = codec_object_borrow(Py_TYPE(self), part);
    return codec == NULL || PyList_Append(self->parts, part) < 0 ? NULL : codec;
}

/* `members`: a sequence of (name, part). -1 with an exception. */
static int
dynamic_set_members(struct codec_object *self, PyObject *members)
{
    PyObject *fast = PySequence_Fast(members, "the members of a composite are a sequence");
    if (fast == NULL) {
        return -1;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    self->members = PyMem_New(struct codec_member, (size_t)count + 1);
    self->codec.members = self->members;
    for (Py_ssize_t i = 0; self->members != NULL && i < count; i++) {
        PyObject *name, *part;
        if (!PyArg_ParseTuple(PySequence_Fast_GET_ITEM(fast, i), "UO", &name, &part)) {
            Py_DECREF(fast);
            return -1;
        }
        const struct codec *codec = dynamic_part(self, part);
        if (codec == NULL) {
            Py_DECREF(fast);
            return -1;
        }
        self->members[i] = (struct codec_member){Py_NewRef(name), codec};
        self->codec.members_count = (size_t)i + 1;
    }
    Py_DECREF(fast);
    if (self->members == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* What holds a type without a binary form has none itself. */
static void
dynamic_set_format(struct codec *codec)
{
    bool text = codec->elem != NULL && codec->elem->format == WIRE_FORMAT_TEXT;
    for (size_t i = 0; i < codec->members_count; i++) {
        text = text || codec->members[i].codec->format == WIRE_FORMAT_TEXT;
    }
    if (text) {
        codec->format = WIRE_FORMAT_TEXT;
    }
    if (text && codec->decode == codec_array_decode) {
        codec->decode = codec_textarray_decode;
        codec->encode = codec_textarray_encode;
    }
}

/* Fills in what the kind says and what it needs. -1 with an exception. */
static int
dynamic_set_kind(struct codec_object *self, const struct codec_kind *kind, PyObject *elem,
                 PyObject *members)
{
    struct codec *codec = &self->codec;
    codec->decode = kind->decode;
    codec->encode = kind->encode;
    codec->format = kind->format;
    codec->tuples = kind->tuples;
    codec->fixed_len = -1;
    if (kind->elem != (elem != Py_None) || kind->members != (members != Py_None)) {
        PyErr_Format(PyExc_TypeError, "kind '%s' is made %s elem and %s members", kind->name,
                     kind->elem ? "with" : "without", kind->members ? "with" : "without");
        return -1;
    }
    if (kind->elem && (codec->elem = dynamic_part(self, elem)) == NULL) {
        return -1;
    }
    if (kind->decode == NULL) { /* a domain: its base under another OID and name */
        struct codec base = *codec->elem;
        base.oid = codec->oid;
        base.array_oid = 0;
        base.name = codec->name;
        Py_XINCREF(base.arg);
        *codec = base;
        return 0;
    }
    if (kind->members && dynamic_set_members(self, members) < 0) {
        return -1;
    }
    dynamic_set_format(codec);
    return 0;
}

static PyObject *
Codec_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    const char *kind_name;
    PyObject *oid, *name;
    PyObject *elem = Py_None;
    PyObject *members = Py_None;
    PyObject *arg = Py_None;
    if (keywords != NULL && PyDict_GET_SIZE(keywords) > 0) {
        PyErr_SetString(PyExc_TypeError, "Codec() takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "sO!U|OOO:Codec", &kind_name, &PyLong_Type, &oid, &name, &elem,
                          &members, &arg)) {
        return NULL;
    }
    const struct codec_kind *kind = dynamic_kind(kind_name);
    struct codec_object *self =
        kind == NULL ? NULL : (struct codec_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->name = Py_NewRef(name);
    self->parts = PyList_New(0);
    self->codec.oid = (uint32_t)PyLong_AsUnsignedLongMask(oid);
    self->codec.name = PyUnicode_AsUTF8(name);
    if (self->parts == NULL || self->codec.name == NULL
        || dynamic_set_kind(self, kind, elem, members) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (arg != Py_None) {
        Py_XSETREF(self->codec.arg, Py_NewRef(arg));
    }
    return (PyObject *)self;
}

static int
Codec_traverse(struct codec_object *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->parts);
    Py_VISIT(self->codec.arg);
    return 0;
}

static void
Codec_dealloc(struct codec_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    for (size_t i = 0; self->members != NULL && i < self->codec.members_count; i++) {
        Py_DECREF(self->members[i].name);
    }
    PyMem_Free(self->members);
    Py_CLEAR(self->codec.arg);
    Py_CLEAR(self->parts);
    Py_CLEAR(self->name);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
Codec_repr(struct codec_object *self)
{
    return PyUnicode_FromFormat("<pgasync Codec %U (OID %lu)>", self->name,
                                (unsigned long)self->codec.oid);
}

static PyObject *
Codec_get_oid(struct codec_object *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLong(self->codec.oid);
}

static PyObject *
Codec_get_name(struct codec_object *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->name);
}

static PyObject *
Codec_get_is_text(struct codec_object *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->codec.format == WIRE_FORMAT_TEXT);
}

static PyGetSetDef Codec_getset[] = {
    {"oid", (getter)Codec_get_oid, NULL, "The type's OID.", NULL},
    {"name", (getter)Codec_get_name, NULL, "The type's name.", NULL},
    {"is_text", (getter)Codec_get_is_text, NULL, "Whether values arrive as text.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Codec_slots[] = {
    {Py_tp_new, Codec_new},
    {Py_tp_dealloc, Codec_dealloc},
    {Py_tp_traverse, Codec_traverse},
    {Py_tp_repr, Codec_repr},
    {Py_tp_getset, Codec_getset},
    {Py_tp_doc, "Codec(kind, oid, name, elem, members, arg)"},
    {0, NULL},
};

/* Without tp_clear: a codec's pointers into its parts must hold to its end. A cycle
 * through a user's functions is broken where it passes another object. */
static PyType_Spec Codec_spec = {
    .name = "pgasync._core.Codec",
    .basicsize = sizeof(struct codec_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Codec_slots,
};

PyTypeObject *
codec_object_type_new(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &Codec_spec, NULL);
}
