/* Types that PostgreSQL's catalogs and functions speak in: tid, xid8, pg_lsn,
 * pg_snapshot. (xid and cid are read as oid is, the reg* types travel as text.) */
#include "families.h"

#define CATALOG_TID_LEN 6
#define CATALOG_SNAPSHOT_HEADER 20 /* the number of xip, xmin, xmax */

/* An unsigned integer that is an int, not a bool; false without an exception where it
 * is none, or too large. */
static bool
catalog_u64(PyObject *value, uint64_t max, uint64_t *number)
{
    if (!PyLong_Check(value) || PyBool_Check(value)) {
        return false;
    }
    unsigned long long found = PyLong_AsUnsignedLongLong(value);
    if (found == (unsigned long long)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    *number = found;
    return found <= max;
}

PyObject *
codec_tid_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    return Py_BuildValue("(kI)", (unsigned long)wire_load_u32(value.ptr),
                         (unsigned)wire_load_u16(value.ptr + 4));
}

enum codec_outcome
codec_tid_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 struct wire_buffer *out)
{
    uint64_t block, offset;
    if ((!PyTuple_Check(value) && !PyList_Check(value)) || PySequence_Fast_GET_SIZE(value) != 2
        || !catalog_u64(PySequence_Fast_GET_ITEM(value, 0), UINT32_MAX, &block)
        || !catalog_u64(PySequence_Fast_GET_ITEM(value, 1), UINT16_MAX, &offset)) {
        return codec_put_text_only(self, ctx, value, "give a tuple (block, offset) of int", out);
    }
    uint8_t bytes[CATALOG_TID_LEN];
    wire_store_u32(bytes, (uint32_t)block);
    wire_store_u16(bytes + 4, (uint16_t)offset);
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}

static enum codec_outcome
catalog_put_u64(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                const char *remedy, struct wire_buffer *out)
{
    uint64_t number;
    if (!catalog_u64(value, UINT64_MAX, &number)) {
        return codec_put_text_only(self, ctx, value, remedy, out);
    }
    uint8_t bytes[8];
    wire_store_u64(bytes, number);
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}

PyObject *
codec_xid8_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    return PyLong_FromUnsignedLongLong(wire_load_u64(value.ptr));
}

enum codec_outcome
codec_xid8_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return catalog_put_u64(self, ctx, value, "give an int from 0 to 2**64 - 1", out);
}

PyObject *
codec_lsn_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self;
    return PyObject_CallFunction(ctx->types->lsn, "K",
                                 (unsigned long long)wire_load_u64(value.ptr));
}

enum codec_outcome
codec_lsn_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 struct wire_buffer *out)
{
    return catalog_put_u64(self, ctx, value, "give a types.Lsn, an int or a str like 16/B374D848",
                           out);
}

PyObject *
codec_snapshot_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    uint32_t count = wire_read_u32(&reader);
    int64_t xmin = wire_read_i64(&reader);
    int64_t xmax = wire_read_i64(&reader);
    if (reader.bad || wire_reader_left(&reader) % 8 != 0
        || wire_reader_left(&reader) / 8 != count) {
        return codec_fail(self, ctx, "its length does not fit its transactions");
    }
    PyObject *xip = PyTuple_New((Py_ssize_t)count);
    for (uint32_t i = 0; xip != NULL && i < count; i++) {
        PyObject *xid = PyLong_FromUnsignedLongLong((uint64_t)wire_read_i64(&reader));
        if (xid == NULL) {
            Py_CLEAR(xip);
            break;
        }
        PyTuple_SET_ITEM(xip, (Py_ssize_t)i, xid);
    }
    return xip == NULL
               ? NULL
               : PyObject_CallFunction(ctx->types->snapshot, "KKN", (unsigned long long)xmin,
                                       (unsigned long long)xmax, xip);
}

/* Writes (xmin, xmax, xip) whose parts have been looked at; false: they are not right. */
static bool
catalog_put_snapshot(PyObject *value, struct wire_buffer *out)
{
    uint64_t xmin, xmax;
    PyObject *xip = PyTuple_GET_ITEM(value, 2);
    if (!catalog_u64(PyTuple_GET_ITEM(value, 0), INT64_MAX, &xmin)
        || !catalog_u64(PyTuple_GET_ITEM(value, 1), INT64_MAX, &xmax)
        || (!PyTuple_Check(xip) && !PyList_Check(xip))
        || PySequence_Fast_GET_SIZE(xip) > INT32_MAX) {
        return false;
    }
    wire_buffer_put_u32(out, (uint32_t)PySequence_Fast_GET_SIZE(xip));
    wire_buffer_put_u64(out, xmin);
    wire_buffer_put_u64(out, xmax);
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(xip); i++) {
        uint64_t xid;
        if (!catalog_u64(PySequence_Fast_GET_ITEM(xip, i), INT64_MAX, &xid)) {
            return false;
        }
        wire_buffer_put_u64(out, xid);
    }
    return true;
}

enum codec_outcome
codec_snapshot_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                      struct wire_buffer *out)
{
    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 3
        || !catalog_put_snapshot(value, out)) {
        return codec_put_text_only(self, ctx, value,
                                   "give a types.Snapshot(xmin, xmax, xip) of int", out);
    }
    return out->failed == WIRE_OK ? CODEC_BINARY : codec_fail_room(self, ctx, value, out);
}
