/* Composites, whose members are known, and anonymous records, whose fields name their
 * types one by one. */
#include "container.h"
#include "oids.h"

PyObject *
record_new(const struct codec *self, Py_ssize_t count)
{
    PyObject *tuple;
    PyTypeObject *type = (PyTypeObject *)self->arg;
    if (self->arg != NULL && PyType_Check(self->arg)
        && PyType_FastSubclass(type, Py_TPFLAGS_TUPLE_SUBCLASS)
        && type->tp_basicsize == PyTuple_Type.tp_basicsize
        && type->tp_itemsize == PyTuple_Type.tp_itemsize) {
        tuple = type->tp_alloc(type, count);
    }
    else {
        tuple = PyTuple_New(count);
    }
    /* The collector does not see it before it is full: decoding may run Python code. */
    if (tuple != NULL && PyObject_GC_IsTracked(tuple)) {
        PyObject_GC_UnTrack(tuple);
    }
    return tuple;
}

/* arg(*values), or for (callable, names) callable(**dict(zip(names, values))). */
static PyObject *
record_call(const struct codec *self, struct codec_ctx *ctx, PyObject *tuple)
{
    PyObject *maker = self->arg;
    PyObject *names = NULL;
    if (PyTuple_Check(maker) && PyTuple_GET_SIZE(maker) == 2) {
        names = PyTuple_GET_ITEM(maker, 1);
        maker = PyTuple_GET_ITEM(maker, 0);
    }
    if (names == Py_None) {
        names = NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    if (names != NULL && (!PyTuple_Check(names) || PyTuple_GET_SIZE(names) != count)) {
        return codec_fail(self, ctx, "the registered class does not take its %zd members", count);
    }
    PyObject *owned = Py_NewRef(maker);
    PyObject *made = PyObject_Vectorcall(owned, &PyTuple_GET_ITEM(tuple, 0),
                                         names == NULL ? (size_t)count : 0, names);
    Py_DECREF(owned);
    if (made == NULL && codec_may_convert()) {
        return codec_fail(self, ctx, "the registered class refused its members");
    }
    return made;
}

PyObject *
record_end(const struct codec *self, struct codec_ctx *ctx, PyObject *tuple)
{
    if (PyTuple_GET_SIZE(tuple) > 0) {
        PyObject_GC_Track(tuple);
    }
    if (self->arg == NULL || !PyTuple_CheckExact(tuple) || self->arg == (PyObject *)&PyTuple_Type) {
        return tuple;
    }
    PyObject *made = record_call(self, ctx, tuple);
    Py_DECREF(tuple);
    return made;
}

/* The codec of an anonymous record's field, NULL with an exception. Only a codec of
 * the binary form will do: no other is in a record. */
static const struct codec *
record_find(const struct codec *self, struct codec_ctx *ctx, uint32_t oid)
{
    const struct codec *codec = ctx->find == NULL ? codec_find(oid) : ctx->find(ctx, oid);
    if (codec == NULL) {
        codec_miss(self, ctx, oid);
        return NULL;
    }
    if (codec->format != WIRE_FORMAT_BINARY && oid != OID_UNKNOWN) {
        codec_fail(self, ctx,
                   "it holds a value of type %s (OID %lu), which has no binary form here;"
                   " select it by itself, or cast it to text in the record",
                   codec->name, (unsigned long)oid);
        return NULL;
    }
    return codec;
}

/* One field: its type, its length, its bytes. `member` is NULL in an anonymous record. */
static PyObject *
record_read_field(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader,
                  const struct codec *member)
{
    uint32_t oid = wire_read_u32(reader);
    wire_slice value;
    bool null;
    if (!container_read(self, ctx, reader, &value, &null)) {
        return NULL;
    }
    if (member != NULL && member->oid != oid) {
        return codec_miss(self, ctx, self->oid);
    }
    if (null) {
        return Py_NewRef(Py_None);
    }
    const struct codec *codec = member != NULL ? member : record_find(self, ctx, oid);
    return codec == NULL ? NULL : codec_decode(codec, ctx, value);
}

/* After a field whose type is not known: notes the other such fields too, so that one
 * lookup does for all. The exception that is set stays. */
static void
record_note_rest(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader,
                 Py_ssize_t left)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    for (Py_ssize_t i = 0; i < left && !reader->bad; i++) {
        PyObject *field = record_read_field(self, ctx, reader, NULL);
        bool stop = field == NULL && !codec_may_convert();
        Py_XDECREF(field);
        PyErr_Clear();
        if (stop) {
            break;
        }
    }
    PyErr_Restore(type, value, traceback);
}

/* `members` is NULL for an anonymous record. */
static PyObject *
record_read(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader,
            const struct codec_member *members)
{
    int32_t count = wire_read_i32(reader);
    if (reader->bad || count < 0 || (size_t)count > wire_reader_left(reader) / 8) {
        return codec_fail(self, ctx, "the number of its fields does not fit its length");
    }
    if (members != NULL && (size_t)count != self->members_count) {
        return codec_miss(self, ctx, self->oid);
    }
    PyObject *tuple = record_new(self, count);
    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *field =
            record_read_field(self, ctx, reader, members == NULL ? NULL : members[i].codec);
        if (field == NULL) {
            if (members == NULL && ctx->missing != NULL && PyList_GET_SIZE(ctx->missing) > 0) {
                record_note_rest(self, ctx, reader, count - i - 1);
            }
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, field);
    }
    if (tuple != NULL && !wire_reader_end(reader)) {
        Py_DECREF(tuple);
        return codec_fail(self, ctx, "there are bytes behind the last field");
    }
    return tuple;
}

static PyObject *
record_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value,
              const struct codec_member *members)
{
    if (!container_enter(ctx)) {
        return codec_fail(self, ctx, "containers are nested too deeply");
    }
    struct wire_reader reader = wire_reader_of(value);
    PyObject *tuple = record_read(self, ctx, &reader, members);
    container_leave(ctx);
    return tuple == NULL ? NULL : record_end(self, ctx, tuple);
}

PyObject *
codec_record_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return record_decode(self, ctx, value, NULL);
}

enum codec_outcome
codec_record_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    (void)out;
    return codec_fail_value(self, ctx, value,
                            "the server takes no anonymous records; give the parameter a"
                            " composite type, as in $1::name");
}

PyObject *
codec_composite_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    if (self->format == WIRE_FORMAT_TEXT) {
        return textform_composite(self, ctx, value);
    }
    return record_decode(self, ctx, value, self->members);
}

/* Sending: the values of the members as a new tuple, by place, name or attribute */

/* ", "-joined names of all members. */
static PyObject *
record_names(const struct codec *self)
{
    PyObject *names = PyUnicode_FromString("");
    for (size_t i = 0; names != NULL && i < self->members_count; i++) {
        PyUnicode_AppendAndDel(&names,
                               PyUnicode_FromFormat(i == 0 ? "%U" : ", %U", self->members[i].name));
    }
    return names;
}

/* An error whose remedy ends in the members' names. Returns NULL. */
static PyObject *
record_fail(const struct codec *self, struct codec_ctx *ctx, PyObject *value, const char *remedy)
{
    PyObject *names = record_names(self);
    if (names != NULL) {
        codec_fail_value(self, ctx, value, "%s: %U", remedy, names);
        Py_DECREF(names);
    }
    return NULL;
}

static PyObject *
record_by_place(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    PyObject *tuple = PySequence_Tuple(value);
    if (tuple != NULL && (size_t)PyTuple_GET_SIZE(tuple) != self->members_count) {
        Py_DECREF(tuple);
        codec_fail_value(self, ctx, value, "it has %zd members, the type has %zu",
                         PyObject_Size(value), self->members_count);
        return NULL;
    }
    return tuple;
}

/* A mapping's value by name, an object's by attribute; NULL with an error that says
 * which is missing. */
static PyObject *
record_get(const struct codec *self, struct codec_ctx *ctx, PyObject *value, PyObject *name,
           bool mapping)
{
    PyObject *found = mapping ? PyObject_GetItem(value, name) : PyObject_GetAttr(value, name);
    if (found != NULL) {
        return found;
    }
    if (PyErr_ExceptionMatches(mapping ? PyExc_KeyError : PyExc_AttributeError)) {
        PyErr_Clear();
        codec_fail_value(self, ctx, value,
                         mapping ? "it has no key '%U'" : "it has no attribute '%U'", name);
    }
    else {
        codec_fail_raised(self, ctx, value, "give a tuple of its members");
    }
    return NULL;
}

/* What the tuple made by name holds besides: a mapping must have no other keys. */
static bool
record_has_more(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    PyObject *keys = PySequence_List(value);
    if (keys == NULL) {
        codec_fail_raised(self, ctx, value, "give a tuple of its members");
        return true;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        bool known = false;
        for (size_t j = 0; !known && j < self->members_count && PyUnicode_Check(key); j++) {
            known = PyUnicode_Compare(key, self->members[j].name) == 0;
        }
        if (!known) {
            codec_fail_value(self, ctx, value, "the type has no member %R", key);
            Py_DECREF(keys);
            return true;
        }
    }
    Py_DECREF(keys);
    return false;
}

static PyObject *
record_by_name(const struct codec *self, struct codec_ctx *ctx, PyObject *value, bool mapping)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)self->members_count);
    for (size_t i = 0; tuple != NULL && i < self->members_count; i++) {
        PyObject *member = record_get(self, ctx, value, self->members[i].name, mapping);
        if (member == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, member);
    }
    if (tuple != NULL && mapping && record_has_more(self, ctx, value)) {
        Py_CLEAR(tuple);
    }
    return tuple;
}

/* Whether an object has the first member as an attribute; -1 with an exception. */
static int
record_has_first(const struct codec *self, PyObject *value)
{
    if (self->members_count == 0) {
        return 0;
    }
    PyObject *first = PyObject_GetAttr(value, self->members[0].name);
    Py_XDECREF(first);
    if (first == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return 0;
    }
    return first == NULL ? -1 : 1;
}

/* Mappings are what Python's pattern matching takes for them. */
static PyObject *
record_values(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    if (PyTuple_Check(value) || PyList_Check(value)) {
        return record_by_place(self, ctx, value);
    }
    if (PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_MAPPING)) {
        return record_by_name(self, ctx, value, true);
    }
    int found = PyType_Check(value) ? 0 : record_has_first(self, value);
    if (found < 0) {
        codec_fail_raised(self, ctx, value, "give a tuple of its members");
        return NULL;
    }
    if (found == 0) {
        return record_fail(self, ctx, value, "give a tuple, a mapping or an object of its members");
    }
    return record_by_name(self, ctx, value, false);
}

static enum codec_outcome
record_put_binary(const struct codec *self, struct codec_ctx *ctx, PyObject *values,
                  struct wire_buffer *out)
{
    enum codec_outcome outcome = CODEC_BINARY;
    wire_buffer_put_u32(out, (uint32_t)self->members_count);
    for (size_t i = 0; outcome == CODEC_BINARY && i < self->members_count; i++) {
        const struct codec *codec = self->members[i].codec;
        PyObject *member = PyTuple_GET_ITEM(values, (Py_ssize_t)i);
        wire_buffer_put_u32(out, codec->oid);
        if (member == Py_None) {
            wire_buffer_put_u32(out, UINT32_MAX);
        }
        else {
            outcome = container_put(codec, ctx, member, out);
        }
    }
    return outcome;
}

/* ("a",,"b") */
static enum codec_outcome
record_put_literal(const struct codec *self, struct codec_ctx *ctx, PyObject *values,
                   struct wire_buffer *out)
{
    enum codec_outcome outcome = CODEC_TEXT;
    wire_buffer_put_u8(out, '(');
    for (size_t i = 0; outcome == CODEC_TEXT && i < self->members_count; i++) {
        PyObject *member = PyTuple_GET_ITEM(values, (Py_ssize_t)i);
        if (i > 0) {
            wire_buffer_put_u8(out, ',');
        }
        if (member != Py_None) {
            outcome = textform_put(self->members[i].codec, ctx, member, out);
        }
    }
    wire_buffer_put_u8(out, ')');
    return outcome;
}

static enum codec_outcome
record_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
           struct wire_buffer *out, bool text)
{
    PyObject *values = record_values(self, ctx, value);
    if (values == NULL) {
        return PyErr_Occurred() && !PyErr_ExceptionMatches(ctx->types->data_error)
                   ? codec_fail_raised(self, ctx, value, "give a tuple of its members")
                   : CODEC_ERROR;
    }
    size_t mark = wire_buffer_mark(out);
    enum codec_outcome outcome = text ? CODEC_TEXT : record_put_binary(self, ctx, values, out);
    if (outcome == CODEC_TEXT) {
        wire_buffer_rollback(out, mark);
        outcome = record_put_literal(self, ctx, values, out);
    }
    Py_DECREF(values);
    return container_end(self, ctx, value, out, outcome);
}

static enum codec_outcome
composite_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 struct wire_buffer *out, bool text)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (!container_enter(ctx)) {
        return codec_fail_value(self, ctx, value, "containers are nested too deeply");
    }
    enum codec_outcome outcome = record_put(self, ctx, value, out, text);
    container_leave(ctx);
    return outcome;
}

enum codec_outcome
codec_composite_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                       struct wire_buffer *out)
{
    return composite_encode(self, ctx, value, out, self->format == WIRE_FORMAT_TEXT);
}

enum codec_outcome
composite_put_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    return composite_encode(self, ctx, value, out, true);
}
