/* session.c: conversations of a session that runs. */
#include "talk.h"

#define BEFORE(steps_, answers_)                                                                   \
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = (steps_)};                               \
    serve(&talk, (answers_))

static void
check_talk(const char *steps, const char *answers, const char *events, size_t left, int line)
{
    struct outcome o;
    BEFORE(steps, answers);
    talk_run(&talk, &o);
    check_str((const char *)o.transcript.data, events, "events", __FILE__, line);
    check_int(o.status, WIRE_MORE, "status", __FILE__, line);
    check_str(o.error.text, "", "error", __FILE__, line);
    check_int((long long)o.steps_left, (long long)left, "steps left", __FILE__, line);
    check_int((long long)wire_buffer_size(&o.sent), 0, "bytes sent", __FILE__, line);
    outcome_clear(&o);
    talk_clear(&talk);
}

#define CHECK_TALK(steps, answers, events) check_talk(steps, answers, events, 0, __LINE__)
#define CHECK_TALK_LEFT(steps, answers, events, left)                                              \
    check_talk(steps, answers, events, left, __LINE__)

/* The last answer of `answers` is not due; `events` come of those before it. */
static void
check_not_due(const char *steps, const char *answers, const char *events, int line)
{
    BEFORE(steps, answers);
    check_broken(&talk, events, WIRE_ERR_PROTOCOL, "not due", line);
}

#define CHECK_NOT_DUE(steps, answers, events) check_not_due(steps, answers, events, __LINE__)

#define PARAMS_LINE "params 23 25\n"
#define COLUMNS_LINE "columns a:23\n"
#define ROW_LINE "row [x] null\n"
#define COMPLETE_LINE "complete SELECT 1\n"
#define ERROR_LINE "error S=ERROR C=42601 M=no\n"
#define RIDER_ERROR_LINE "error (rider) S=ERROR C=42601 M=no\n"
#define UNSOLICITED_LINE "error (unsolicited) S=ERROR C=42601 M=no\n"
#define NOTICE_LINE "notice S=NOTICE\n"
#define NOTIFICATION_LINE "notification 7 ch hi\n"
#define PARAMETER_LINE "parameter TimeZone=UTC\n"
#define READY_LINE "ready I\n"

static void
test_steps(void)
{
    CHECK_TALK("Y", "Z", READY_LINE);
    CHECK_TALK("Y", "z", "ready E\n");
    CHECK_TALK("PY", "1Z", "parsed\n" READY_LINE);
    CHECK_TALK("BY", "2Z", "bound\n" READY_LINE);
    CHECK_TALK("SY", "tTZ", PARAMS_LINE COLUMNS_LINE READY_LINE);
    CHECK_TALK("SY", "tnZ", PARAMS_LINE "no data\n" READY_LINE);
    CHECK_TALK("DY", "TZ", COLUMNS_LINE READY_LINE);
    CHECK_TALK("DY", "nZ", "no data\n" READY_LINE);
    CHECK_TALK("EY", "DDCZ", ROW_LINE ROW_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("EY", "CZ", COMPLETE_LINE READY_LINE);
    CHECK_TALK("EY", "IZ", "empty\n" READY_LINE);
    CHECK_TALK("EEY", "DsCZ", ROW_LINE "suspended\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("CY", "3Z", "closed\n" READY_LINE);
}

static void
test_pipeline(void)
{
    CHECK_TALK("PBSEYBEYQCY", "12tTDCZ2CZTDCZ3Z",
               "parsed\nbound\n" PARAMS_LINE COLUMNS_LINE ROW_LINE COMPLETE_LINE READY_LINE
               "bound\n" COMPLETE_LINE READY_LINE COLUMNS_LINE ROW_LINE COMPLETE_LINE READY_LINE
               "closed\n" READY_LINE);
    CHECK_TALK_LEFT("PBEYBEY", "12", "parsed\nbound\n", 5);
}

/* The server skips to the Sync, and the request behind it is not touched. */
static void
test_pipeline_error(void)
{
    CHECK_TALK("BEYPBEYBEY", "2CZEz2CZ",
               "bound\n" COMPLETE_LINE READY_LINE ERROR_LINE "ready E\n"
               "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("PBEYBEY", "12DEZ2CZ",
               "parsed\nbound\n" ROW_LINE ERROR_LINE READY_LINE "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("BEBEBEYY", "2C2EZZ",
               "bound\n" COMPLETE_LINE "bound\n" ERROR_LINE READY_LINE READY_LINE);
    CHECK_TALK("SYDY", "tEZTZ", PARAMS_LINE ERROR_LINE READY_LINE COLUMNS_LINE READY_LINE);
    CHECK_TALK("BEY", "EEZ", ERROR_LINE ERROR_LINE READY_LINE); /* the second one is FATAL */
    CHECK_TALK("BEQYBEY", "EZ2CZ", ERROR_LINE READY_LINE "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_NOT_DUE("BEYBEY", "E2", ERROR_LINE);
    CHECK_NOT_DUE("BEYBEY", "EC", ERROR_LINE);
    CHECK_NOT_DUE("EY", "DED", ROW_LINE ERROR_LINE);
}

/* An error of the Sync itself: a deferred constraint at the implicit commit. */
static void
test_error_at_sync(void)
{
    CHECK_TALK("BEYBEY", "2CEZ2CZ",
               "bound\n" COMPLETE_LINE ERROR_LINE READY_LINE "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_NOT_DUE("EY", "CEC", COMPLETE_LINE ERROR_LINE);
}

/* Sets in a row make one event or several, as their bytes come. */
static void
test_sets(void)
{
#define SET_LINE "set SELECT 1\n"
    CHECK_TALK("BEMMMY", "2C2C2C2CZ",
               "bound\n" COMPLETE_LINE SET_LINE SET_LINE SET_LINE READY_LINE);
    CHECK_TALK("MMYM", "2DDC2CZ2C", ROW_LINE ROW_LINE SET_LINE SET_LINE READY_LINE SET_LINE);
    CHECK_TALK("MMMY", "2IN2AC2SCZ",
               "empty\n" NOTICE_LINE NOTIFICATION_LINE SET_LINE PARAMETER_LINE SET_LINE READY_LINE);
    CHECK_TALK("MMMYMY", "2C2EZ2CZ", SET_LINE ERROR_LINE READY_LINE SET_LINE READY_LINE);
    CHECK_TALK("MMYMY", "2DEZ2CZ", ROW_LINE ERROR_LINE READY_LINE SET_LINE READY_LINE);
    CHECK_TALK("mMY", "2DC2CZ", SET_LINE READY_LINE);
}

static void
test_sets_not_due(void)
{
    for (const char *answers = "DCIGHsndcZ"; *answers != '\0'; answers++) {
        CHECK_NOT_DUE("MY", answers, "");
    }
    CHECK_NOT_DUE("MY", "22", "");
    CHECK_NOT_DUE("MY", "2G", "");
    CHECK_NOT_DUE("MY", "2s", "");
    CHECK_NOT_DUE("MY", "2DI", ROW_LINE);
    CHECK_NOT_DUE("MY", "2C2", SET_LINE);
    CHECK_NOT_DUE("MY", "2CC", SET_LINE);
    CHECK_NOT_DUE("MEY", "2C2", SET_LINE);
}

/* A request that is still being sent. */
static void
test_open(void)
{
    CHECK_TALK_LEFT("BEYOBEMM", "2CZ2C2C2C",
                    "bound\n" COMPLETE_LINE READY_LINE "bound\n" COMPLETE_LINE SET_LINE SET_LINE,
                    1);
    CHECK_TALK_LEFT("OMM", "2C2CN", SET_LINE SET_LINE NOTICE_LINE, 1);
    CHECK_TALK_LEFT("OMM", "2C2CE", SET_LINE SET_LINE ERROR_LINE, 1);
    CHECK_TALK_LEFT("OMM", "2E", ERROR_LINE, 1);
    CHECK_NOT_DUE("OM", "2C2", SET_LINE);
    CHECK_NOT_DUE("OM", "2CZ", SET_LINE);
    CHECK_NOT_DUE("OM", "2EZ", ERROR_LINE);
}

/* What is sent while the server is at it, and behind its error. */
static void
test_open_and_close(void)
{
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = "OM"};
    struct outcome o = {0};
    struct wire_session s;
    struct wire_buffer in;
    wire_buffer_init(&in);
    start(&s, &o.sent, &talk);
    skip_startup(&s, &o, talk.steps);
    serve(&talk, "2C2");
    transcript_feed(&in, talk.server.data, wire_buffer_size(&talk.server));
    CHECK_INT(wire_session_reserve(&s, 100), WIRE_OK);
    wire_session_insert(&s, WIRE_STEP_SET, 2);
    CHECK_INT(drain(&s, &in, &o, ""), WIRE_MORE);
    CHECK_INT(s.steps_count, 3);
    wire_session_insert(&s, WIRE_STEP_SET, 50);
    CHECK_INT(s.steps_count, 53);
    wire_buffer_clear(&talk.server, false);
    serve(&talk, "E");
    transcript_feed(&in, talk.server.data, wire_buffer_size(&talk.server));
    CHECK_INT(drain(&s, &in, &o, ""), WIRE_MORE);
    CHECK_INT(s.steps_count, 1);
    wire_session_insert(&s, WIRE_STEP_SET, 7); /* the server skips them */
    CHECK_INT(s.steps_count, 1);
    wire_session_close(&s);
    wire_buffer_clear(&talk.server, false);
    serve(&talk, "Z");
    transcript_feed(&in, talk.server.data, wire_buffer_size(&talk.server));
    CHECK_INT(drain(&s, &in, &o, ""), WIRE_MORE);
    CHECK_INT(s.steps_count, 0);
    wire_buffer_clear(&in, false);
    wire_session_clear(&s);
    outcome_clear(&o);
    talk_clear(&talk);
}

static struct talk segment_talk = {.allow = WIRE_ALLOW_ALL, .steps = ""};

/* Pushes steps and takes answers, turn by turn: what is left each time. */
static void
segment_turn(struct wire_session *s, struct wire_buffer *in, struct outcome *o, const char *steps,
             const char *answers, size_t left)
{
    push_steps(s, steps);
    serve(&segment_talk, answers);
    transcript_feed(in, segment_talk.server.data, wire_buffer_size(&segment_talk.server));
    wire_buffer_clear(&segment_talk.server, false);
    CHECK_INT(drain(s, in, o, ""), WIRE_MORE);
    CHECK_INT(s->steps_count, left);
}

/* Statements without a Sync of their own, answered because of a Flush. */
static void
test_segment(void)
{
    struct outcome o = {0};
    struct wire_session s;
    struct wire_buffer in;
    wire_buffer_init(&in);
    start(&s, &o.sent, &segment_talk);
    skip_startup(&s, &o, "");
    segment_turn(&s, &in, &o, "PS", "1tT", 0);
    segment_turn(&s, &in, &o, "BEBE", "2DC2N", 1);
    segment_turn(&s, &in, &o, "BE", "CA2DC", 0);
    segment_turn(&s, &in, &o, "BEY", "2CZ", 0);
    segment_turn(&s, &in, &o, "BEBEBE", "2C2DE", 0); /* all that was sent is skipped */
    segment_turn(&s, &in, &o, "", "NS", 0);
    segment_turn(&s, &in, &o, "Y", "Z", 0);
    segment_turn(&s, &in, &o, "BE", "E", 0);
    segment_turn(&s, &in, &o, "YBEY", "Z2CZ", 0);
    segment_turn(&s, &in, &o, "BE", "2C", 0);
    segment_turn(&s, &in, &o, "pbeY", "12CZ", 0); /* undone */
    wire_buffer_clear(&in, false);
    wire_session_clear(&s);
    outcome_clear(&o);
    talk_clear(&segment_talk);
}

static void
test_segment_not_due(void)
{
    CHECK_TALK_LEFT("BEBE", "2C2E", "bound\n" COMPLETE_LINE "bound\n" ERROR_LINE, 0);
    CHECK_TALK_LEFT("BE", "2CE", "bound\n" COMPLETE_LINE UNSOLICITED_LINE, 0);
    CHECK_NOT_DUE("BE", "2CZ", "bound\n" COMPLETE_LINE);
    CHECK_NOT_DUE("BEBE", "EZ", ERROR_LINE);
    CHECK_NOT_DUE("BEBE", "E2", ERROR_LINE);
    CHECK_NOT_DUE("BEBE", "2CC", "bound\n" COMPLETE_LINE);
}

static void
test_riders(void)
{
    CHECK_TALK("pbecBEY", "12C32CZ", "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK_LEFT("pbecBEY", "12E", RIDER_ERROR_LINE, 1);
    CHECK_TALK("pbecBEYBEY", "12EZ2CZ",
               RIDER_ERROR_LINE READY_LINE "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("pbecBEY", "12C3EZ", ERROR_LINE READY_LINE);
    CHECK_TALK(
        "cEY", "N3ANSDCZ",
        NOTICE_LINE NOTIFICATION_LINE NOTICE_LINE PARAMETER_LINE ROW_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("seEY", "tTDDCDCZ", ROW_LINE COMPLETE_LINE READY_LINE); /* its rows are dropped */
    CHECK_TALK("eEY", "ICZ", COMPLETE_LINE READY_LINE);
    CHECK_TALK("dEY", "nCZ", COMPLETE_LINE READY_LINE);
    CHECK_TALK("pbaEY", "12DCDCZ", "answer " ROW_LINE ROW_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("aEY", "DDCCZ", "answer " ROW_LINE "answer " ROW_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("aEY", "CCZ", COMPLETE_LINE READY_LINE);
    CHECK_TALK_LEFT("abEY", "E", RIDER_ERROR_LINE, 1);
    CHECK_NOT_DUE("aEY", "G", "");
    CHECK_NOT_DUE("aEY", "DD1", "answer " ROW_LINE "answer " ROW_LINE);
    CHECK_NOT_DUE("eEY", "G", "");
    CHECK_NOT_DUE("eEY", "H", "");
    CHECK_NOT_DUE("cEY", "C", "");
}

static void
test_unsolicited(void)
{
    CHECK_TALK("", "NAS", NOTICE_LINE NOTIFICATION_LINE PARAMETER_LINE);
    CHECK_TALK("", "E", UNSOLICITED_LINE);
    CHECK_TALK("EY", "CZE", COMPLETE_LINE READY_LINE UNSOLICITED_LINE);
    CHECK_TALK("BEY", "N2ADNDSCNZA",
               NOTICE_LINE "bound\n" NOTIFICATION_LINE ROW_LINE NOTICE_LINE ROW_LINE PARAMETER_LINE
                   COMPLETE_LINE NOTICE_LINE READY_LINE NOTIFICATION_LINE);
    CHECK_TALK("EYEY", "ENASZCZ",
               ERROR_LINE NOTICE_LINE NOTIFICATION_LINE PARAMETER_LINE READY_LINE COMPLETE_LINE
                   READY_LINE);
    for (const char *letter = "123tTnDCIsGHWdcZRKv"; *letter != '\0'; letter++) {
        char one[2] = {*letter, '\0'};
        CHECK_NOT_DUE("", one, "");
    }
}

/* Once the session runs a server may report one name as often as it likes. */
static void
test_many_parameters(void)
{
    struct outcome o;
    BEFORE("", "");
    for (int i = 0; i < 2 * WIRE_PARAMETERS_MAX; i++) {
        serve(&talk, "S");
    }
    talk_run(&talk, &o);
    CHECK_INT(o.status, WIRE_MORE);
    outcome_clear(&o);
    talk_clear(&talk);
}

static void
test_query(void)
{
    CHECK_TALK("Q", "TDDCZ", COLUMNS_LINE ROW_LINE ROW_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("Q", "IZ", "empty\n" READY_LINE);
    CHECK_TALK(
        "Q", "CTCCTDCz",
        COMPLETE_LINE COLUMNS_LINE COMPLETE_LINE COMPLETE_LINE COLUMNS_LINE ROW_LINE COMPLETE_LINE
        "ready E\n");
    CHECK_TALK("Q", "Z", READY_LINE);
    CHECK_TALK("QQ", "CTDEZEZ",
               COMPLETE_LINE COLUMNS_LINE ROW_LINE ERROR_LINE READY_LINE ERROR_LINE READY_LINE);
    CHECK_TALK("Q", "CEZ", COMPLETE_LINE ERROR_LINE READY_LINE);
    CHECK_NOT_DUE("Q", "D", "");
    CHECK_NOT_DUE("Q", "TT", COLUMNS_LINE);
    CHECK_NOT_DUE("Q", "TZ", COLUMNS_LINE);
    CHECK_NOT_DUE("Q", "TDZ", COLUMNS_LINE ROW_LINE);
    CHECK_NOT_DUE("Q", "TI", COLUMNS_LINE);
    CHECK_NOT_DUE("Q", "TDT", COLUMNS_LINE ROW_LINE);
    CHECK_NOT_DUE("Q", "TCD", COLUMNS_LINE COMPLETE_LINE);
    CHECK_NOT_DUE("Q", "TDs", COLUMNS_LINE ROW_LINE);
    CHECK_NOT_DUE("QY", "EC", ERROR_LINE);
    CHECK_NOT_DUE("QY", "ED", ERROR_LINE);
    CHECK_NOT_DUE("QY", "ET", ERROR_LINE);
}

static void
test_copy_out(void)
{
    CHECK_TALK("EY", "HddcCZ",
               "copy out 1/1\ndata line\\0a\ndata line\\0a\ncopy done\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("EY", "HcCZ", "copy out 1/1\ncopy done\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK(
        "EYEY", "HdNEZCZ",
        "copy out 1/1\ndata line\\0a\n" NOTICE_LINE ERROR_LINE READY_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("Q", "HdcCCHcCZ",
               "copy out 1/1\ndata line\\0a\ncopy done\n" COMPLETE_LINE COMPLETE_LINE
               "copy out 1/1\ncopy done\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("Q", "HdEZ", "copy out 1/1\ndata line\\0a\n" ERROR_LINE READY_LINE);
    for (const char *letter = "123tTnDCIsGHWZRKv"; *letter != '\0'; letter++) {
        char answers[3] = {'H', *letter, '\0'};
        CHECK_NOT_DUE("EY", answers, "copy out 1/1\n");
        CHECK_NOT_DUE("Q", answers, "copy out 1/1\n");
    }
    for (const char *letter = "123tTnDIsGHWdcZRKv"; *letter != '\0'; letter++) {
        char answers[4] = {'H', 'c', *letter, '\0'};
        CHECK_NOT_DUE("EY", answers, "copy out 1/1\ncopy done\n");
        CHECK_NOT_DUE("Q", answers, "copy out 1/1\ncopy done\n");
    }
}

/* CopyData of these bytes, and what is behind them, after a first one of one byte. */
static void
check_more_data(wire_slice more, size_t room, const char *text, size_t left)
{
    struct wire_session s;
    struct wire_buffer in, out;
    struct wire_event event;
    uint8_t to[64] = {0};
    wire_session_init(&s);
    wire_buffer_init(&in);
    wire_buffer_init(&out);
    s.phase = WIRE_PHASE_READY;
    CHECK_INT(wire_session_reserve(&s, 1), WIRE_OK);
    wire_session_push(&s, WIRE_STEP_QUERY);
    wire_buffer_put(&in, "H\0\0\0\7\0\0\0d\0\0\0\5x", 14);
    wire_buffer_put(&in, more.ptr, more.len);
    CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_OK);
    CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_OK);
    CHECK_INT(event.kind, WIRE_EV_COPY_DATA);
    CHECK_INT(wire_session_more_data(&s, &in, to, room), strlen(text));
    CHECK_STR((const char *)to, text);
    CHECK_INT(wire_buffer_size(&in) - s.consumed, left);
    wire_buffer_clear(&in, false);
    wire_buffer_clear(&out, false);
    wire_session_clear(&s);
}

static void
test_more_data(void)
{
    static const char two[] = "d\0\0\0\6abd\0\0\0\5cd\0\0\0\4c\0\0\0\4";
    wire_slice all = {(const uint8_t *)two, sizeof(two) - 1};
    check_more_data(all, 60, "abc", 5);
    check_more_data(all, 3, "abc", 5);
    check_more_data(all, 2, "ab", 16);
    check_more_data(all, 1, "", 23);
    check_more_data((wire_slice){all.ptr, 12}, 60, "ab", 5);
    check_more_data((wire_slice){all.ptr, 6}, 60, "", 6);
    check_more_data((wire_slice){all.ptr, 4}, 60, "", 4);
    check_more_data((wire_slice){all.ptr, 0}, 60, "", 0);
    check_more_data((wire_slice){(const uint8_t *)"d\0\0\0\3ab", 7}, 60, "", 7);
    check_more_data((wire_slice){(const uint8_t *)"d\377\377\377\377ab", 7}, 60, "", 7);
}

static void
test_copy_in(void)
{
    CHECK_TALK("EY", "GCZ", "copy in 0/2\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("EY", "GEZ", "copy in 0/2\n" ERROR_LINE READY_LINE);
    CHECK_TALK("Q", "GCGEZ", "copy in 0/2\n" COMPLETE_LINE "copy in 0/2\n" ERROR_LINE READY_LINE);
    for (const char *letter = "123tTnDIsGHWdcZRKv"; *letter != '\0'; letter++) {
        char answers[3] = {'G', *letter, '\0'};
        CHECK_NOT_DUE("EY", answers, "copy in 0/2\n");
        CHECK_NOT_DUE("Q", answers, "copy in 0/2\n");
    }
}

/* For each step every answer that is not one of its own. */
static void
test_wrong_answers(void)
{
    static const struct {
        const char *steps;
        const char *first; /* answers that are due before the wrong one */
        const char *events;
        const char *due;
    } cases[] = {
        {"PY", "", "", "1"},
        {"BY", "", "", "2"},
        {"SY", "", "", "t"},
        {"SY", "t", PARAMS_LINE, "Tn"},
        {"DY", "", "", "Tn"},
        {"EY", "", "", "DCIsGH"},
        {"EY", "D", ROW_LINE, "DCs"},
        {"CY", "", "", "3"},
        {"YY", "", "", "Z"},
        {"QY", "", "", "TCIGHZ"},
        {"QY", "T", COLUMNS_LINE, "DC"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (const char *letter = "123tTnDCIsGHWdcZRKv"; *letter != '\0'; letter++) {
            if (strchr(cases[i].due, *letter) == NULL) {
                char answers[8];
                snprintf(answers, sizeof(answers), "%s%c", cases[i].first, *letter);
                CHECK_NOT_DUE(cases[i].steps, answers, cases[i].events);
            }
        }
    }
}

/* A body that does not fit its message. */
static void
check_malformed(const char *steps, const char *first, char tag, const char *body, size_t len,
                const char *events, int line)
{
    BEFORE(steps, first);
    server_bytes(&talk, tag, body, len);
    check_broken(&talk, events, WIRE_ERR_PROTOCOL, "malformed", line);
}

#define CHECK_MALFORMED(steps, first, tag, body, events)                                           \
    check_malformed(steps, first, tag, body, sizeof(body) - 1, events, __LINE__)

static void
test_malformed(void)
{
    CHECK_MALFORMED("PY", "", '1', "x", "");
    CHECK_MALFORMED("BY", "", '2', "x", "");
    CHECK_MALFORMED("CY", "", '3', "x", "");
    CHECK_MALFORMED("SY", "", 't', "\0\2\0\0\0\x17", "");
    CHECK_MALFORMED("SY", "t", 'T', "\0\1a\0", PARAMS_LINE);
    CHECK_MALFORMED("DY", "", 'T', "", "");
    CHECK_MALFORMED("DY", "", 'n', "x", "");
    CHECK_MALFORMED("EY", "", 'D', "", "");
    CHECK_MALFORMED("EY", "", 'D', "\0", "");
    CHECK_MALFORMED("EY", "", 'C', "SELECT 1", "");
    CHECK_MALFORMED("EY", "", 'C', "SELECT\0x", "");
    CHECK_MALFORMED("EY", "", 'I', "x", "");
    CHECK_MALFORMED("EY", "", 's', "x", "");
    CHECK_MALFORMED("EY", "", 'G', "\0\0", "");
    CHECK_MALFORMED("EY", "", 'H', "\0\0\1", "");
    CHECK_MALFORMED("EY", "H", 'c', "x", "copy out 1/1\n");
    CHECK_MALFORMED("Y", "", 'Z', "", "");
    CHECK_MALFORMED("Y", "", 'Z', "X", "");
    CHECK_MALFORMED("Y", "", 'Z', "II", "");
    CHECK_MALFORMED("Q", "", 'T', "\xFF\xFF", "");
    CHECK_MALFORMED("", "", 'E', "", "");
    CHECK_MALFORMED("", "", 'N', "Sx", "");
    CHECK_MALFORMED("", "", 'A', "\0\0\0\1ch\0", "");
    CHECK_MALFORMED("", "", 'S', "TimeZone\0", "");
}

/* Cells that are wrong inside a whole row are not the session's business. */
static void
test_bad_cells_pass(void)
{
    struct outcome o;
    BEFORE("EY", "");
    SERVER(&talk, 'D', "\0\1\0\0\0\x09x");
    SERVER(&talk, 'D', "\0\0x");
    serve(&talk, "CZ");
    talk_run(&talk, &o);
    CHECK_STR((const char *)o.transcript.data, "row bad\nrow junk\n" COMPLETE_LINE READY_LINE);
    outcome_clear(&o);
    talk_clear(&talk);
}

static void
test_bad_frames(void)
{
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = "EY"};
    serve(&talk, "D");
    wire_buffer_put(&talk.server, "D\0\0\0\3", 5);
    CHECK_BROKEN(&talk, ROW_LINE, WIRE_ERR_PROTOCOL, "impossible length");
    wire_buffer_init(&talk.server);
    wire_buffer_put(&talk.server, "D\x40\0\0\0", 5);
    CHECK_BROKEN(&talk, "", WIRE_ERR_LIMIT, "longer");
    wire_buffer_init(&talk.server);
    wire_buffer_put(&talk.server, "C\0\0\x75\x31", 5);
    CHECK_BROKEN(&talk, "", WIRE_ERR_LIMIT, "longer");
    wire_buffer_init(&talk.server);
    wire_buffer_put(&talk.server, "", 1);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "unknown message type 0x00");
}

/* Before authentication a server cannot make us wait for a long message. */
static void
test_long_error(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    wire_buffer_put(&talk.server, "E\0\1\0\1", 5);
    CHECK_BROKEN(&talk, "", WIRE_ERR_LIMIT, "longer");
    talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    serve(&talk, "R");
    wire_buffer_put(&talk.server, "E\0\1\0\1SX\0", 8); /* later on that is waited for */
    struct outcome o;
    talk_run(&talk, &o);
    CHECK_INT(o.status, WIRE_MORE);
    outcome_clear(&o);
    talk_clear(&talk);
}

/* The ring of steps */

static void
test_ring(void)
{
    struct wire_session s;
    struct wire_buffer in, out;
    struct outcome o = {.status = WIRE_MORE};
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = ""};
    size_t waiting = 0, answered = 0, pushed = 0;
    wire_buffer_init(&in);
    wire_buffer_init(&out);
    start(&s, &out, &talk);
    skip_startup(&s, &o, "");
    /* Pushes and answers take turns: the ring wraps around many times, and grows now
     * and then in the middle of its turn. Parse and Close tell an order that broke. */
    for (unsigned round = 0; round < 400; round++) {
        size_t n = round % 50 == 49 ? 200 : 7;
        CHECK_INT(wire_session_reserve(&s, n), WIRE_OK);
        for (size_t i = 0; i < n; i++) {
            wire_session_push(&s, pushed++ % 3 == 0 ? WIRE_STEP_PARSE : WIRE_STEP_CLOSE);
        }
        waiting += n;
        CHECK_INT(s.steps_count, waiting);
        for (size_t i = 0; i < 9 && waiting > 0; i++, waiting--) {
            wire_buffer_put(&in, answered++ % 3 == 0 ? "1\0\0\0\4" : "3\0\0\0\4", 5);
        }
        struct wire_event event;
        enum wire_status status;
        while ((status = wire_session_next(&s, &in, &out, &event)) == WIRE_OK) {
        }
        CHECK_INT(status, WIRE_MORE);
    }
    CHECK((s.steps_cap & (s.steps_cap - 1)) == 0);
    CHECK(s.steps_cap < 4096);
    CHECK_INT(s.steps_count, waiting);
    wire_session_clear(&s);
    wire_buffer_clear(&in, false);
    wire_buffer_clear(&out, false);
    outcome_clear(&o);
}

static void
test_ring_limit(void)
{
    struct wire_session s;
    wire_session_init(&s);
    CHECK_INT(wire_session_reserve(&s, SIZE_MAX), WIRE_ERR_MEMORY);
    CHECK_INT(wire_session_reserve(&s, ((size_t)1 << 28) + 1), WIRE_ERR_MEMORY);
    CHECK_INT(s.steps_cap, 0);
    CHECK_INT(wire_session_reserve(&s, 0), WIRE_OK);
    CHECK_INT(wire_session_reserve(&s, 33), WIRE_OK);
    CHECK_INT(s.steps_cap, 64);
    wire_session_push(&s, WIRE_STEP_SYNC);
    CHECK_INT(wire_session_reserve(&s, SIZE_MAX), WIRE_ERR_MEMORY);
    CHECK_INT(wire_session_reserve(&s, 63), WIRE_OK);
    CHECK_INT(s.steps_cap, 64);
    CHECK_INT(wire_session_reserve(&s, 64), WIRE_OK);
    CHECK_INT(s.steps_cap, 128);
    CHECK_INT(s.steps_count, 1);
    wire_session_clear(&s);
}

/* The transaction status is that of the last ReadyForQuery. */
static void
test_transaction_status(void)
{
    struct wire_session s;
    struct wire_buffer in, out;
    struct wire_event event;
    wire_session_init(&s);
    CHECK_INT(s.transaction_status, 'I');
    wire_session_clear(&s);
    struct outcome o = {.status = WIRE_MORE};
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = "YYY"};
    wire_buffer_init(&in);
    wire_buffer_init(&out);
    start(&s, &out, &talk);
    skip_startup(&s, &o, talk.steps);
    for (const char *status = "TEI"; *status != '\0'; status++) {
        wire_buffer_put(&in, "Z\0\0\0\5", 5);
        wire_buffer_put_u8(&in, (uint8_t)*status);
        CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_OK);
        CHECK_INT(event.transaction_status, *status);
        CHECK_INT(s.transaction_status, *status);
    }
    wire_session_clear(&s);
    wire_buffer_clear(&in, false);
    wire_buffer_clear(&out, false);
    outcome_clear(&o);
}

int
main(void)
{
    test_steps();
    test_pipeline();
    test_pipeline_error();
    test_error_at_sync();
    test_sets();
    test_sets_not_due();
    test_open();
    test_open_and_close();
    test_segment();
    test_segment_not_due();
    test_riders();
    test_unsolicited();
    test_many_parameters();
    test_query();
    test_copy_out();
    test_more_data();
    test_copy_in();
    test_wrong_answers();
    test_malformed();
    test_bad_cells_pass();
    test_bad_frames();
    test_long_error();
    test_ring();
    test_ring_limit();
    test_transaction_status();
    return check_done();
}
