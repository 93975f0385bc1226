/* What array.c, range.c, record.c and textform.c share. Private to codec/. */
#ifndef CODEC_CONTAINER_H
#define CODEC_CONTAINER_H

#include "families.h"

/* One more container around; false at WIRE_NESTING_MAX. */
static inline bool
container_enter(struct codec_ctx *ctx)
{
    if (ctx->depth >= WIRE_NESTING_MAX) {
        return false;
    }
    ctx->depth += 1;
    return true;
}

static inline void
container_leave(struct codec_ctx *ctx)
{
    ctx->depth -= 1;
}

/* The bytes of a value that its length stands in front of; *null for the length -1.
 * False with DataError about `self` where that goes beyond the reader's end. */
static inline bool
container_read(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader,
               wire_slice *value, bool *null)
{
    int32_t len = wire_read_i32(reader);
    if (reader->bad || len < -1) {
        codec_fail(self, ctx, "the length of a value in it is malformed");
        return false;
    }
    *null = len == -1;
    *value = wire_read_bytes(reader, *null ? 0 : (size_t)len);
    if (reader->bad) {
        codec_fail(self, ctx, "a value in it goes beyond its end");
        return false;
    }
    return true;
}

/* Writes `value` with its length in front; CODEC_TEXT: its codec chose text, so the
 * container has to be written as text too, from its beginning. */
static inline enum codec_outcome
container_put(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
              struct wire_buffer *out)
{
    size_t mark = wire_buffer_mark(out);
    wire_buffer_put_u32(out, 0);
    enum codec_outcome outcome = codec_encode(codec, ctx, value, out);
    if (outcome == CODEC_BINARY && out->failed == WIRE_OK) {
        size_t len = wire_buffer_mark(out) - mark - 4;
        wire_store_u32(out->data + out->start + mark, (uint32_t)len);
    }
    return outcome;
}

/* The end of writing: CODEC_ERROR where the buffer has failed, else `outcome`. */
enum codec_outcome container_end(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                                 struct wire_buffer *out, enum codec_outcome outcome);

/* The text form of containers. Each writes the whole of `value` as text, whatever
 * its members' codecs choose, and gives CODEC_TEXT or CODEC_ERROR. */
enum codec_outcome array_put_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                                  struct wire_buffer *out);
/* The same for a range. */
enum codec_outcome range_put_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                                  struct wire_buffer *out);
/* The same for a multirange. */
enum codec_outcome multirange_put_text(const struct codec *self, struct codec_ctx *ctx,
                                       PyObject *value, struct wire_buffer *out);
/* The same for int2vector and oidvector. */
enum codec_outcome vector_put_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                                   struct wire_buffer *out);
/* The same for a composite. */
enum codec_outcome composite_put_text(const struct codec *self, struct codec_ctx *ctx,
                                      PyObject *value, struct wire_buffer *out);

/* The text form of a value inside a container, in double quotes. */
enum codec_outcome textform_put(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                                struct wire_buffer *out);

/* The text form of a value that nothing is around. `out` is empty. */
enum codec_outcome textform_put_alone(const struct codec *codec, struct codec_ctx *ctx,
                                      PyObject *value, struct wire_buffer *out);

/* Decodes the text form; self->elem and self->members tell what is in it. */
PyObject *textform_array(const struct codec *self, struct codec_ctx *ctx, wire_slice text);
/* The same for a range. */
PyObject *textform_range(const struct codec *self, struct codec_ctx *ctx, wire_slice text);
/* The same for a multirange. */
PyObject *textform_multirange(const struct codec *self, struct codec_ctx *ctx, wire_slice text);
/* The same for a composite. */
PyObject *textform_composite(const struct codec *self, struct codec_ctx *ctx, wire_slice text);

/* What stands between the elements of an array of `elem` in text form. */
char container_delimiter(const struct codec *array);

/* A types.Array from a list and as many lower bounds as it has dimensions; steals
 * `list`. */
PyObject *array_with_bounds(struct codec_ctx *ctx, PyObject *list, const int32_t *lower, int dims);

/* Whether the list of an array of `dims` dimensions does not show how many there are,
 * since elements are lists, too: it has to be a types.Array to come back as it was. */
bool array_hides_levels(const struct codec *self, PyObject *list, int dims);

/* The bits of a range's first byte. */
enum range_flags {
    RANGE_EMPTY = 0x01,
    RANGE_LOWER_INC = 0x02,
    RANGE_UPPER_INC = 0x04,
    RANGE_LOWER_INF = 0x08,
    RANGE_UPPER_INF = 0x10,
    RANGE_FLAGS = 0x1F,
};

/* A range object: types.Range or options->range_type. Steals the bounds, which are
 * NULL where there is none. */
PyObject *range_new(const struct codec *self, struct codec_ctx *ctx, unsigned flags,
                    PyObject *lower, PyObject *upper);
/* A multirange from a list of ranges, which it steals (may be NULL). */
PyObject *multirange_new(const struct codec *self, struct codec_ctx *ctx, PyObject *ranges);

/* The object that a composite's values are put into (PyTuple_SET_ITEM): a tuple, of the
 * class in self->arg where that can be filled directly. */
PyObject *record_new(const struct codec *self, Py_ssize_t count);
/* What the composite becomes: `tuple` itself, or what self->arg makes of the values
 * in it. Steals `tuple`. */
PyObject *record_end(const struct codec *self, struct codec_ctx *ctx, PyObject *tuple);

#endif
