/* Ranges and multiranges. types.RANGE_PARTS holds what making a Range takes, in this
 * order. */
#include "container.h"

enum range_part {
    RANGE_PART_LOWER, /* the slots of a Range, which forbids setattr */
    RANGE_PART_UPPER,
    RANGE_PART_BOUNDS,
    RANGE_PART_EMPTY,
    RANGE_PART_BRACKETS,     /* "()", "(]", "[)", "[]" */
    RANGE_PART_KEYWORDS = 8, /* ("bounds", "empty") */
    RANGE_PARTS,
};

/* The Python side of a range, either way. References are owned. */
struct range_value {
    PyObject *lower; /* NULL or None: no bound */
    PyObject *upper;
    unsigned flags;
};

static PyObject *
range_part(struct codec_ctx *ctx, Py_ssize_t part)
{
    return PyTuple_GET_ITEM(ctx->types->range_parts, part);
}

static PyObject *
range_brackets(struct codec_ctx *ctx, unsigned flags)
{
    if (flags & RANGE_EMPTY) {
        flags = RANGE_LOWER_INC;
    }
    return range_part(ctx, RANGE_PART_BRACKETS + (flags & RANGE_LOWER_INC ? 2 : 0)
                               + (flags & RANGE_UPPER_INC ? 1 : 0));
}

static int
range_set(struct codec_ctx *ctx, PyObject *range, Py_ssize_t part, PyObject *value)
{
    PyObject *slot = range_part(ctx, part);
    return Py_TYPE(slot)->tp_descr_set(slot, range, value);
}

/* A types.Range, filled without its __init__, which checks what a server has
 * checked. */
static PyObject *
range_make(struct codec_ctx *ctx, const struct range_value *value)
{
    PyTypeObject *type = (PyTypeObject *)ctx->types->range;
    PyObject *range = type->tp_alloc(type, 0);
    if (range != NULL
        && (range_set(ctx, range, RANGE_PART_LOWER, value->lower) < 0
            || range_set(ctx, range, RANGE_PART_UPPER, value->upper) < 0
            || range_set(ctx, range, RANGE_PART_BOUNDS, range_brackets(ctx, value->flags)) < 0
            || range_set(ctx, range, RANGE_PART_EMPTY,
                         value->flags & RANGE_EMPTY ? Py_True : Py_False)
                   < 0)) {
        Py_CLEAR(range);
    }
    return range;
}

/* range_type(lower, upper, bounds=, empty=) */
static PyObject *
range_call(const struct codec *self, struct codec_ctx *ctx, const struct range_value *value)
{
    PyObject *maker = Py_NewRef(ctx->options->range_type);
    PyObject *arguments[] = {value->lower, value->upper, range_brackets(ctx, value->flags),
                             value->flags & RANGE_EMPTY ? Py_True : Py_False};
    PyObject *range =
        PyObject_Vectorcall(maker, arguments, 2, range_part(ctx, RANGE_PART_KEYWORDS));
    Py_DECREF(maker);
    if (range == NULL && codec_may_convert()) {
        return codec_fail(self, ctx, "range_type failed");
    }
    return range;
}

PyObject *
range_new(const struct codec *self, struct codec_ctx *ctx, unsigned flags, PyObject *lower,
          PyObject *upper)
{
    struct range_value value = {
        .lower = lower == NULL ? Py_NewRef(Py_None) : lower,
        .upper = upper == NULL ? Py_NewRef(Py_None) : upper,
        .flags = flags,
    };
    PyObject *range = ctx->options->range_type == NULL || ctx->options->range_type == Py_None
                          ? range_make(ctx, &value)
                          : range_call(self, ctx, &value);
    Py_DECREF(value.lower);
    Py_DECREF(value.upper);
    return range;
}

/* A bound's value, NULL with an exception. */
static PyObject *
range_read_bound(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader)
{
    wire_slice bound;
    bool null;
    if (!container_read(self, ctx, reader, &bound, &null)) {
        return NULL;
    }
    if (null) {
        return codec_fail(self, ctx, "a bound of it is NULL");
    }
    return codec_decode(self->elem, ctx, bound);
}

static PyObject *
range_read(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader)
{
    PyObject *lower = NULL;
    PyObject *upper = NULL;
    unsigned flags = wire_read_u8(reader);
    if (reader->bad || (flags & ~(unsigned)RANGE_FLAGS) != 0) {
        return codec_fail(self, ctx, "the range's flags are malformed");
    }
    if (!(flags & (RANGE_EMPTY | RANGE_LOWER_INF))) {
        lower = range_read_bound(self, ctx, reader);
        if (lower == NULL) {
            return NULL;
        }
    }
    if (!(flags & (RANGE_EMPTY | RANGE_UPPER_INF))) {
        upper = range_read_bound(self, ctx, reader);
        if (upper == NULL) {
            Py_XDECREF(lower);
            return NULL;
        }
    }
    if (!wire_reader_end(reader)) {
        Py_XDECREF(lower);
        Py_XDECREF(upper);
        return codec_fail(self, ctx, "there are bytes behind the range");
    }
    return range_new(self, ctx, flags, lower, upper);
}

PyObject *
codec_range_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    if (self->format == WIRE_FORMAT_TEXT) {
        return textform_range(self, ctx, value);
    }
    if (!container_enter(ctx)) {
        return codec_fail(self, ctx, "containers are nested too deeply");
    }
    struct wire_reader reader = wire_reader_of(value);
    PyObject *range = range_read(self, ctx, &reader);
    container_leave(ctx);
    return range;
}

/* Sending: what a value says */

#define RANGE_REMEDY "give a pgasync.types.Range, as in Range(lower, upper, '[)')"

static void
range_clear(struct range_value *value)
{
    Py_CLEAR(value->lower);
    Py_CLEAR(value->upper);
}

/* A boolean attribute: 1, 0, or -1 where there is none or it raised (the exception is
 * gone, unless it must not be caught). A method does not count as true. */
static int
range_truth(PyObject *value, const char *name)
{
    PyObject *found = PyObject_GetAttrString(value, name);
    int truth = found == NULL || !PyBool_Check(found) ? -1 : found == Py_True;
    Py_XDECREF(found);
    if (found == NULL && codec_may_convert()) {
        PyErr_Clear();
    }
    return truth;
}

/* "[)" and so on; false for anything else. */
static bool
range_parse_brackets(PyObject *brackets, unsigned *flags)
{
    if (!PyUnicode_Check(brackets) || PyUnicode_GET_LENGTH(brackets) != 2) {
        return false;
    }
    Py_UCS4 open = PyUnicode_READ_CHAR(brackets, 0);
    Py_UCS4 close = PyUnicode_READ_CHAR(brackets, 1);
    if ((open != '[' && open != '(') || (close != ']' && close != ')')) {
        return false;
    }
    *flags = (open == '[' ? RANGE_LOWER_INC : 0u) | (close == ']' ? RANGE_UPPER_INC : 0u);
    return true;
}

/* `bounds` as here, in SQLAlchemy and psycopg; lower_inc and upper_inc as in asyncpg. */
static bool
range_inspect_brackets(PyObject *value, unsigned *flags)
{
    PyObject *brackets = PyObject_GetAttrString(value, "bounds");
    if (brackets != NULL) {
        bool good = range_parse_brackets(brackets, flags);
        Py_DECREF(brackets);
        return good;
    }
    if (!codec_may_convert()) {
        return false;
    }
    PyErr_Clear();
    int lower = range_truth(value, "lower_inc");
    int upper = lower < 0 ? -1 : range_truth(value, "upper_inc");
    *flags = (lower > 0 ? RANGE_LOWER_INC : 0u) | (upper > 0 ? RANGE_UPPER_INC : 0u);
    return upper >= 0;
}

/* Any object with a range's attributes. False, with or without an exception, for
 * others. */
static bool
range_inspect_object(PyObject *value, struct range_value *range)
{
    int empty = range_truth(value, "isempty");
    if (empty < 0 && !PyErr_Occurred()) {
        empty = range_truth(value, "empty");
    }
    if (empty < 0) {
        return false;
    }
    if (empty) {
        range->flags = RANGE_EMPTY;
        return true;
    }
    range->lower = PyObject_GetAttrString(value, "lower");
    range->upper = range->lower == NULL ? NULL : PyObject_GetAttrString(value, "upper");
    return range->upper != NULL && range_inspect_brackets(value, &range->flags);
}

/* A types.Range, by its slots. */
static bool
range_inspect_own(struct codec_ctx *ctx, PyObject *value, struct range_value *range)
{
    PyObject *parts[4] = {NULL};
    bool good = true;
    for (Py_ssize_t i = 0; good && i <= RANGE_PART_EMPTY; i++) {
        PyObject *slot = range_part(ctx, RANGE_PART_LOWER + i);
        parts[i] = Py_TYPE(slot)->tp_descr_get(slot, value, (PyObject *)Py_TYPE(value));
        good = parts[i] != NULL;
    }
    good = good && range_parse_brackets(parts[RANGE_PART_BOUNDS], &range->flags);
    if (good && parts[RANGE_PART_EMPTY] == Py_True) {
        range->flags = RANGE_EMPTY;
    }
    range->lower = parts[RANGE_PART_LOWER];
    range->upper = parts[RANGE_PART_UPPER];
    Py_XDECREF(parts[RANGE_PART_BOUNDS]);
    Py_XDECREF(parts[RANGE_PART_EMPTY]);
    return good;
}

/* range(start, stop) for ranges of integers. */
static bool
range_inspect_builtin(const struct codec *self, PyObject *value, struct range_value *range)
{
    codec_encode_fn elem = self->elem->encode;
    PyObject *step = PyObject_GetAttrString(value, "step");
    bool good =
        step != NULL && PyLong_Check(step) && PyLong_AsLong(step) == 1
        && (elem == codec_int4_encode || elem == codec_int8_encode || elem == codec_int2_encode);
    Py_XDECREF(step);
    PyErr_Clear();
    if (!good) {
        return false;
    }
    range->flags = PyObject_Size(value) == 0 ? RANGE_EMPTY : RANGE_LOWER_INC;
    PyErr_Clear(); /* longer than any int8: a bound's codec refuses it */
    range->lower = PyObject_GetAttrString(value, "start");
    range->upper = PyObject_GetAttrString(value, "stop");
    return range->lower != NULL && range->upper != NULL;
}

/* False with an exception about `value`. */
static bool
range_inspect(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
              struct range_value *range)
{
    bool good;
    if (Py_IS_TYPE(value, (PyTypeObject *)ctx->types->range)) {
        good = range_inspect_own(ctx, value, range);
    }
    else if (PyTuple_CheckExact(value) && PyTuple_GET_SIZE(value) == 2) {
        range->lower = Py_NewRef(PyTuple_GET_ITEM(value, 0));
        range->upper = Py_NewRef(PyTuple_GET_ITEM(value, 1));
        range->flags = RANGE_LOWER_INC;
        good = true;
    }
    else if (PyRange_Check(value)) {
        good = range_inspect_builtin(self, value, range);
    }
    else {
        good = range_inspect_object(value, range);
    }
    if (!good) {
        codec_fail_raised(self, ctx, value, RANGE_REMEDY);
        return false;
    }
    if (!(range->flags & RANGE_EMPTY)) {
        range->flags = range->lower == Py_None ? (range->flags & ~RANGE_LOWER_INC) | RANGE_LOWER_INF
                                               : range->flags;
        range->flags = range->upper == Py_None ? (range->flags & ~RANGE_UPPER_INC) | RANGE_UPPER_INF
                                               : range->flags;
    }
    return true;
}

/* Sending: the bytes */

static enum codec_outcome
range_put_binary(const struct codec *self, struct codec_ctx *ctx, const struct range_value *range,
                 struct wire_buffer *out)
{
    enum codec_outcome outcome = CODEC_BINARY;
    wire_buffer_put_u8(out, (uint8_t)range->flags);
    if (!(range->flags & (RANGE_EMPTY | RANGE_LOWER_INF))) {
        outcome = container_put(self->elem, ctx, range->lower, out);
    }
    if (outcome == CODEC_BINARY && !(range->flags & (RANGE_EMPTY | RANGE_UPPER_INF))) {
        outcome = container_put(self->elem, ctx, range->upper, out);
    }
    return outcome;
}

/* ["lower","upper") */
static enum codec_outcome
range_put_literal(const struct codec *self, struct codec_ctx *ctx, const struct range_value *range,
                  struct wire_buffer *out)
{
    enum codec_outcome outcome = CODEC_TEXT;
    if (range->flags & RANGE_EMPTY) {
        wire_buffer_put(out, "empty", 5);
        return outcome;
    }
    wire_buffer_put_u8(out, range->flags & RANGE_LOWER_INC ? '[' : '(');
    if (!(range->flags & RANGE_LOWER_INF)) {
        outcome = textform_put(self->elem, ctx, range->lower, out);
    }
    wire_buffer_put_u8(out, ',');
    if (outcome == CODEC_TEXT && !(range->flags & RANGE_UPPER_INF)) {
        outcome = textform_put(self->elem, ctx, range->upper, out);
    }
    wire_buffer_put_u8(out, range->flags & RANGE_UPPER_INC ? ']' : ')');
    return outcome;
}

static enum codec_outcome
range_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value, struct wire_buffer *out,
          bool text)
{
    struct range_value range = {.lower = NULL};
    enum codec_outcome outcome = CODEC_ERROR;
    size_t mark = wire_buffer_mark(out);
    if (range_inspect(self, ctx, value, &range)) {
        outcome = text ? CODEC_TEXT : range_put_binary(self, ctx, &range, out);
        if (outcome == CODEC_TEXT) {
            wire_buffer_rollback(out, mark);
            outcome = range_put_literal(self, ctx, &range, out);
        }
    }
    range_clear(&range);
    return container_end(self, ctx, value, out, outcome);
}

static enum codec_outcome
range_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
             struct wire_buffer *out, bool text)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (!container_enter(ctx)) {
        return codec_fail_value(self, ctx, value, "containers are nested too deeply");
    }
    enum codec_outcome outcome = range_put(self, ctx, value, out, text);
    container_leave(ctx);
    return outcome;
}

enum codec_outcome
codec_range_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    return range_encode(self, ctx, value, out, self->format == WIRE_FORMAT_TEXT);
}

enum codec_outcome
range_put_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
               struct wire_buffer *out)
{
    return range_encode(self, ctx, value, out, true);
}
