/* inet and cidr: the classes of ipaddress; macaddr and macaddr8: str. */
#include "families.h"

enum inet_family { INET_V4 = 2, INET_V6 = 3 };

#define INET_HEADER_LEN 4 /* family, bits of the mask, whether it is a cidr, length */
#define INET_ADDRESS_MAX 16
#define INET_CIDR_REMEDY "give a network of ipaddress, as interface.network, or a str"

/* An address with its mask, as it is on the wire. */
struct inet_value {
    uint8_t family;
    uint8_t bits;
    size_t len; /* of the address: 4 or 16 */
    const uint8_t *address;
};

static bool
inet_parse(wire_slice value, struct inet_value *inet)
{
    if (value.len < INET_HEADER_LEN) {
        return false;
    }
    inet->family = value.ptr[0];
    inet->bits = value.ptr[1];
    inet->len = value.ptr[3];
    inet->address = value.ptr + INET_HEADER_LEN;
    size_t wanted = inet->family == INET_V4 ? 4 : inet->family == INET_V6 ? 16 : 0;
    return wanted != 0 && inet->len == wanted && value.len == INET_HEADER_LEN + wanted
           && inet->bits <= wanted * 8;
}

/* `make` of ipaddress, called with the address, and the mask unless it is whole. */
static PyObject *
inet_make(const struct inet_value *inet, PyObject *make, bool masked)
{
    const char *bytes = (const char *)inet->address;
    Py_ssize_t len = (Py_ssize_t)inet->len;
    return masked ? PyObject_CallFunction(make, "((y#i))", bytes, len, (int)inet->bits)
                  : PyObject_CallFunction(make, "y#", bytes, len);
}

PyObject *
codec_inet_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct inet_value inet;
    if (!inet_parse(value, &inet)) {
        return codec_fail(self, ctx, "not an address");
    }
    struct codec_types *types = ctx->types;
    bool v4 = inet.family == INET_V4;
    if (inet.bits == inet.len * 8) {
        return inet_make(&inet, v4 ? types->ipv4_address : types->ipv6_address, false);
    }
    return inet_make(&inet, v4 ? types->ipv4_interface : types->ipv6_interface, true);
}

PyObject *
codec_cidr_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct inet_value inet;
    if (!inet_parse(value, &inet)) {
        return codec_fail(self, ctx, "not a network");
    }
    struct codec_types *types = ctx->types;
    PyObject *network =
        inet_make(&inet, inet.family == INET_V4 ? types->ipv4_network : types->ipv6_network, true);
    if (network == NULL && codec_may_convert()) {
        return codec_fail(self, ctx, "not a network"); /* bits are set behind the mask */
    }
    return network;
}

static bool
inet_is(PyObject *value, PyObject *v4, PyObject *v6)
{
    return PyObject_TypeCheck(value, (PyTypeObject *)v4)
           || PyObject_TypeCheck(value, (PyTypeObject *)v6);
}

/* An attribute that is an int, or -1 with an exception. */
static long
inet_int(PyObject *object, const char *name)
{
    PyObject *number = PyObject_GetAttrString(object, name);
    long found = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    return found;
}

/* What has the mask of a value: a network; None: an address, whose mask is whole. NULL
 * with an exception. */
static PyObject *
inet_network(struct codec_types *types, PyObject *value)
{
    if (inet_is(value, types->ipv4_network, types->ipv6_network)) {
        return Py_NewRef(value);
    }
    if (inet_is(value, types->ipv4_interface, types->ipv6_interface)) {
        return PyObject_GetAttrString(value, "network");
    }
    return Py_NewRef(Py_None);
}

/* The bytes of a value's address; NULL with an exception. */
static PyObject *
inet_packed(struct codec_types *types, PyObject *value)
{
    if (!inet_is(value, types->ipv4_network, types->ipv6_network)) {
        return PyObject_GetAttrString(value, "packed");
    }
    PyObject *address = PyObject_GetAttrString(value, "network_address");
    PyObject *packed = address == NULL ? NULL : PyObject_GetAttrString(address, "packed");
    Py_XDECREF(address);
    return packed;
}

/* The address's bytes (a new reference) and its mask; NULL with or without an exception. */
static PyObject *
inet_parts(struct codec_ctx *ctx, PyObject *value, long *bits)
{
    PyObject *packed = inet_packed(ctx->types, value);
    if (packed == NULL || !PyBytes_Check(packed)) {
        Py_XDECREF(packed);
        return NULL;
    }
    PyObject *network = inet_network(ctx->types, value);
    if (network == Py_None) {
        *bits = (long)PyBytes_GET_SIZE(packed) * 8;
    }
    else if (network != NULL) {
        *bits = inet_int(network, "prefixlen");
    }
    Py_XDECREF(network);
    if (PyErr_Occurred()) {
        Py_CLEAR(packed);
    }
    return packed;
}

static enum codec_outcome
inet_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value, bool cidr,
         struct wire_buffer *out)
{
    long bits = 0;
    PyObject *packed = inet_parts(ctx, value, &bits);
    if (packed == NULL) {
        return codec_fail_raised(self, ctx, value, "it has no address");
    }
    size_t len = (size_t)PyBytes_GET_SIZE(packed);
    uint8_t bytes[INET_HEADER_LEN + INET_ADDRESS_MAX];
    enum codec_outcome outcome = CODEC_ERROR;
    if ((len != 4 && len != INET_ADDRESS_MAX) || bits < 0 || (size_t)bits > len * 8) {
        codec_fail_value(self, ctx, value, "its address or mask is out of range");
    }
    else if (cidr && (size_t)bits < len * 8
             && inet_is(value, ctx->types->ipv4_interface, ctx->types->ipv6_interface)) {
        codec_fail_value(self, ctx, value, INET_CIDR_REMEDY); /* its host would be cut off */
    }
    else {
        bytes[0] = len == 4 ? INET_V4 : INET_V6;
        bytes[1] = (uint8_t)bits;
        bytes[2] = cidr;
        bytes[3] = (uint8_t)len;
        memcpy(bytes + INET_HEADER_LEN, PyBytes_AS_STRING(packed), len);
        outcome = codec_put_bytes(self, ctx, value, bytes, INET_HEADER_LEN + len, out);
    }
    Py_DECREF(packed);
    return outcome;
}

/* An IPv6 address of a link, or a network of such, has a zone, which the server's types
 * have not: 1. -1 with an exception that must not be lost. */
static int
inet_has_scope(struct codec_types *types, PyObject *value)
{
    bool network = PyObject_TypeCheck(value, (PyTypeObject *)types->ipv6_network);
    if (!network && !PyObject_TypeCheck(value, (PyTypeObject *)types->ipv6_address)) {
        return 0;
    }
    PyObject *address =
        network ? PyObject_GetAttrString(value, "network_address") : Py_NewRef(value);
    PyObject *scope = address == NULL ? NULL : PyObject_GetAttrString(address, "scope_id");
    Py_XDECREF(address);
    if (scope == NULL) {
        if (!codec_may_convert()) {
            return -1;
        }
        PyErr_Clear(); /* it has no address either, which is what will be said */
        return 0;
    }
    Py_DECREF(scope);
    return scope != Py_None;
}

/* An instance of one of the six classes. */
static enum codec_outcome
inet_put_scopeless(const struct codec *self, struct codec_ctx *ctx, PyObject *value, bool cidr,
                   struct wire_buffer *out)
{
    int scope = inet_has_scope(ctx->types, value);
    if (scope < 0) {
        return CODEC_ERROR;
    }
    if (scope > 0) {
        return codec_fail_value(self, ctx, value, "PostgreSQL keeps no scope of an address");
    }
    return inet_put(self, ctx, value, cidr, out);
}

static enum codec_outcome
inet_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value, bool cidr,
            const char *remedy, struct wire_buffer *out)
{
    struct codec_types *types = ctx->types;
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (!inet_is(value, types->ipv4_address, types->ipv6_address)
        && !inet_is(value, types->ipv4_network, types->ipv6_network)) {
        return codec_fail_value(self, ctx, value, "%s", remedy);
    }
    return inet_put_scopeless(self, ctx, value, cidr, out);
}

enum codec_outcome
codec_inet_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return inet_encode(self, ctx, value, false,
                       "give an address, interface or network of ipaddress, or a str", out);
}

enum codec_outcome
codec_cidr_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return inet_encode(self, ctx, value, true, INET_CIDR_REMEDY, out);
}

/* macaddr, macaddr8 */

#define MAC_MAX 8

PyObject *
codec_macaddr_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    static const char digits[] = "0123456789abcdef";
    (void)self, (void)ctx;
    char text[MAC_MAX * 3];
    for (size_t i = 0; i < value.len && i < MAC_MAX; i++) {
        text[i * 3] = digits[value.ptr[i] >> 4];
        text[i * 3 + 1] = digits[value.ptr[i] & 15];
        text[i * 3 + 2] = ':';
    }
    return PyUnicode_DecodeASCII(text, (Py_ssize_t)value.len * 3 - 1, NULL);
}

/* Reads the usual spelling, `len` pairs of digits with a colon between two. */
static bool
mac_parse(wire_slice text, uint8_t *bytes, size_t len)
{
    if (text.len != len * 3 - 1) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        int high = codec_hex_digit(text.ptr[i * 3]);
        int low = codec_hex_digit(text.ptr[i * 3 + 1]);
        if (high < 0 || low < 0 || (i + 1 < len && text.ptr[i * 3 + 2] != ':')) {
            return false;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

enum codec_outcome
codec_macaddr_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                     struct wire_buffer *out)
{
    wire_slice utf8;
    uint8_t bytes[MAC_MAX];
    size_t len = (size_t)self->fixed_len;
    if (!PyUnicode_Check(value)) {
        return codec_fail_value(self, ctx, value, "give a str like 08:00:2b:01:02:03");
    }
    if (!codec_utf8_borrow(self, ctx, value, value, &utf8)) {
        return CODEC_ERROR;
    }
    if (mac_parse(utf8, bytes, len)) {
        return codec_put_bytes(self, ctx, value, bytes, len, out);
    }
    return codec_put_str(self, ctx, value, out);
}
