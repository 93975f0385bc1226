/* point, line, lseg, box, circle, path, polygon: doubles in tuples. A shape is
 * spelled by its parts, 'n' a number and 'p' a point, itself "nn". */
#include "families.h"

#define GEOMETRIC_POINT_LEN 16

static const char geometric_point[] = "nn";
static const char geometric_line[] = "nnn";
static const char geometric_two_points[] = "pp";
static const char geometric_circle[] = "pn";

/* What the functions that write a value share. */
struct geometric_out {
    const struct codec *self;
    struct codec_ctx *ctx;
    PyObject *value; /* the whole, for messages */
    struct wire_buffer *out;
    const char *remedy;
};

static PyObject *
geometric_read_number(struct wire_reader *reader)
{
    return PyFloat_FromDouble(codec_read_double(reader));
}

static PyObject *
geometric_read_point(struct codec_ctx *ctx, struct wire_reader *reader)
{
    PyObject *items = PyTuple_New(2);
    for (Py_ssize_t i = 0; items != NULL && i < 2; i++) {
        PyObject *number = geometric_read_number(reader);
        if (number == NULL) {
            Py_CLEAR(items);
            break;
        }
        PyTuple_SET_ITEM(items, i, number);
    }
    return codec_tuple_of(ctx->types->point, items);
}

/* A value whose length the caller has checked. */
static PyObject *
geometric_read(struct codec_ctx *ctx, PyObject *type, const char *parts, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    Py_ssize_t count = (Py_ssize_t)strlen(parts);
    PyObject *items = PyTuple_New(count);
    for (Py_ssize_t i = 0; items != NULL && i < count; i++) {
        PyObject *item =
            parts[i] == 'p' ? geometric_read_point(ctx, &reader) : geometric_read_number(&reader);
        if (item == NULL) {
            Py_CLEAR(items);
            break;
        }
        PyTuple_SET_ITEM(items, i, item);
    }
    return codec_tuple_of(type, items);
}

/* A count and that many points, up to the end, as an instance of `type`. */
static PyObject *
geometric_read_points(const struct codec *self, struct codec_ctx *ctx, PyObject *type,
                      struct wire_reader *reader)
{
    int32_t count = wire_read_i32(reader);
    if (reader->bad || count < 0
        || (uint64_t)count * GEOMETRIC_POINT_LEN != wire_reader_left(reader)) {
        return codec_fail(self, ctx, "its number of points does not fit its length");
    }
    PyObject *points = PyTuple_New(count);
    for (Py_ssize_t i = 0; points != NULL && i < count; i++) {
        PyObject *point = geometric_read_point(ctx, reader);
        if (point == NULL) {
            Py_CLEAR(points);
            break;
        }
        PyTuple_SET_ITEM(points, i, point);
    }
    return codec_tuple_of(type, points);
}

static int
geometric_fail(struct geometric_out *geometric)
{
    codec_fail_raised(geometric->self, geometric->ctx, geometric->value, geometric->remedy);
    return 0;
}

/* The items of a sequence of `count` (-1: any number but 0) as a new tuple, so that
 * code that runs meanwhile cannot change them; NULL with an exception. */
static PyObject *
geometric_items(struct geometric_out *geometric, PyObject *value, Py_ssize_t count)
{
    PyObject *items = codec_sequence_tuple(value);
    if (items == NULL || PyTuple_GET_SIZE(items) == 0
        || (count >= 0 && PyTuple_GET_SIZE(items) != count)) {
        Py_CLEAR(items);
        geometric_fail(geometric);
    }
    return items;
}

static int
geometric_put_number(struct geometric_out *geometric, PyObject *value)
{
    double number;
    if (!codec_double_of(value, &number)) {
        return geometric_fail(geometric);
    }
    codec_put_double(geometric->out, number);
    return 1;
}

static int
geometric_put_point(struct geometric_out *geometric, PyObject *value)
{
    PyObject *items = geometric_items(geometric, value, 2);
    int put = items != NULL && geometric_put_number(geometric, PyTuple_GET_ITEM(items, 0))
              && geometric_put_number(geometric, PyTuple_GET_ITEM(items, 1));
    Py_XDECREF(items);
    return put;
}

/* Writes the parts of `value`: numbers and points. */
static int
geometric_put_parts(struct geometric_out *geometric, const char *parts)
{
    Py_ssize_t count = (Py_ssize_t)strlen(parts);
    PyObject *items = geometric_items(geometric, geometric->value, count);
    int put = items != NULL;
    for (Py_ssize_t i = 0; put && i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        put = parts[i] == 'p' ? geometric_put_point(geometric, item)
                              : geometric_put_number(geometric, item);
    }
    Py_XDECREF(items);
    return put;
}

/* Writes a count and as many points. */
static int
geometric_put_points(struct geometric_out *geometric)
{
    PyObject *items = geometric_items(geometric, geometric->value, -1);
    int put = items != NULL;
    Py_ssize_t count = put ? PyTuple_GET_SIZE(items) : 0;
    wire_buffer_put_u32(geometric->out, (uint32_t)count);
    for (Py_ssize_t i = 0; put && i < count; i++) {
        put = geometric_put_point(geometric, PyTuple_GET_ITEM(items, i));
    }
    Py_XDECREF(items);
    return put;
}

static enum codec_outcome
geometric_end(struct geometric_out *geometric, int put)
{
    if (!put) {
        return CODEC_ERROR;
    }
    if (geometric->out->failed != WIRE_OK) {
        return codec_fail_room(geometric->self, geometric->ctx, geometric->value, geometric->out);
    }
    return CODEC_BINARY;
}

static enum codec_outcome
geometric_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
              struct wire_buffer *out, const char *parts, const char *remedy)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    struct geometric_out geometric = {self, ctx, value, out, remedy};
    return geometric_end(&geometric, geometric_put_parts(&geometric, parts));
}

PyObject *
codec_point_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self;
    return geometric_read(ctx, ctx->types->point, geometric_point, value);
}

enum codec_outcome
codec_point_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    return geometric_put(self, ctx, value, out, geometric_point,
                         "give a Point, or a tuple (x, y) of numbers");
}

PyObject *
codec_line_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self;
    return geometric_read(ctx, ctx->types->line, geometric_line, value);
}

enum codec_outcome
codec_line_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return geometric_put(self, ctx, value, out, geometric_line,
                         "give a Line, or a tuple (a, b, c) of numbers");
}

PyObject *
codec_lseg_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self;
    return geometric_read(ctx, ctx->types->lseg, geometric_two_points, value);
}

enum codec_outcome
codec_lseg_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return geometric_put(self, ctx, value, out, geometric_two_points,
                         "give a LineSegment, or a tuple of two points (x, y)");
}

PyObject *
codec_box_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self;
    return geometric_read(ctx, ctx->types->box, geometric_two_points, value);
}

enum codec_outcome
codec_box_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 struct wire_buffer *out)
{
    return geometric_put(self, ctx, value, out, geometric_two_points,
                         "give a Box, or a tuple of two corners (x, y)");
}

PyObject *
codec_circle_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self;
    return geometric_read(ctx, ctx->types->circle, geometric_circle, value);
}

enum codec_outcome
codec_circle_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    return geometric_put(self, ctx, value, out, geometric_circle,
                         "give a Circle, or a tuple ((x, y), radius)");
}

PyObject *
codec_path_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    uint8_t closed = wire_read_u8(&reader);
    if (closed > 1) {
        return codec_fail(self, ctx, "byte %d tells neither open nor closed", (int)closed);
    }
    PyObject *path = geometric_read_points(self, ctx, ctx->types->path, &reader);
    if (path != NULL && PyObject_SetAttrString(path, "_closed", closed ? Py_True : Py_False) < 0) {
        Py_CLEAR(path);
    }
    return path;
}

/* Whether a path is closed: ours says it, and asyncpg's, as is_closed; a plain sequence
 * of points is an open one. -1 with an exception. */
static int
geometric_is_closed(struct codec_ctx *ctx, PyObject *value)
{
    const char *name = "closed";
    if (!PyObject_TypeCheck(value, (PyTypeObject *)ctx->types->path)) {
        name = "is_closed";
        if (PyList_CheckExact(value) || PyTuple_CheckExact(value)
            || !PyObject_HasAttrString(value, name)) {
            return 0;
        }
    }
    PyObject *closed = PyObject_GetAttrString(value, name);
    int is_closed = closed == NULL ? -1 : PyObject_IsTrue(closed);
    Py_XDECREF(closed);
    return is_closed;
}

enum codec_outcome
codec_path_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    struct geometric_out geometric = {self, ctx, value, out,
                                      "give a Path, or a sequence of points (x, y)"};
    int closed = geometric_is_closed(ctx, value);
    if (closed < 0) {
        return geometric_end(&geometric, geometric_fail(&geometric));
    }
    wire_buffer_put_u8(out, (uint8_t)closed);
    return geometric_end(&geometric, geometric_put_points(&geometric));
}

PyObject *
codec_polygon_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    return geometric_read_points(self, ctx, ctx->types->polygon, &reader);
}

enum codec_outcome
codec_polygon_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                     struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    struct geometric_out geometric = {self, ctx, value, out,
                                      "give a Polygon, or a sequence of points (x, y)"};
    return geometric_end(&geometric, geometric_put_points(&geometric));
}
