/* The data of a COPY … TO STDOUT. The server sends a CopyData for every row; they are
 * gathered into pieces that are worth a Python object each. */
#include "copy.h"
#include "errors.h"
#include "flow.h"

#define COPY_PIECE_BYTES (64 * 1024)

int
copy_close_piece(struct operation *op)
{
    struct copy *copy = op->copy;
    PyObject *piece = copy->piece;
    copy->piece = NULL;
    if (piece == NULL) {
        return 0;
    }
    if (op->rows == NULL) {
        op->rows = PyList_New(0);
    }
    if (op->rows == NULL || _PyBytes_Resize(&piece, (Py_ssize_t)copy->filled) < 0) {
        Py_XDECREF(piece); /* a failed resize has cleared it */
        return -1;
    }
    int failed = PyList_Append(op->rows, piece);
    Py_DECREF(piece);
    return failed;
}

static int
copy_keep(struct connection *conn, struct operation *op, wire_slice data)
{
    struct copy *copy = op->copy;
    if (copy->piece != NULL && data.len > (size_t)PyBytes_GET_SIZE(copy->piece) - copy->filled
        && copy_close_piece(op) < 0) {
        return -1;
    }
    if (copy->piece == NULL) {
        size_t size = data.len < COPY_PIECE_BYTES ? COPY_PIECE_BYTES : data.len;
        copy->piece = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        copy->filled = 0;
        if (copy->piece == NULL) {
            return -1;
        }
    }
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(copy->piece) + copy->filled;
    size_t room = (size_t)PyBytes_GET_SIZE(copy->piece) - copy->filled;
    memcpy(to, data.ptr, data.len);
    size_t more = wire_session_more_data(&conn->session, &conn->in, to + data.len, room - data.len);
    copy->filled += data.len + more;
    flow_count(op, data.len + more);
    return 0;
}

void
copy_on_data(struct connection *conn, struct operation *op, wire_slice data)
{
    if (op->kind == OP_COPY && !op->done && op->error == NULL && data.len > 0
        && copy_keep(conn, op, data) < 0) {
        PyObject *error = errors_take();
        conn_abandon(op, error);
        Py_XDECREF(error);
    }
}
