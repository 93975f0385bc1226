#include "bind.h"

#include "errors.h"

int
bind_fail_count(struct connection *conn, const struct statement *stmt, Py_ssize_t given)
{
    size_t wanted = stmt->params_count;
    if (wanted == 0) {
        PyErr_Format(conn->st->programming_error,
                     "the statement takes no parameters, but %zd %s given", given,
                     given == 1 ? "was" : "were");
    }
    else {
        PyErr_Format(conn->st->programming_error,
                     "the statement takes %zu parameter%s ($1%s), but %zd %s given", wanted,
                     wanted == 1 ? "" : "s", wanted == 1 ? "" : ", …", given,
                     given == 1 ? "was" : "were");
    }
    return -1;
}

/* A value was refused: its DataError says that nothing was sent. Returns -1. */
static int
bind_refuse(struct connection *conn)
{
    PyObject *error = compat_take_exception();
    if (error == NULL) {
        return -1;
    }
    if (PyErr_GivenExceptionMatches(error, conn->st->data_error)) {
        errors_set_outcome(error, OUTCOME_NOT_SENT);
    }
    compat_raise(error);
    return -1;
}

static inline int
bind_put_value(struct connection *conn, const struct codec *codec, struct codec_ctx *ctx,
               PyObject *value, const struct wire_bind *bind, size_t index)
{
    if (value == Py_None) {
        wire_put_param_null(&conn->out);
        if (codec->format == WIRE_FORMAT_TEXT) { /* it may have no function for the other */
            wire_put_param_format(&conn->out, bind, index, WIRE_FORMAT_TEXT);
        }
        return 0;
    }
    size_t mark = wire_put_param_begin(&conn->out);
    ctx->param_index = (int)index + 1;
    enum codec_outcome outcome = codec_encode(codec, ctx, value, &conn->out);
    if (outcome == CODEC_ERROR) {
        return bind_refuse(conn);
    }
    wire_put_param_end(&conn->out, mark);
    if (outcome == CODEC_TEXT) {
        wire_put_param_format(&conn->out, bind, index, WIRE_FORMAT_TEXT);
    }
    return 0;
}

static inline int
bind_values(struct connection *conn, const struct statement *stmt, struct codec_ctx *ctx,
            PyObject *params, const struct wire_bind *bind)
{
    Py_ssize_t given = params == NULL ? 0 : PyTuple_GET_SIZE(params);
    for (Py_ssize_t i = 0; i < given; i++) {
        PyObject *value = PyTuple_GET_ITEM(params, i);
        if (bind_put_value(conn, stmt->params[i], ctx, value, bind, (size_t)i) < 0) {
            return -1;
        }
    }
    return 0;
}

int
bind_put_values(struct connection *conn, const struct statement *stmt, struct codec_ctx *ctx,
                PyObject *params, const struct wire_bind *bind)
{
    return bind_values(conn, stmt, ctx, params, bind);
}

int
bind_put(struct connection *conn, const struct statement *stmt, PyObject *params, wire_slice portal)
{
    if (bind_check_count(conn, stmt, params == NULL ? 0 : PyTuple_GET_SIZE(params)) < 0) {
        return -1;
    }
    struct codec_ctx ctx = conn_codec_ctx(conn);
    struct wire_bind bind;
    wire_put_bind_begin(&conn->out, &bind, portal, stmt_name(stmt), stmt->params_count);
    if (bind_values(conn, stmt, &ctx, params, &bind) < 0) {
        return -1;
    }
    wire_put_bind_end(&conn->out, &bind, bind_formats(stmt));
    return 0;
}

int
bind_check_length(struct connection *conn)
{
    if (conn->out.failed == WIRE_ERR_LIMIT) {
        PyErr_Format(conn->st->data_error,
                     "the request is longer than a message may be (%d bytes): send the parameters "
                     "in several statements",
                     WIRE_MESSAGE_MAX);
        return -1;
    }
    return codec_buffer_failed(&conn->out) ? -1 : 0;
}
