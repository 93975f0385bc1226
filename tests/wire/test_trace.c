/* trace.c: the line of every message, against what libpq 18 prints for it; secrets; bytes
 * cut anywhere; lengths that cannot be right. */
#include "trace.h"

#include "check.h"

enum mode {
    PLAIN = 0,
    REGRESS = 1,
    UNTAGGED = 2,
};

struct fixture {
    struct wire_trace trace;
    struct wire_buffer lines;
};

static void
begin(struct fixture *f, unsigned mode)
{
    wire_trace_init(&f->trace, (mode & UNTAGGED) != 0, (mode & REGRESS) != 0);
    wire_buffer_init(&f->lines);
}

static void
end(struct fixture *f)
{
    wire_trace_clear(&f->trace);
    wire_buffer_clear(&f->lines, false);
}

static void
feed(struct fixture *f, enum wire_trace_side side, const void *bytes, size_t len, size_t step)
{
    for (size_t i = 0; i < len; i += step) {
        wire_slice part = {(const uint8_t *)bytes + i, len - i < step ? len - i : step};
        wire_trace_feed(&f->trace, side, part, "", &f->lines);
    }
}

static void
check_lines(struct fixture *f, const char *expected, const char *file, int line)
{
    CHECK_INT(f->lines.failed, WIRE_OK);
    check_slice(wire_buffer_unread(&f->lines), expected, strlen(expected), "lines", file, line);
    wire_buffer_consume(&f->lines, wire_buffer_size(&f->lines));
}

/* One message alone, whole and byte by byte. */
static void
check_message(enum wire_trace_side side, unsigned mode, const void *bytes, size_t len,
              const char *expected, const char *file, int line)
{
    for (size_t step = 1; step <= len; step += len - 1) {
        struct fixture f;
        begin(&f, mode);
        feed(&f, side, bytes, len, step);
        check_lines(&f, expected, file, line);
        end(&f);
    }
}

#define BACKEND(mode, bytes, expected)                                                             \
    check_message(WIRE_TRACE_BACKEND, (mode), bytes, sizeof(bytes) - 1, expected, __FILE__,        \
                  __LINE__)
#define FRONTEND(mode, bytes, expected)                                                            \
    check_message(WIRE_TRACE_FRONTEND, (mode), bytes, sizeof(bytes) - 1, expected, __FILE__,       \
                  __LINE__)
#define LINES(f, expected) check_lines((f), expected, __FILE__, __LINE__)
#define FEED_BACKEND(f, bytes) feed((f), WIRE_TRACE_BACKEND, bytes, sizeof(bytes) - 1, 1000)
#define FEED_FRONTEND(f, bytes) feed((f), WIRE_TRACE_FRONTEND, bytes, sizeof(bytes) - 1, 1000)

static void
test_bare(void)
{
    BACKEND(PLAIN, "1\0\0\0\4", "B\t4\tParseComplete\n");
    BACKEND(PLAIN, "2\0\0\0\4", "B\t4\tBindComplete\n");
    BACKEND(PLAIN, "3\0\0\0\4", "B\t4\tCloseComplete\n");
    BACKEND(PLAIN, "I\0\0\0\4", "B\t4\tEmptyQueryResponse\n");
    BACKEND(PLAIN, "n\0\0\0\4", "B\t4\tNoData\n");
    BACKEND(PLAIN, "s\0\0\0\4", "B\t4\tPortalSuspended\n");
    BACKEND(PLAIN, "c\0\0\0\4", "B\t4\tCopyDone\n");
    FRONTEND(PLAIN, "c\0\0\0\4", "F\t4\tCopyDone\n");
    FRONTEND(PLAIN, "H\0\0\0\4", "F\t4\tFlush\n");
    FRONTEND(PLAIN, "S\0\0\0\4", "F\t4\tSync\n");
    FRONTEND(PLAIN, "X\0\0\0\4", "F\t4\tTerminate\n");
}

static void
test_requests(void)
{
    FRONTEND(PLAIN, "Q\0\0\0\x0Dselect 1\0", "F\t13\tQuery\t \"select 1\"\n");
    FRONTEND(PLAIN, "P\0\0\0\x17s1\0select $1\0\0\1\0\0\0\x17",
             "F\t23\tParse\t \"s1\" \"select $1\" 1 23\n");
    FRONTEND(REGRESS, "P\0\0\0\x0C\0\0\0\1\0\0\0\x17", "F\t12\tParse\t \"\" \"\" 1 NNNN\n");
    FRONTEND(PLAIN, "D\0\0\0\x08Ss1\0", "F\t8\tDescribe\t S \"s1\"\n");
    FRONTEND(PLAIN, "C\0\0\0\7Pp\0", "F\t7\tClose\t P \"p\"\n");
    FRONTEND(PLAIN, "E\0\0\0\x0Ap\0\0\0\0\5", "F\t10\tExecute\t \"p\" 5\n");
    FRONTEND(PLAIN, "f\0\0\0\7no\0", "F\t7\tCopyFail\t \"no\"\n");
    FRONTEND(PLAIN, "d\0\0\0\7a\tb", "F\t7\tCopyData\t 'a\\x09b'\n");
    FRONTEND(REGRESS, "d\0\0\0\7a\tb", "F\t7\tCopyData\t 'BBBB'\n");
    FRONTEND(PLAIN, "F\0\0\0\x16\0\0\0\x07\0\1\0\1\0\1\0\0\0\2\0\xFF\0\1",
             "F\t22\tFunctionCall\t 7 1 1 1 2 '\\x00\\xff' 1\n");
}

static void
test_bind(void)
{
    FRONTEND(PLAIN, "B\0\0\0\x1F\0s\0\0\1\0\1\0\3\0\0\0\2\0a\xFF\xFF\xFF\xFF\0\0\0\0\0\1\0\1",
             "F\t31\tBind\t \"\" \"s\" 1 1 3 2 '\\x00a' -1 0 '' 1 1\n");
}

static void
test_results(void)
{
    BACKEND(PLAIN, "C\0\0\0\x0DSELECT 1\0", "B\t13\tCommandComplete\t \"SELECT 1\"\n");
    BACKEND(PLAIN, "D\0\0\0\x0F\0\2\0\0\0\1'\xFF\xFF\xFF\xFF", "B\t15\tDataRow\t 2 1 ''' -1\n");
    BACKEND(PLAIN, "T\0\0\0\x1B\0\1id\0\0\0\1\2\0\3\0\0\0\x17\0\4\xFF\xFF\xFF\xFF\0\1",
            "B\t27\tRowDescription\t 1 \"id\" 258 3 23 4 -1 1\n");
    BACKEND(REGRESS, "T\0\0\0\x1A\0\1x\0\0\0\1\2\0\3\0\0\0\x17\xFF\xFF\xFF\xFF\xFF\xFF\0\1",
            "B\t26\tRowDescription\t 1 \"x\" NNNN 3 NNNN 65535 -1 1\n");
    BACKEND(PLAIN, "t\0\0\0\x0A\0\1\0\0\0\x17", "B\t10\tParameterDescription\t 1 23\n");
    BACKEND(PLAIN, "Z\0\0\0\5I", "B\t5\tReadyForQuery\t I\n");
    BACKEND(PLAIN, "G\0\0\0\x09\0\0\1\0\0", "B\t9\tCopyInResponse\t \\x00 1 0\n");
    BACKEND(PLAIN, "H\0\0\0\7\1\0\0", "B\t7\tCopyOutResponse\t \\x01 0\n");
    BACKEND(PLAIN, "W\0\0\0\7\0\0\0", "B\t7\tCopyBothResponse\t \\x00 0\n");
    BACKEND(PLAIN, "d\0\0\0\5x", "B\t5\tCopyData\t 'x'\n");
    BACKEND(PLAIN, "V\0\0\0\x0A\0\0\0\2hi", "B\t10\tFunctionCallResponse\t 2 'hi'\n");
    BACKEND(PLAIN, "V\0\0\0\x08\xFF\xFF\xFF\xFF", "B\t8\tFunctionCallResponse\t -1\n");
}

static void
test_asides(void)
{
    BACKEND(PLAIN, "S\0\0\0\x08TZ\0\0", "B\t8\tParameterStatus\t \"TZ\" \"\"\n");
    BACKEND(PLAIN, "A\0\0\0\x0D\0\0\1\0c\0hi\0",
            "B\t13\tNotificationResponse\t 256 \"c\" \"hi\"\n");
    BACKEND(REGRESS, "A\0\0\0\x0B\0\0\1\0c\0\0", "B\t11\tNotificationResponse\t NNNN \"c\" \"\"\n");
    BACKEND(PLAIN, "v\0\0\0\x10\0\3\0\2\0\0\0\1_p\0\0",
            "B\t16\tNegotiateProtocolVersion\t 196610 1 \"_p\"\n"
            "mismatched message length: consumed 15, expected 16\n");
    BACKEND(PLAIN, "N\0\0\0\x0EMno\0Ff.c\0\0",
            "B\t14\tNoticeResponse\t M \"no\" F \"f.c\" \\x00\n");
    BACKEND(REGRESS, "E\0\0\0\x11Mno\0Ff.c\0L7\0\0",
            "B\tNN\tErrorResponse\t M \"no\" F \"SSSS\" L \"SSSS\" \\x00\n");
}

static void
test_startup(void)
{
    struct fixture f;
    begin(&f, UNTAGGED);
    FEED_FRONTEND(&f, "\0\0\0\x08\x04\xD2\x16\x30");
    LINES(&f, "F\t8\tGSSENCRequest\t 1234 5680\n");
    FEED_BACKEND(&f, "N");
    LINES(&f, "B\t1\tGSSENCResponse\t N\n");
    FEED_FRONTEND(&f, "\0\0\0\x08\x04\xD2\x16\x2F");
    FEED_BACKEND(&f, "S");
    LINES(&f, "F\t8\tSSLRequest\t 1234 5679\nB\t1\tSSLResponse\t S\n");
    FEED_FRONTEND(&f, "\0\0\0\x11\0\3\0\2user\0me\0\0S\0\0\0\4");
    LINES(&f, "F\t17\tStartupMessage\t 3 2 \"user\" \"me\"\nF\t4\tSync\n");
    end(&f);
    FRONTEND(UNTAGGED, "\0\0\0\x10\x04\xD2\x16\x2E\0\0\1\0abcd",
             "F\t16\tCancelRequest\t 1234 5678 256 'BBBB'\n");
    FRONTEND(UNTAGGED | REGRESS, "\0\0\0\x10\x04\xD2\x16\x2E\0\0\1\0abcd",
             "F\t16\tCancelRequest\t 1234 5678 NNNN 'BBBB'\n");
    BACKEND(PLAIN, "K\0\0\0\x0C\0\0\1\0abcd", "B\t12\tBackendKeyData\t 256 'BBBB'\n");
    BACKEND(REGRESS, "K\0\0\0\x0E\0\0\1\0abcdef", "B\t14\tBackendKeyData\t NNNN 'BBBB'\n");
}

/* What is asked for, and how the answer to it is called. */
static void
test_passwords(void)
{
    struct fixture f;
    begin(&f, PLAIN);
    FEED_BACKEND(&f, "R\0\0\0\x08\0\0\0\3");
    FEED_FRONTEND(&f, "p\0\0\0\x0Bsecret\0");
    LINES(&f, "B\t8\tAuthenticationCleartextPassword\nF\t11\tPasswordMessage\t \"SSSS\"\n");
    FEED_BACKEND(&f, "R\0\0\0\x0C\0\0\0\5salt");
    FEED_FRONTEND(&f, "p\0\0\0\x0Amd5xx\0");
    LINES(&f, "B\t12\tAuthenticationMD5Password\nF\t10\tPasswordMessage\t \"SSSS\"\n");
    FEED_BACKEND(&f, "R\0\0\0\x08\0\0\0\0");
    FEED_FRONTEND(&f, "p\0\0\0\x0Bsecret\0");
    LINES(&f, "B\t8\tAuthenticationOk\nF\t11\tUnknownAuthenticationResponse\n");
    end(&f);
}

static void
test_sasl(void)
{
    struct fixture f;
    begin(&f, PLAIN);
    FEED_BACKEND(&f, "R\0\0\0\x0D\0\0\0\x0A\x41\x42\0\x43\0");
    LINES(&f, "B\t13\tAuthenticationSASL\t \"AB\" \"C\"\n");
    FEED_BACKEND(&f, "R\0\0\0\x0C\0\0\0\x0A\x41\x42\0\0");
    FEED_FRONTEND(&f, "p\0\0\0\x0E\x41\x42\0\0\0\0\3n,,");
    FEED_FRONTEND(&f, "p\0\0\0\x0E\x41\x42\0\0\0\0\3n,,");
    LINES(&f, "B\t12\tAuthenticationSASL\t \"AB\" \"\"\n"
              "F\t14\tSASLInitialResponse\t \"AB\" 3 'BBBB'\n"
              "F\t14\tUnknownAuthenticationResponse\n");
    FEED_BACKEND(&f, "R\0\0\0\x0C\0\0\0\x0Br=ab");
    FEED_FRONTEND(&f, "p\0\0\0\7c=x");
    FEED_BACKEND(&f, "R\0\0\0\x0C\0\0\0\x0Cv=ab");
    LINES(&f, "B\t12\tAuthenticationSASLContinue\t 'BBBB'\nF\t7\tSASLResponse\t 'BBBB'\n"
              "B\t12\tAuthenticationSASLFinal\t 'BBBB'\n");
    end(&f);
}

static void
test_gss(void)
{
    struct fixture f;
    begin(&f, PLAIN);
    FEED_BACKEND(&f, "R\0\0\0\x08\0\0\0\7");
    FEED_FRONTEND(&f, "p\0\0\0\7abc");
    FEED_BACKEND(&f, "R\0\0\0\x0A\0\0\0\x08xy");
    FEED_BACKEND(&f, "R\0\0\0\x08\0\0\0\x09");
    FEED_BACKEND(&f, "R\0\0\0\x08\0\0\0\x63");
    LINES(&f, "B\t8\tAuthenticationGSS\nF\t7\tGSSResponse\t 'BBBB'\n"
              "B\t10\tAuthenticationGSSContinue\t 'BBBB'\nB\t8\tAuthenticationSSPI\n"
              "B\t8\tUnknown authentication message 99\n");
    end(&f);
}

/* Bodies that are too short print what is there; a length that cannot be right ends the
 * trace of that side, and of no other. */
static void
test_malformed(void)
{
    struct fixture f;
    BACKEND(PLAIN, "D\0\0\0\x09\0\2\0\0\0",
            "B\t9\tDataRow\t 2\n"
            "mismatched message length: consumed 6, expected 9\n");
    BACKEND(PLAIN, "D\0\0\0\x0B\0\1\0\0\0\2x",
            "B\t11\tDataRow\t 1 2\nmismatched message length: consumed 10, expected 11\n");
    BACKEND(PLAIN, "C\0\0\0\6ab",
            "B\t6\tCommandComplete\t\nmismatched message length: consumed 4, expected 6\n");
    BACKEND(PLAIN, "E\0\0\0\6Mx",
            "B\t6\tErrorResponse\t M\nmismatched message length: consumed 5, expected 6\n");
    BACKEND(PLAIN, "Z\0\0\0\4", "B\t4\tReadyForQuery\t\n");
    BACKEND(PLAIN, "\x01\0\0\0\5x",
            "B\t5\tUnknown message: 01\nmismatched message length: consumed 4, expected 5\n");
    begin(&f, PLAIN);
    FEED_BACKEND(&f, "1\0\0\0\3");
    FEED_BACKEND(&f, "1\0\0\0\4");
    FEED_FRONTEND(&f, "S\0\0\0\4");
    LINES(&f, "B\t3\tParseComplete\nmismatched message length: consumed 4, expected 3\n"
              "F\t4\tSync\n");
    FEED_FRONTEND(&f, "S\xFF\xFF\xFF\xFFx");
    FEED_FRONTEND(&f, "S\0\0\0\4");
    LINES(&f, "F\t-1\tSync\nmismatched message length: consumed 4, expected -1\n");
    end(&f);
}

static void
test_stamp(void)
{
    struct fixture f;
    begin(&f, PLAIN);
    wire_slice bytes = {(const uint8_t *)"S\0\0\0\4H\0\0\0\4", 10};
    wire_trace_feed(&f.trace, WIRE_TRACE_FRONTEND, bytes, "now\t", &f.lines);
    LINES(&f, "now\tF\t4\tSync\nnow\tF\t4\tFlush\n");
    end(&f);
}

int
main(void)
{
    test_bare();
    test_requests();
    test_bind();
    test_results();
    test_asides();
    test_startup();
    test_passwords();
    test_sasl();
    test_gss();
    test_malformed();
    test_stamp();
    return check_done();
}
