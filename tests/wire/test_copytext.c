/* copytext.c: values of the text and csv formats. */
#include "copytext.h"

#include "check.h"

static wire_slice
slice_of(const char *text)
{
    wire_slice slice = {(const uint8_t *)text, strlen(text)};
    return slice;
}

static bool
writes(const struct wire_copy_style *style, const char *value, const char *expected)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    wire_buffer_put(&b, "<", 1);
    bool written = wire_copy_put_value(&b, style, slice_of(value));
    wire_slice got = wire_buffer_unread(&b);
    bool same = written && got.len == 1 + strlen(expected)
                && memcmp(got.ptr + 1, expected, got.len - 1) == 0;
    wire_buffer_clear(&b, false);
    return same;
}

static void
test_text(void)
{
    struct wire_copy_style style;
    wire_copy_style_init(&style, false);
    CHECK(writes(&style, "", ""));
    CHECK(writes(&style, "plain, \"text\"", "plain, \"text\""));
    CHECK(writes(&style, "a\tb\nc\rd\\e", "a\\tb\\nc\\rd\\\\e"));
    CHECK(writes(&style, "\\N", "\\\\N"));
    style.delimiter = ',';
    CHECK(writes(&style, "a,b\t", "a\\,b\\t"));
}

/* What is spelt like NULL is not NULL. */
static void
test_text_null(void)
{
    struct wire_copy_style style;
    wire_copy_style_init(&style, false);
    memcpy(style.null, "none", 4);
    style.null_len = 4;
    CHECK(writes(&style, "none", "\\156one"));
    CHECK(writes(&style, "nones", "nones"));
    memcpy(style.null, "\\\\N", 3);
    style.null_len = 3;
    CHECK(writes(&style, "\\N", "\\134N"));
    style.null_len = 0;
    struct wire_buffer b;
    wire_buffer_init(&b);
    CHECK(!wire_copy_put_value(&b, &style, slice_of("")));
    CHECK(wire_copy_put_value(&b, &style, slice_of("x")));
    wire_copy_put_null(&b, &style);
    CHECK(wire_buffer_size(&b) == 1);
    wire_buffer_clear(&b, false);
}

static void
test_csv(void)
{
    struct wire_copy_style style;
    wire_copy_style_init(&style, true);
    CHECK(writes(&style, "", "\"\""));
    CHECK(writes(&style, "plain text", "plain text"));
    CHECK(writes(&style, "a,b", "\"a,b\""));
    CHECK(writes(&style, "a\"b", "\"a\"\"b\""));
    CHECK(writes(&style, "a\nb\r", "\"a\nb\r\""));
    CHECK(writes(&style, "\\.", "\"\\.\""));
    style.escape = '\\';
    CHECK(writes(&style, "a\"b\\c", "\"a\\\"b\\\\c\""));
    style.quote = '\'';
    style.delimiter = ';';
    memcpy(style.null, "-", 1);
    style.null_len = 1;
    CHECK(writes(&style, "a,\"b", "a,\"b"));
    CHECK(writes(&style, "a;'b", "'a;\\'b'"));
    CHECK(writes(&style, "-", "'-'"));
}

int
main(void)
{
    test_text();
    test_text_null();
    test_csv();
    return check_done();
}
