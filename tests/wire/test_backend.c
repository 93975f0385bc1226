/* backend.c: what each parser takes, and that it takes nothing shorter or longer. */
#include "backend.h"

#include <stdlib.h>

#include "check.h"

/* A parser behind one signature; its result is of no interest here. */
typedef bool (*parser)(wire_slice body);

static bool
parse_authentication(wire_slice body)
{
    struct wire_authentication out;
    return wire_parse_authentication(body, &out);
}

static bool
parse_parameter_status(wire_slice body)
{
    struct wire_parameter out;
    return wire_parse_parameter_status(body, &out);
}

static bool
parse_ready(wire_slice body)
{
    char out;
    return wire_parse_ready(body, &out);
}

static bool
parse_notification(wire_slice body)
{
    struct wire_notification out;
    return wire_parse_notification(body, &out);
}

static bool
parse_command_complete(wire_slice body)
{
    wire_slice out;
    return wire_parse_command_complete(body, &out);
}

static bool
parse_error_fields(wire_slice body)
{
    struct wire_reader out;
    return wire_error_fields(body, &out);
}

static bool
parse_row_description(wire_slice body)
{
    size_t count;
    struct wire_reader out;
    return wire_row_description(body, &count, &out);
}

static bool
parse_parameter_description(wire_slice body)
{
    size_t count;
    struct wire_reader out;
    return wire_parameter_description(body, &count, &out);
}

static bool
parse_copy_response(wire_slice body)
{
    struct wire_copy_response out;
    return wire_parse_copy_response(body, &out);
}

static bool
parse_negotiation(wire_slice body)
{
    struct wire_negotiation out;
    return wire_parse_negotiation(body, &out);
}

/* Parses a copy of exact size. */
static bool
takes(parser parse, const char *bytes, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy + 1, bytes, len);
    wire_slice body = {copy + 1, len};
    bool ok = parse(body);
    free(copy);
    return ok;
}

#define CHECK_TAKES(parse, literal) CHECK(takes(parse, literal, sizeof(literal) - 1))
#define CHECK_REFUSES(parse, literal) CHECK(!takes(parse, literal, sizeof(literal) - 1))

/* Good as it is, bad when cut anywhere or with a byte more. */
static void
check_exact(parser parse, const char *bytes, size_t len, int line)
{
    char longer[128];
    check_true(takes(parse, bytes, len), "the whole body is taken", __FILE__, line);
    for (size_t cut = 0; cut < len; cut++) {
        check_true(!takes(parse, bytes, cut), "a shorter body is refused", __FILE__, line);
    }
    memcpy(longer, bytes, len);
    longer[len] = 'x';
    check_true(!takes(parse, longer, len + 1), "a longer body is refused", __FILE__, line);
}

#define CHECK_EXACT(parse, literal) check_exact(parse, literal, sizeof(literal) - 1, __LINE__)

#define SLICE(literal) ((wire_slice){(const uint8_t *)(literal), sizeof(literal) - 1})

static void
test_exact_lengths(void)
{
    CHECK_EXACT(parse_parameter_status, "name\0value\0");
    CHECK_EXACT(parse_parameter_status, "\0\0");
    CHECK_EXACT(parse_ready, "I");
    CHECK_EXACT(parse_notification, "\0\0\0\1channel\0payload\0");
    CHECK_EXACT(parse_command_complete, "SELECT 1\0");
    CHECK_EXACT(parse_error_fields, "SERROR\0C42601\0\0");
    CHECK_EXACT(parse_error_fields, "\0");
    CHECK_EXACT(parse_row_description, "\0\0");
    CHECK_EXACT(parse_row_description, "\0\1a\0\0\0\0\0\0\0\0\0\0\x17\0\4\xFF\xFF\xFF\xFF\0\1");
    CHECK_EXACT(parse_parameter_description, "\0\2\0\0\0\x17\0\0\0\x19");
    CHECK_EXACT(parse_copy_response, "\1\0\2\0\1\0\1");
    CHECK_EXACT(parse_negotiation, "\0\3\0\0\0\0\0\2_pq_.a\0_pq_.b\0");
}

static void
test_authentication(void)
{
    struct wire_authentication out;
    CHECK(wire_parse_authentication(SLICE("\0\0\0\5salt"), &out));
    CHECK_INT(out.code, 5);
    CHECK_SLICE(out.data, "salt");
    CHECK_TAKES(parse_authentication, "\0\0\0\0");
    CHECK_REFUSES(parse_authentication, "\0\0\0");
    CHECK_REFUSES(parse_authentication, "");
}

static void
test_backend_key(void)
{
    struct wire_backend_key out;
    CHECK(wire_parse_backend_key(SLICE("\xFF\0\0\1key!"), &out));
    CHECK_INT(out.pid, 0xFF000001);
    CHECK_SLICE(out.key, "key!");
    CHECK(wire_parse_backend_key(SLICE("\xFF\0\0\1longer key"), &out));
    CHECK_SLICE(out.key, "longer key");
    for (size_t len = 0; len <= 4 + WIRE_CANCEL_KEY_MAX + 1; len++) {
        uint8_t body[4 + WIRE_CANCEL_KEY_MAX + 1] = {0};
        CHECK_INT(wire_parse_backend_key((wire_slice){body, len}, &out),
                  len >= 4 + WIRE_CANCEL_KEY_MIN && len <= 4 + WIRE_CANCEL_KEY_MAX);
    }
}

static void
test_parameter_status(void)
{
    struct wire_parameter out;
    CHECK(wire_parse_parameter_status(SLICE("TimeZone\0Europe/Berlin\0"), &out));
    CHECK_SLICE(out.name, "TimeZone");
    CHECK_SLICE(out.value, "Europe/Berlin");
    char body[WIRE_PARAMETER_MAX + 1];
    memset(body, 'x', sizeof(body));
    body[4] = '\0';
    body[WIRE_PARAMETER_MAX - 1] = '\0';
    CHECK(takes(parse_parameter_status, body, WIRE_PARAMETER_MAX));
    body[WIRE_PARAMETER_MAX - 1] = 'x';
    body[WIRE_PARAMETER_MAX] = '\0';
    CHECK(!takes(parse_parameter_status, body, WIRE_PARAMETER_MAX + 1));
}

static void
test_ready(void)
{
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        bool good = c == 'I' || c == 'T' || c == 'E';
        CHECK_INT(takes(parse_ready, &byte, 1), good);
    }
}

static void
test_notification(void)
{
    struct wire_notification out;
    CHECK(wire_parse_notification(SLICE("\0\0\1\0c\0\0"), &out));
    CHECK_INT(out.pid, 256);
    CHECK_SLICE(out.channel, "c");
    CHECK_SLICE(out.payload, "");
}

static void
test_tag_rows(void)
{
    wire_slice tag;
    CHECK(wire_parse_command_complete(SLICE("INSERT 0 5\0"), &tag));
    CHECK_SLICE(tag, "INSERT 0 5");
    CHECK_INT(wire_tag_rows(tag), 5);
    CHECK_INT(wire_tag_rows(SLICE("SELECT 0")), 0);
    CHECK_INT(wire_tag_rows(SLICE("UPDATE 999999999999999999")), 999999999999999999);
    CHECK_INT(wire_tag_rows(SLICE("UPDATE 1000000000000000000")), -1);
    CHECK_INT(wire_tag_rows(SLICE("UPDATE 99999999999999999999999")), -1);
    CHECK_INT(wire_tag_rows(SLICE("CREATE TABLE")), -1);
    CHECK_INT(wire_tag_rows(SLICE("SELECT ")), -1);
    CHECK_INT(wire_tag_rows(SLICE("SELECT -1")), -1);
    CHECK_INT(wire_tag_rows(SLICE("x1")), -1);
    CHECK_INT(wire_tag_rows(SLICE("1")), -1);
    CHECK_INT(wire_tag_rows(SLICE("")), -1);
}

static void
test_error_fields(void)
{
    struct wire_reader fields;
    struct wire_error_field field;
    CHECK(wire_error_fields(SLICE("SERROR\0\xE9new\0M\0\0"), &fields));
    CHECK(wire_next_error_field(&fields, &field));
    CHECK_INT(field.code, 'S');
    CHECK_SLICE(field.value, "ERROR");
    CHECK(wire_next_error_field(&fields, &field));
    CHECK_INT((uint8_t)field.code, 0xE9);
    CHECK_SLICE(field.value, "new");
    CHECK(wire_next_error_field(&fields, &field));
    CHECK_INT(field.code, 'M');
    CHECK_SLICE(field.value, "");
    CHECK(!wire_next_error_field(&fields, &field));
    CHECK(!wire_next_error_field(&fields, &field));
    CHECK_REFUSES(parse_error_fields, "SERROR\0");
    CHECK_REFUSES(parse_error_fields, "SERROR");
    CHECK_REFUSES(parse_error_fields, "\0SERROR\0\0");
}

static void
test_row_description(void)
{
    static const char body[] = "\0\2"
                               "id\0\0\1\0\0\0\1\0\0\0\x14\0\x08\xFF\xFF\xFF\xFF\0\1"
                               "\0\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFE\xFF\xFE\0\0\0\7\0\0";
    size_t count;
    struct wire_reader fields;
    struct wire_field field;
    CHECK(wire_row_description(SLICE(body), &count, &fields));
    CHECK_INT(count, 2);
    wire_next_field(&fields, &field);
    CHECK_SLICE(field.name, "id");
    CHECK_INT(field.table_oid, 0x10000);
    CHECK_INT(field.column, 1);
    CHECK_INT(field.type_oid, 20);
    CHECK_INT(field.type_size, 8);
    CHECK_INT(field.type_modifier, -1);
    CHECK_INT(field.format, 1);
    wire_next_field(&fields, &field);
    CHECK_SLICE(field.name, "");
    CHECK_INT(field.column, -1);
    CHECK_INT(field.type_oid, 0xFFFFFFFE);
    CHECK_INT(field.type_size, -2);
    CHECK_INT(field.type_modifier, 7);
    CHECK_INT(field.format, 0);
    CHECK(wire_reader_end(&fields));
    CHECK_REFUSES(parse_row_description, "\0\1a\0\0\0\0\0\0\0\0\0\0\x17\0\4\0\0\0\0\0\2");
    CHECK_REFUSES(parse_row_description, "\0\1a\0\0\0\0\0\0\0\0\0\0\x17\0\4\0\0\0\0\xFF\xFF");
    CHECK_REFUSES(parse_row_description, "\xFF\xFF");
}

/* As many columns as a server can have, and one more. */
static void
test_most_columns(void)
{
    struct wire_buffer b;
    size_t count;
    struct wire_reader fields;
    wire_buffer_init(&b);
    for (unsigned n = WIRE_COLUMNS_MAX; n <= WIRE_COLUMNS_MAX + 1; n++) {
        wire_buffer_put_u16(&b, (uint16_t)n);
        for (unsigned i = 0; i < n; i++) {
            wire_buffer_put(&b, "c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
        }
        CHECK_INT(wire_row_description(wire_buffer_unread(&b), &count, &fields),
                  n == WIRE_COLUMNS_MAX);
        wire_buffer_consume(&b, wire_buffer_size(&b));
    }
    wire_buffer_clear(&b, false);
}

static void
test_parameter_description(void)
{
    size_t count;
    struct wire_reader oids;
    CHECK(wire_parameter_description(SLICE("\0\2\0\0\0\x17\xFF\xFF\xFF\xFF"), &count, &oids));
    CHECK_INT(count, 2);
    CHECK_INT(wire_read_u32(&oids), 23);
    CHECK_INT(wire_read_u32(&oids), 0xFFFFFFFF);
    CHECK(wire_reader_end(&oids));
    CHECK_REFUSES(parse_parameter_description, "\xFF\xFF\0\0\0\x17");
}

static void
test_copy_response(void)
{
    struct wire_copy_response out;
    CHECK(wire_parse_copy_response(SLICE("\0\0\1\0\0"), &out));
    CHECK_INT(out.format, 0);
    CHECK_INT(out.columns, 1);
    CHECK_TAKES(parse_copy_response, "\0\0\0");
    CHECK_REFUSES(parse_copy_response, "\2\0\0");
    CHECK_REFUSES(parse_copy_response, "\1\0\1\0\2");
    CHECK_REFUSES(parse_copy_response, "\1\xFF\xFF\0\1");
}

static void
test_negotiation(void)
{
    struct wire_negotiation out;
    CHECK(wire_parse_negotiation(SLICE("\0\3\0\2\0\0\0\0"), &out));
    CHECK_INT(out.version, 0x00030002);
    CHECK_INT(out.options, 0);
    CHECK_REFUSES(parse_negotiation, "\0\3\0\0\xFF\xFF\xFF\xFFx\0");
    CHECK_REFUSES(parse_negotiation, "\0\3\0\0\0\0\0\1");
}

static void
test_cells(void)
{
    wire_slice row = SLICE("\0\0\0\1a\xFF\xFF\xFF\xFF\0\0\0\0\0\0\0\2z");
    struct wire_reader cells = wire_reader_of(row);
    wire_slice value;
    bool null;
    CHECK(wire_read_cell(&cells, &value, &null));
    CHECK(!null);
    CHECK_SLICE(value, "a");
    CHECK(wire_read_cell(&cells, &value, &null));
    CHECK(null);
    CHECK_INT(value.len, 0);
    CHECK(wire_read_cell(&cells, &value, &null));
    CHECK(!null);
    CHECK_SLICE(value, "");
    CHECK(!wire_read_cell(&cells, &value, &null)); /* two bytes announced, one there */
    CHECK(cells.bad);
    CHECK(!wire_read_cell(&cells, &value, &null));
}

/* -1 is the only negative length, and no length reaches past the row. */
static void
test_cell_lengths(void)
{
    static const uint32_t lengths[] = {2, 0xFFFFFFFE, 0x80000000, 0x7FFFFFFF, 0xFFFFFF00};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t row[5] = {0, 0, 0, 0, 'x'};
        wire_slice body = {row, sizeof(row)};
        struct wire_reader cells = wire_reader_of(body);
        wire_slice value;
        bool null;
        wire_store_u32(row, lengths[i]);
        CHECK(!wire_read_cell(&cells, &value, &null));
        CHECK(!wire_reader_end(&cells));
    }
    struct wire_reader cells = wire_reader_of(SLICE("\0\0\0"));
    wire_slice value;
    bool null;
    CHECK(!wire_read_cell(&cells, &value, &null));
}

int
main(void)
{
    test_exact_lengths();
    test_authentication();
    test_backend_key();
    test_parameter_status();
    test_ready();
    test_notification();
    test_tag_rows();
    test_error_fields();
    test_row_description();
    test_most_columns();
    test_parameter_description();
    test_copy_response();
    test_negotiation();
    test_cells();
    test_cell_lengths();
    return check_done();
}
