/* The text form of containers, both ways: where a member has no binary form, or a
 * value was given as text. Cold. */
#include "container.h"

enum codec_outcome
container_end(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
              struct wire_buffer *out, enum codec_outcome outcome)
{
    if (outcome != CODEC_ERROR && out->failed != WIRE_OK) {
        return codec_fail_room(self, ctx, value, out);
    }
    return outcome;
}

/* Sending */

/* What the type's values arrive as, whatever was given, and nothing is lost. */
static PyObject *
textform_usual(const struct codec *codec, struct codec_ctx *ctx, wire_slice binary)
{
    const struct codec_options *given = ctx->options;
    struct codec_options options;
    codec_options_init(&options);
    options.beyond = CODEC_BEYOND_SENTINEL;
    options.money_digits = given->money_digits;
    ctx->options = &options;
    PyObject *usual = codec_decode(codec, ctx, binary);
    ctx->options = given;
    return usual;
}

/* The text form of a value whose codec chose binary, by pgasync/textform.py. */
static enum codec_outcome
textform_spell(const struct codec *codec, struct codec_ctx *ctx, PyObject *value, wire_slice binary,
               struct wire_buffer *out)
{
    PyObject *usual = textform_usual(codec, ctx, binary);
    PyObject *text = usual == NULL ? NULL : PyObject_CallOneArg(ctx->types->text_of, usual);
    Py_XDECREF(usual);
    if (text == NULL || !PyUnicode_Check(text)) {
        Py_XDECREF(text);
        return codec_fail_raised(codec, ctx, value,
                                 "a value beside it can only be sent as text, and this one has"
                                 " no text form that is known here; give a str");
    }
    wire_buffer_rollback(out, 0);
    enum codec_outcome outcome = codec_put_str(codec, ctx, text, out);
    Py_DECREF(text);
    return outcome;
}

/* A scalar, into a buffer of its own. Where the binary form is the text, there is
 * nothing to do. */
static enum codec_outcome
textform_put_scalar(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    enum codec_outcome outcome = codec_encode(codec, ctx, value, out);
    if (outcome != CODEC_BINARY || out->failed != WIRE_OK) {
        return outcome;
    }
    codec_encode_fn encode = codec->encode;
    if (encode == codec_text_encode || encode == codec_json_encode || encode == codec_enum_encode
        || encode == codec_user_encode || encode == codec_raw_encode) {
        return CODEC_TEXT;
    }
    wire_slice bytes = wire_buffer_unread(out);
    if (encode == codec_jsonb_encode) { /* a version in front */
        memmove(out->data + out->start, bytes.ptr + 1, bytes.len - 1);
        wire_buffer_rollback(out, bytes.len - 1);
        return CODEC_TEXT;
    }
    if (encode == codec_money_encode) { /* 1.50 is 150 where the point groups thousands */
        return codec_fail_value(codec, ctx, value,
                                "a value beside it can only be sent as text, and what the text of"
                                " money means is the server's lc_monetary; give a str");
    }
    return textform_spell(codec, ctx, value, bytes, out);
}

/* Containers are text from the beginning; their binary form is not tried. */
enum codec_outcome
textform_put_alone(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    codec_encode_fn encode = codec->encode;
    if (encode == codec_array_encode || encode == codec_textarray_encode) {
        return array_put_text(codec, ctx, value, out);
    }
    if (encode == codec_composite_encode) {
        return composite_put_text(codec, ctx, value, out);
    }
    if (encode == codec_range_encode) {
        return range_put_text(codec, ctx, value, out);
    }
    if (encode == codec_multirange_encode) {
        return multirange_put_text(codec, ctx, value, out);
    }
    if (encode == codec_vector_encode) {
        return vector_put_text(codec, ctx, value, out);
    }
    return textform_put_scalar(codec, ctx, value, out);
}

enum codec_outcome
textform_put(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
             struct wire_buffer *out)
{
    struct wire_buffer bare;
    wire_buffer_init(&bare);
    enum codec_outcome outcome = textform_put_alone(codec, ctx, value, &bare);
    outcome = container_end(codec, ctx, value, &bare, outcome);
    if (outcome == CODEC_TEXT) {
        wire_slice text = wire_buffer_unread(&bare);
        wire_buffer_put_u8(out, '"');
        for (size_t i = 0; i < text.len; i++) {
            if (text.ptr[i] == '"' || text.ptr[i] == '\\') {
                wire_buffer_put_u8(out, '\\');
            }
            wire_buffer_put_u8(out, text.ptr[i]);
        }
        wire_buffer_put_u8(out, '"');
    }
    wire_buffer_clear(&bare, false);
    return outcome;
}

/* Receiving */

/* Kinds of values that pgasync/textform.py reads, by who decodes their binary form,
 * so that a domain's are among them. */
static const struct {
    codec_decode_fn decode;
    const char *kind;
} textform_kinds[] = {
    {codec_bool_decode, "bool"},
    {codec_int2_decode, "int"},
    {codec_int4_decode, "int"},
    {codec_int8_decode, "int"},
    {codec_oid_decode, "int"},
    {codec_float4_decode, "float"},
    {codec_float8_decode, "float"},
    {codec_numeric_decode, "numeric"},
    {codec_bytea_decode, "bytea"},
    {codec_uuid_decode, "uuid"},
    {codec_date_decode, "date"},
    {codec_time_decode, "time"},
    {codec_timestamp_decode, "timestamp"},
    {codec_timestamptz_decode, "timestamptz"},
    {codec_interval_decode, "interval"},
    {codec_inet_decode, "inet"},
    {codec_cidr_decode, "cidr"},
    {codec_bits_decode, "bits"},
    {codec_tid_decode, "tid"},
    {codec_xid8_decode, "int"},
    {codec_lsn_decode, "lsn"},
    {codec_snapshot_decode, "snapshot"},
};

/* The text form of a type whose codec reads the binary one: text, where there is no
 * better way. */
static PyObject *
textform_read_scalar(const struct codec *codec, struct codec_ctx *ctx, wire_slice text)
{
    PyObject *str = codec_str_of(codec, ctx, text);
    for (size_t i = 0; str != NULL && i < sizeof textform_kinds / sizeof textform_kinds[0]; i++) {
        if (textform_kinds[i].decode != codec->decode) {
            continue;
        }
        PyObject *zone = ctx->options->zone == NULL ? Py_None : ctx->options->zone;
        PyObject *value =
            PyObject_CallFunction(ctx->types->text_to, "sOO", textform_kinds[i].kind, str, zone);
        Py_DECREF(str);
        if (value == NULL && codec_may_convert()) {
            return codec_fail(codec, ctx, "its text form is not understood");
        }
        return value;
    }
    return str;
}

/* A value inside a container in text form. */
static PyObject *
textform_read(const struct codec *codec, struct codec_ctx *ctx, wire_slice text)
{
    codec_decode_fn decode = codec->decode;
    if (decode == codec_array_decode || decode == codec_textarray_decode) {
        return textform_array(codec, ctx, text);
    }
    if (decode == codec_range_decode) {
        return textform_range(codec, ctx, text);
    }
    if (decode == codec_multirange_decode) {
        return textform_multirange(codec, ctx, text);
    }
    if (decode == codec_composite_decode) {
        return textform_composite(codec, ctx, text);
    }
    if (decode == codec_jsonb_decode) {
        return codec_json_decode(codec, ctx, text);
    }
    if (codec->format == WIRE_FORMAT_TEXT || decode == codec_text_decode
        || decode == codec_json_decode || decode == codec_enum_decode
        || decode == codec_user_decode) {
        return codec_decode(codec, ctx, text);
    }
    return textform_read_scalar(codec, ctx, text);
}

/* What reading a text form takes. `item` is the last item that was read, in `scratch`
 * where it was quoted. */
struct textform {
    const struct codec *self;
    struct codec_ctx *ctx;
    struct wire_reader reader;
    struct wire_buffer scratch;
    wire_slice item;
    bool quoted;
};

static void
textform_begin(struct textform *form, const struct codec *self, struct codec_ctx *ctx,
               wire_slice text)
{
    *form = (struct textform){.self = self, .ctx = ctx, .reader = wire_reader_of(text)};
    wire_buffer_init(&form->scratch);
}

static void *
textform_fail(struct textform *form)
{
    if (!PyErr_Occurred()) {
        codec_fail(form->self, form->ctx, "its text form is malformed");
    }
    return NULL;
}

/* The byte that comes next, or -1 at the end. */
static int
textform_peek(const struct textform *form)
{
    return wire_reader_left(&form->reader) == 0 ? -1 : *form->reader.p;
}

/* Takes `byte` if it comes next. */
static bool
textform_take(struct textform *form, char byte)
{
    if (textform_peek(form) != (unsigned char)byte) {
        return false;
    }
    form->reader.p += 1;
    return true;
}

/* Reads from behind the opening quote to behind the closing one. */
static bool
textform_take_quoted(struct textform *form)
{
    for (;;) {
        uint8_t byte = wire_read_u8(&form->reader);
        if (byte == '"' && !textform_take(form, '"')) {
            return !form->reader.bad;
        }
        if (byte == '\\') {
            byte = wire_read_u8(&form->reader);
        }
        if (form->reader.bad) {
            return false;
        }
        wire_buffer_put_u8(&form->scratch, byte);
    }
}

/* Reads an item up to one of the bytes in `ends`, which stays. False at the end of
 * the text. An item that is not quoted and empty is none (NULL, no bound). */
static bool
textform_take_item(struct textform *form, const char *ends)
{
    form->quoted = false;
    wire_buffer_rollback(&form->scratch, 0);
    for (;;) {
        int byte = textform_peek(form);
        if (byte < 0) {
            return false;
        }
        if (byte != 0 && strchr(ends, byte) != NULL) {
            break;
        }
        form->reader.p += 1;
        if (byte == '"') {
            form->quoted = true;
            if (!textform_take_quoted(form)) {
                return false;
            }
            continue;
        }
        if (byte == '\\') {
            byte = wire_read_u8(&form->reader);
        }
        wire_buffer_put_u8(&form->scratch, (uint8_t)byte);
    }
    if (codec_buffer_failed(&form->scratch)) {
        return false;
    }
    form->item = wire_buffer_unread(&form->scratch);
    if (form->item.ptr == NULL) {
        form->item = (wire_slice){(const uint8_t *)"", 0};
    }
    return true;
}

/* Ends reading: `value`, unless there is more text. */
static PyObject *
textform_end(struct textform *form, PyObject *value)
{
    wire_buffer_clear(&form->scratch, false);
    if (value != NULL && !wire_reader_end(&form->reader)) {
        Py_DECREF(value);
        return textform_fail(form);
    }
    return value;
}

/* Arrays: {a,"b c",NULL}, {{…},{…}}, [l:u]…={…} */

static bool
textform_take_int(struct textform *form, int32_t *number)
{
    bool negative = textform_take(form, '-');
    int64_t value = 0;
    int digits = 0;
    for (int byte = textform_peek(form); byte >= '0' && byte <= '9'; byte = textform_peek(form)) {
        value = value * 10 + byte - '0';
        form->reader.p += 1;
        if (++digits > 10) {
            return false;
        }
    }
    value = negative ? -value : value;
    *number = (int32_t)value;
    return digits > 0 && value >= INT32_MIN && value <= INT32_MAX;
}

/* The lower bounds, if the text starts with some: how many, or -1. */
static int
textform_take_bounds(struct textform *form, int32_t lower[WIRE_ARRAY_DIMS_MAX])
{
    int dims = 0;
    while (textform_take(form, '[')) {
        int32_t upper;
        if (dims == WIRE_ARRAY_DIMS_MAX || !textform_take_int(form, &lower[dims])
            || !textform_take(form, ':') || !textform_take_int(form, &upper)
            || !textform_take(form, ']')) {
            return -1;
        }
        dims += 1;
    }
    return dims == 0 || textform_take(form, '=') ? dims : -1;
}

static PyObject *textform_read_list(struct textform *form, int depth, int *dims);

/* A list inside, or an element. */
static PyObject *
textform_read_in_list(struct textform *form, int depth, int *dims)
{
    char ends[3] = {container_delimiter(form->self), '}', 0};
    if (textform_peek(form) == '{') {
        return textform_read_list(form, depth + 1, dims);
    }
    if (*dims == 0) {
        *dims = depth;
    }
    if (*dims != depth || !textform_take_item(form, ends)
        || (form->item.len == 0 && !form->quoted)) {
        return textform_fail(form);
    }
    if (!form->quoted && form->item.len == 4 && memcmp(form->item.ptr, "NULL", 4) == 0) {
        return Py_NewRef(Py_None);
    }
    return textform_read(form->self->elem, form->ctx, form->item);
}

/* A list with its braces. `depth` counts from 1; *dims is the depth of elements, 0
 * before the first. */
static PyObject *
textform_read_list(struct textform *form, int depth, int *dims)
{
    if (depth > WIRE_ARRAY_DIMS_MAX || !textform_take(form, '{')) {
        return textform_fail(form);
    }
    PyObject *list = PyList_New(0);
    if (textform_take(form, '}')) {
        return list;
    }
    while (list != NULL) {
        PyObject *item = textform_read_in_list(form, depth, dims);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
        if (list == NULL || textform_take(form, '}')) {
            break;
        }
        if (!textform_take(form, container_delimiter(form->self))) {
            Py_CLEAR(list);
            textform_fail(form);
        }
    }
    return list;
}

PyObject *
textform_array(const struct codec *self, struct codec_ctx *ctx, wire_slice text)
{
    struct textform form;
    int32_t lower[WIRE_ARRAY_DIMS_MAX] = {0};
    int dims = 0;
    if (!container_enter(ctx)) {
        return codec_fail(self, ctx, "containers are nested too deeply");
    }
    textform_begin(&form, self, ctx, text);
    int bounds = textform_take_bounds(&form, lower);
    PyObject *list = bounds < 0 ? textform_fail(&form) : textform_read_list(&form, 1, &dims);
    list = textform_end(&form, list);
    container_leave(ctx);
    if (list != NULL && bounds == 0 && array_hides_levels(self, list, dims)) {
        for (; bounds < dims; bounds++) {
            lower[bounds] = 1;
        }
    }
    if (list != NULL && bounds > 0 && bounds == dims) {
        return array_with_bounds(ctx, list, lower, dims);
    }
    return list;
}

/* Ranges: empty, [a,b), (,"b") */

/* A bound up to one of `ends`: *bound stays NULL where there is none. */
static bool
textform_take_bound(struct textform *form, const struct codec *elem, const char *ends,
                    PyObject **bound)
{
    if (!textform_take_item(form, ends)) {
        textform_fail(form);
        return false;
    }
    if (form->item.len == 0 && !form->quoted) {
        return true;
    }
    *bound = textform_read(elem, form->ctx, form->item);
    return *bound != NULL;
}

/* One range; `self` is its codec. */
static PyObject *
textform_read_range(struct textform *form, const struct codec *self)
{
    PyObject *lower = NULL;
    PyObject *upper = NULL;
    unsigned flags = textform_take(form, '[') ? RANGE_LOWER_INC : 0u;
    if (flags == 0 && !textform_take(form, '(')) {
        return textform_fail(form);
    }
    if (!textform_take_bound(form, self->elem, ",", &lower) || !textform_take(form, ',')
        || !textform_take_bound(form, self->elem, "])", &upper)) {
        Py_XDECREF(lower);
        return textform_fail(form);
    }
    flags |= textform_take(form, ']') ? RANGE_UPPER_INC : 0u;
    if (!(flags & RANGE_UPPER_INC) && !textform_take(form, ')')) {
        Py_XDECREF(lower);
        Py_XDECREF(upper);
        return textform_fail(form);
    }
    return range_new(self, form->ctx, flags, lower, upper);
}

PyObject *
textform_range(const struct codec *self, struct codec_ctx *ctx, wire_slice text)
{
    struct textform form;
    if (text.len == 5 && memcmp(text.ptr, "empty", 5) == 0) {
        return range_new(self, ctx, RANGE_EMPTY, NULL, NULL);
    }
    if (!container_enter(ctx)) {
        return codec_fail(self, ctx, "containers are nested too deeply");
    }
    textform_begin(&form, self, ctx, text);
    PyObject *range = textform_end(&form, textform_read_range(&form, self));
    container_leave(ctx);
    return range;
}

/* {[a,b),[c,d)} */
static PyObject *
textform_read_ranges(struct textform *form)
{
    PyObject *ranges = PyList_New(0);
    if (ranges == NULL || (textform_take(form, '{') && textform_take(form, '}'))) {
        return ranges;
    }
    do {
        PyObject *range = textform_read_range(form, form->self->elem);
        if (range == NULL || PyList_Append(ranges, range) < 0) {
            Py_CLEAR(ranges);
        }
        Py_XDECREF(range);
    } while (ranges != NULL && textform_take(form, ','));
    if (ranges != NULL && !textform_take(form, '}')) {
        Py_CLEAR(ranges);
        textform_fail(form);
    }
    return ranges;
}

PyObject *
textform_multirange(const struct codec *self, struct codec_ctx *ctx, wire_slice text)
{
    struct textform form;
    if (text.len == 0 || text.ptr[0] != '{' || !container_enter(ctx)) {
        return codec_fail(self, ctx, "its text form is malformed");
    }
    textform_begin(&form, self, ctx, text);
    PyObject *ranges = textform_end(&form, textform_read_ranges(&form));
    container_leave(ctx);
    return multirange_new(self, ctx, ranges);
}

/* Composites: (a,"b""c",) */

static PyObject *
textform_read_member(struct textform *form, size_t index)
{
    bool good = textform_take(form, index == 0 ? '(' : ',');
    if (!good || !textform_take_item(form, ",)")) {
        return textform_fail(form);
    }
    if (form->item.len == 0 && !form->quoted) {
        return Py_NewRef(Py_None);
    }
    return textform_read(form->self->members[index].codec, form->ctx, form->item);
}

/* NULL with an exception; codec_miss where the number of members differs. */
static PyObject *
textform_read_members(struct textform *form)
{
    size_t count = form->self->members_count;
    PyObject *tuple = record_new(form->self, (Py_ssize_t)count);
    if (count == 0 && !textform_take(form, '(')) {
        Py_CLEAR(tuple);
        return textform_fail(form);
    }
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        if (i > 0 && textform_peek(form) == ')') {
            Py_DECREF(tuple);
            return codec_miss(form->self, form->ctx, form->self->oid);
        }
        PyObject *member = textform_read_member(form, i);
        if (member == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, member);
    }
    if (tuple != NULL && !textform_take(form, ')')) {
        Py_DECREF(tuple);
        return textform_peek(form) < 0 ? textform_fail(form)
                                       : codec_miss(form->self, form->ctx, form->self->oid);
    }
    return tuple;
}

PyObject *
textform_composite(const struct codec *self, struct codec_ctx *ctx, wire_slice text)
{
    struct textform form;
    if (!container_enter(ctx)) {
        return codec_fail(self, ctx, "containers are nested too deeply");
    }
    textform_begin(&form, self, ctx, text);
    PyObject *tuple = textform_end(&form, textform_read_members(&form));
    container_leave(ctx);
    return tuple == NULL ? NULL : record_end(self, ctx, tuple);
}
