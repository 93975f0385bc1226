/* A message's line is made by its layout, a word of one letter a field:
 *
 *   h   16-bit number              b   one character
 *   w   32-bit number              s   string
 *   o   32-bit number that differs from run to run (an OID, a process id)
 *   v   value: its length, and the bytes unless that is -1
 *   d   the bytes that are left; not in regress mode
 *   *x  16-bit count, and x that many times     +x  the same with a 32-bit count
 *   (…) several fields as one
 *   e   fields of an ErrorResponse
 *   l   strings up to an empty one              p   the same, but for the empty one
 *
 * and for what is secret:
 *
 *   S   string        V   value, of which the length is shown
 *   x   the bytes that are left      m   the same, without a mark in the line */
#include "trace.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#define PART_KEEP_BYTES (64 * 1024)
#define GSS_CODE 80877104
#define AUTH_GSS 7
#define AUTH_GSS_CONTINUE 8
#define AUTH_SSPI 9

struct line {
    struct wire_buffer *out;
    struct wire_reader in;
    bool regress;
};

struct message_kind {
    char tag;
    const char *name;
    const char *layout;
};

static const struct message_kind backend_kinds[] = {
    {'1', "ParseComplete", ""},
    {'2', "BindComplete", ""},
    {'3', "CloseComplete", ""},
    {'A', "NotificationResponse", "oss"},
    {'C', "CommandComplete", "s"},
    {'D', "DataRow", "*v"},
    {'E', "ErrorResponse", "e"},
    {'G', "CopyInResponse", "b*h"},
    {'H', "CopyOutResponse", "b*h"},
    {'I', "EmptyQueryResponse", ""},
    {'K', "BackendKeyData", "ox"},
    {'N', "NoticeResponse", "e"},
    {'S', "ParameterStatus", "ss"},
    {'T', "RowDescription", "*(sohohwh)"},
    {'V', "FunctionCallResponse", "v"},
    {'W', "CopyBothResponse", "b*h"},
    {'Z', "ReadyForQuery", "b"},
    {'c', "CopyDone", ""},
    {'d', "CopyData", "d"},
    {'n', "NoData", ""},
    {'s', "PortalSuspended", ""},
    {'t', "ParameterDescription", "*o"},
    {'v', "NegotiateProtocolVersion", "w+s"},
};

static const struct message_kind frontend_kinds[] = {
    {'B', "Bind", "ss*h*v*h"},
    {'C', "Close", "bs"},
    {'D', "Describe", "bs"},
    {'E', "Execute", "sw"},
    {'F', "FunctionCall", "o*h*vh"},
    {'H', "Flush", ""},
    {'P', "Parse", "ss*o"},
    {'Q', "Query", "s"},
    {'S', "Sync", ""},
    {'X', "Terminate", ""},
    {'c', "CopyDone", ""},
    {'d', "CopyData", "d"},
    {'f', "CopyFail", "s"},
};

/* Pieces of a line */

static void
put_text(struct line *line, const char *text)
{
    wire_buffer_put(line->out, text, strlen(text));
}

/* At most 80 characters. */
__attribute__((format(printf, 2, 3))) static void
put_format(struct line *line, const char *format, ...)
{
    char text[81];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    put_text(line, text);
}

static bool
is_printable(uint8_t byte)
{
    return byte >= 0x20 && byte <= 0x7E;
}

/* Everything that cannot be printed in hexadecimal. */
static void
put_bytes(struct line *line, wire_slice bytes)
{
    put_text(line, " '");
    size_t from = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        if (!is_printable(bytes.ptr[i])) {
            wire_buffer_put(line->out, bytes.ptr + from, i - from);
            put_format(line, "\\x%02x", bytes.ptr[i]);
            from = i + 1;
        }
    }
    if (from < bytes.len) {
        wire_buffer_put(line->out, bytes.ptr + from, bytes.len - from);
    }
    put_text(line, "'");
}

static void
put_byte(struct line *line, uint8_t byte)
{
    put_format(line, is_printable(byte) ? " %c" : " \\x%02x", byte);
}

static void
put_string(struct line *line, wire_slice text)
{
    put_text(line, " \"");
    wire_buffer_put(line->out, text.ptr, text.len);
    put_text(line, "\"");
}

/* Fields */

static wire_slice
read_rest(struct line *line)
{
    return wire_read_bytes(&line->in, wire_reader_left(&line->in));
}

static uint32_t
print_number(struct line *line, bool wide, bool hidden)
{
    uint32_t number = wide ? wire_read_u32(&line->in) : wire_read_u16(&line->in);
    if (line->in.bad) {
        return 0;
    }
    if (hidden) {
        put_text(line, " NNNN");
    }
    else {
        put_format(line, " %ld", wide ? (long)(int32_t)number : (long)number);
    }
    return number;
}

static void
print_string(struct line *line, bool hidden)
{
    wire_slice text = wire_read_cstr(&line->in);
    if (line->in.bad) {
        return;
    }
    if (hidden) {
        put_text(line, " \"SSSS\"");
    }
    else {
        put_string(line, text);
    }
}

static void
print_value(struct line *line, bool hidden)
{
    uint32_t len = print_number(line, true, false);
    if (line->in.bad || len == 0xFFFFFFFF) {
        return;
    }
    wire_slice bytes = wire_read_bytes(&line->in, len);
    if (line->in.bad) {
        return;
    }
    if (hidden) {
        put_text(line, " 'BBBB'");
    }
    else {
        put_bytes(line, bytes);
    }
}

/* Strings up to an empty one, which `last` says whether to print. */
static void
print_strings(struct line *line, bool last)
{
    for (;;) {
        wire_slice text = wire_read_cstr(&line->in);
        if (line->in.bad) {
            return;
        }
        if (text.len > 0 || last) {
            put_string(line, text);
        }
        if (text.len == 0) {
            return;
        }
    }
}

static void
print_error_fields(struct line *line)
{
    for (;;) {
        uint8_t code = wire_read_u8(&line->in);
        if (line->in.bad) {
            return;
        }
        put_byte(line, code);
        if (code == 0) {
            return;
        }
        bool changes = code == 'F' || code == 'L' || code == 'R'; /* with the server's source */
        print_string(line, line->regress && changes);
    }
}

static void
print_rest(struct line *line, bool hidden)
{
    wire_slice rest = read_rest(line);
    if (hidden) {
        put_text(line, " 'BBBB'");
    }
    else {
        put_bytes(line, rest);
    }
}

static const char *
skip_item(const char *layout)
{
    while (*layout == '*' || *layout == '+') {
        layout += 1;
    }
    return *layout == '(' ? strchr(layout, ')') + 1 : layout + 1;
}

static void
print_field(struct line *line, char letter)
{
    switch (letter) {
    case 'h':
    case 'w':
        (void)print_number(line, letter == 'w', false);
        break;
    case 'o':
        (void)print_number(line, true, line->regress);
        break;
    case 's':
    case 'S':
        print_string(line, letter == 'S');
        break;
    case 'v':
    case 'V':
        print_value(line, letter == 'V');
        break;
    case 'e':
        print_error_fields(line);
        break;
    case 'l':
    case 'p':
        print_strings(line, letter == 'l');
        break;
    case 'd':
    case 'x':
        print_rest(line, letter == 'x' || line->regress);
        break;
    case 'm':
        (void)read_rest(line);
        break;
    default:
        assert(false);
        break;
    }
}

static void
print_byte(struct line *line)
{
    uint8_t byte = wire_read_u8(&line->in);
    if (!line->in.bad) {
        put_byte(line, byte);
    }
}

/* The fields of a layout, up to its end or its closing parenthesis, or to where the body
 * turns out to be too short. */
static void
print_layout(struct line *line, const char *layout)
{
    while (*layout != '\0' && *layout != ')' && !line->in.bad) {
        if (*layout == '*' || *layout == '+') {
            uint32_t count = print_number(line, *layout == '+', false);
            char item[2] = {layout[1], '\0'};
            for (uint32_t i = 0; i < count && !line->in.bad; i++) {
                print_layout(line, layout[1] == '(' ? layout + 2 : item);
            }
        }
        else if (*layout == 'b') {
            print_byte(line);
        }
        else {
            print_field(line, *layout);
        }
        layout = skip_item(layout);
    }
}

static void
print_message(struct line *line, const char *name, const char *layout)
{
    put_text(line, name);
    if (*layout != '\0' && *layout != 'm') {
        put_text(line, "\t");
    }
    print_layout(line, layout);
}

/* Messages */

static void
print_authentication(struct wire_trace *t, struct line *line)
{
    uint32_t code = wire_read_u32(&line->in);
    t->asked = code;
    switch (code) {
    case WIRE_AUTH_OK:
        print_message(line, "AuthenticationOk", "");
        break;
    case WIRE_AUTH_CLEARTEXT:
        print_message(line, "AuthenticationCleartextPassword", "");
        break;
    case WIRE_AUTH_MD5:
        print_message(line, "AuthenticationMD5Password", "m");
        break;
    case AUTH_GSS:
        print_message(line, "AuthenticationGSS", "");
        break;
    case AUTH_GSS_CONTINUE:
        print_message(line, "AuthenticationGSSContinue", "x");
        break;
    case AUTH_SSPI:
        print_message(line, "AuthenticationSSPI", "");
        break;
    case WIRE_AUTH_SASL:
        print_message(line, "AuthenticationSASL", "l");
        break;
    case WIRE_AUTH_SASL_CONTINUE:
        print_message(line, "AuthenticationSASLContinue", "x");
        break;
    case WIRE_AUTH_SASL_FINAL:
        print_message(line, "AuthenticationSASLFinal", "x");
        break;
    default:
        put_format(line, "Unknown authentication message %ld", (long)(int32_t)code);
        break;
    }
}

/* The meaning of a 'p' is that of what it answers. */
static void
print_auth_response(struct wire_trace *t, struct line *line)
{
    switch (t->asked) {
    case WIRE_AUTH_CLEARTEXT:
    case WIRE_AUTH_MD5:
        print_message(line, "PasswordMessage", "S");
        break;
    case AUTH_GSS:
    case AUTH_GSS_CONTINUE:
    case AUTH_SSPI:
        print_message(line, "GSSResponse", "x");
        break;
    case WIRE_AUTH_SASL:
        print_message(line, "SASLInitialResponse", "sV");
        break;
    case WIRE_AUTH_SASL_CONTINUE:
        print_message(line, "SASLResponse", "x");
        break;
    default:
        print_message(line, "UnknownAuthenticationResponse", "m");
        break;
    }
    t->asked = 0;
}

static void
print_tagged(struct wire_trace *t, enum wire_trace_side side, char tag, struct line *line)
{
    if (side == WIRE_TRACE_BACKEND && tag == WIRE_TAG_AUTHENTICATION) {
        print_authentication(t, line);
        return;
    }
    if (side == WIRE_TRACE_FRONTEND && tag == 'p') {
        print_auth_response(t, line);
        return;
    }
    const struct message_kind *kinds = backend_kinds;
    size_t count = sizeof(backend_kinds) / sizeof(backend_kinds[0]);
    if (side == WIRE_TRACE_FRONTEND) {
        kinds = frontend_kinds;
        count = sizeof(frontend_kinds) / sizeof(frontend_kinds[0]);
    }
    for (size_t i = 0; i < count; i++) {
        if (kinds[i].tag == tag) {
            print_message(line, kinds[i].name, kinds[i].layout);
            return;
        }
    }
    put_format(line, "Unknown message: %02x", (unsigned)(uint8_t)tag);
}

static void
print_untagged(struct wire_trace *t, struct line *line)
{
    struct wire_reader code = line->in;
    switch (wire_read_u32(&code)) {
    case WIRE_CANCEL_CODE:
        print_message(line, "CancelRequest", "hhox");
        break;
    case WIRE_SSL_CODE:
        print_message(line, "SSLRequest", "hh");
        t->answer = 'S';
        break;
    case GSS_CODE:
        print_message(line, "GSSENCRequest", "hh");
        t->answer = 'G';
        break;
    default:
        print_message(line, "StartupMessage", "hhp");
        t->untagged = false;
        break;
    }
}

/* From streams to messages */

static bool
has_no_tag(const struct wire_trace *t, enum wire_trace_side side)
{
    return side == WIRE_TRACE_FRONTEND && t->untagged;
}

static bool
is_answer(const struct wire_trace *t, enum wire_trace_side side)
{
    return side == WIRE_TRACE_BACKEND && t->answer != '\0';
}

/* The length of the message at the front with all that belongs to it; 0: not all of it
 * is there. One whose length cannot be right ends behind that length. */
static size_t
message_size(const struct wire_trace *t, enum wire_trace_side side, wire_slice bytes)
{
    if (is_answer(t, side)) {
        return bytes.len > 0 ? 1 : 0;
    }
    size_t tag = has_no_tag(t, side) ? 0 : 1;
    if (bytes.len < tag + 4) {
        return 0;
    }
    uint32_t len = wire_load_u32(bytes.ptr + tag);
    if (len < 4 || len > WIRE_MESSAGE_MAX) {
        return tag + 4;
    }
    return bytes.len < tag + len ? 0 : tag + len;
}

static void
print_answer(struct wire_trace *t, struct line *line)
{
    put_format(line, "B\t1\t%sResponse\t", t->answer == 'S' ? "SSL" : "GSSENC");
    put_byte(line, wire_read_u8(&line->in));
    put_text(line, "\n");
    t->answer = '\0';
}

static void
print_line(struct wire_trace *t, enum wire_trace_side side, wire_slice message, struct line *line)
{
    line->in = wire_reader_of(message);
    if (is_answer(t, side)) {
        print_answer(t, line);
        return;
    }
    bool untagged = has_no_tag(t, side);
    char tag = untagged ? '\0' : (char)wire_read_u8(&line->in);
    const uint8_t *start = line->in.p;
    uint32_t len = wire_read_u32(&line->in);
    put_text(line, side == WIRE_TRACE_BACKEND ? "B\t" : "F\t");
    bool changes = side == WIRE_TRACE_BACKEND && (tag == WIRE_TAG_ERROR || tag == WIRE_TAG_NOTICE);
    if (line->regress && changes) {
        put_text(line, "NN\t");
    }
    else {
        put_format(line, "%ld\t", (long)(int32_t)len);
    }
    if (untagged) {
        print_untagged(t, line);
    }
    else {
        print_tagged(t, side, tag, line);
    }
    put_text(line, "\n");
    size_t consumed = (size_t)(line->in.p - start);
    if (consumed != len) {
        put_format(line, "mismatched message length: consumed %zu, expected %ld\n", consumed,
                   (long)(int32_t)len);
    }
    t->lost[side] = len < 4 || len > WIRE_MESSAGE_MAX;
}

/* Prints the messages that are all there; what is left is returned. */
static wire_slice
print_lines(struct wire_trace *t, enum wire_trace_side side, wire_slice bytes, const char *stamp,
            struct wire_buffer *lines)
{
    struct line line = {.out = lines, .regress = t->regress};
    size_t size;
    while (!t->lost[side] && (size = message_size(t, side, bytes)) > 0) {
        wire_slice message = {bytes.ptr, size};
        put_text(&line, stamp);
        print_line(t, side, message, &line);
        bytes.ptr += size;
        bytes.len -= size;
    }
    return bytes;
}

void
wire_trace_init(struct wire_trace *t, bool untagged, bool regress)
{
    memset(t, 0, sizeof(*t));
    t->untagged = untagged;
    t->regress = regress;
}

void
wire_trace_clear(struct wire_trace *t)
{
    wire_buffer_clear(&t->part[WIRE_TRACE_BACKEND], true);
    wire_buffer_clear(&t->part[WIRE_TRACE_FRONTEND], true);
}

void
wire_trace_feed(struct wire_trace *t, enum wire_trace_side side, wire_slice bytes,
                const char *stamp, struct wire_buffer *lines)
{
    struct wire_buffer *part = &t->part[side];
    if (t->lost[side] || bytes.len == 0) {
        return;
    }
    if (wire_buffer_size(part) == 0) {
        wire_slice left = print_lines(t, side, bytes, stamp, lines);
        wire_buffer_put(part, left.ptr, left.len);
    }
    else {
        wire_buffer_put(part, bytes.ptr, bytes.len);
        wire_slice there = wire_buffer_unread(part);
        wire_slice left = print_lines(t, side, there, stamp, lines);
        wire_buffer_consume(part, there.len - left.len);
        wire_buffer_shrink(part, PART_KEEP_BYTES);
    }
    if (lines->failed == WIRE_OK) {
        lines->failed = part->failed;
    }
}
