/* What a text does to its session, by its words: those of a statement's beginning, and a few
 * that tell wherever they stand. Strings, comments and dollar quotes are passed over. */
#include "taint.h"

#include <string.h>

/* So many tokens are looked at for the end of set_config(…). */
#define ARGUMENT_TOKENS_MAX 256
/* NAMEDATALEN - 1: the server cuts names. */
#define NAME_BYTES_MAX 63

enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_OTHER };

/* A word or a quoted name: without its quotes. Other tokens: their first sign. */
struct token {
    enum token_kind kind;
    const char *ptr;
    size_t len;
};

struct lexer {
    const char *p;
    const char *end;
};

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_word_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

static bool
is_word_part(char c)
{
    return is_word_start(c) || (c >= '0' && c <= '9') || c == '$';
}

/* Behind a comment that began at lexer.p, which may hold others. */
static void
lexer_skip_block(struct lexer *lexer)
{
    size_t depth = 0;
    while (lexer->p < lexer->end) {
        bool two = lexer->p + 1 < lexer->end;
        if (two && lexer->p[0] == '/' && lexer->p[1] == '*') {
            depth += 1;
            lexer->p += 2;
        }
        else if (two && lexer->p[0] == '*' && lexer->p[1] == '/') {
            depth -= 1;
            lexer->p += 2;
            if (depth == 0) {
                return;
            }
        }
        else {
            lexer->p += 1;
        }
    }
}

static void
lexer_skip_spaces(struct lexer *lexer)
{
    while (lexer->p < lexer->end) {
        bool two = lexer->p + 1 < lexer->end;
        if (is_space(*lexer->p)) {
            lexer->p += 1;
        }
        else if (two && lexer->p[0] == '-' && lexer->p[1] == '-') {
            const char *line = memchr(lexer->p, '\n', (size_t)(lexer->end - lexer->p));
            lexer->p = line == NULL ? lexer->end : line;
        }
        else if (two && lexer->p[0] == '/' && lexer->p[1] == '*') {
            lexer_skip_block(lexer);
        }
        else {
            return;
        }
    }
}

/* Behind what began with a quote at lexer.p. A doubled one is read as the end of one text
 * and the beginning of the next. */
static void
lexer_skip_quoted(struct lexer *lexer, char quote, bool escapes)
{
    for (lexer->p += 1; lexer->p < lexer->end; lexer->p++) {
        if (escapes && *lexer->p == '\\') {
            lexer->p += 1;
        }
        else if (*lexer->p == quote) {
            lexer->p += 1;
            return;
        }
    }
    lexer->p = lexer->end;
}

/* Behind $tag$…$tag$; behind the sign alone where it is none. */
static void
lexer_skip_dollars(struct lexer *lexer)
{
    const char *tag = lexer->p;
    const char *p = tag + 1;
    while (p < lexer->end && is_word_part(*p) && *p != '$') {
        p++;
    }
    lexer->p += 1;
    if (p == lexer->end || *p != '$' || (tag[1] >= '0' && tag[1] <= '9')) {
        return;
    }
    size_t len = (size_t)(p + 1 - tag);
    for (p += 1; (size_t)(lexer->end - p) >= len; p++) {
        p = memchr(p, '$', (size_t)(lexer->end - p));
        if (p == NULL || (size_t)(lexer->end - p) < len) {
            break;
        }
        if (memcmp(p, tag, len) == 0) {
            lexer->p = p + len;
            return;
        }
    }
    lexer->p = lexer->end;
}

static struct token
lexer_next(struct lexer *lexer)
{
    lexer_skip_spaces(lexer);
    struct token token = {TOKEN_OTHER, lexer->p, 1};
    if (lexer->p == lexer->end) {
        token.kind = TOKEN_END;
    }
    else if (is_word_start(*lexer->p)) {
        while (lexer->p < lexer->end && is_word_part(*lexer->p)) {
            lexer->p += 1;
        }
        token.len = (size_t)(lexer->p - token.ptr);
        token.kind = TOKEN_WORD;
        if (lexer->p < lexer->end && *lexer->p == '\'' && token.len == 1) {
            lexer_skip_quoted(lexer, '\'', (*token.ptr | 0x20) == 'e');
            token.kind = TOKEN_OTHER;
        }
    }
    else if (*lexer->p == '"') {
        lexer_skip_quoted(lexer, '"', false);
        token.kind = TOKEN_QUOTED;
        token.ptr += 1;
        size_t whole = (size_t)(lexer->p - token.ptr);
        token.len = whole > 0 && lexer->p[-1] == '"' ? whole - 1 : whole;
    }
    else if (*lexer->p == '\'') {
        lexer_skip_quoted(lexer, '\'', false);
    }
    else if (*lexer->p == '$') {
        lexer_skip_dollars(lexer);
    }
    else {
        lexer->p += 1;
    }
    return token;
}

/* `word` is in lower case. */
static bool
token_is(const struct token *token, const char *word)
{
    size_t len = strlen(word);
    if ((token->kind != TOKEN_WORD && token->kind != TOKEN_QUOTED) || token->len != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = token->ptr[i];
        if ((c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c) != word[i]) {
            return false;
        }
    }
    return true;
}

static bool
token_is_sign(const struct token *token, char sign)
{
    return token->kind == TOKEN_OTHER && *token->ptr == sign;
}

static bool
token_is_one_of(const struct token *token, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (token_is(token, *words)) {
            return true;
        }
    }
    return false;
}

/* Behind the word set_config: whether its last argument is the word true, which makes it
 * SET LOCAL. */
static bool
call_is_local(struct lexer lexer)
{
    struct token token = lexer_next(&lexer);
    if (!token_is_sign(&token, '(')) {
        return true; /* no call */
    }
    size_t depth = 1, tokens = 0;
    bool last = false;
    for (size_t i = 0; i < ARGUMENT_TOKENS_MAX; i++) {
        token = lexer_next(&lexer);
        if (token.kind == TOKEN_END) {
            return true; /* no statement */
        }
        if (token_is_sign(&token, '(')) {
            depth += 1;
        }
        else if (token_is_sign(&token, ')')) {
            depth -= 1;
            if (depth == 0) {
                return last && tokens == 1;
            }
        }
        else if (depth == 1 && token_is_sign(&token, ',')) {
            tokens = 0;
            continue;
        }
        tokens += 1;
        last = token_is(&token, "true");
    }
    return false;
}

/* A statement, while its tokens go by. */
struct reading {
    unsigned taints;
    struct token first;
    struct token second;
    struct token before[2]; /* the last one, and the one before that */
    bool temp;       /* CREATE TEMP */
    bool vanishes;   /* ON COMMIT DROP */
};

static unsigned
taint_of_set(const struct token *name)
{
    static const char *const transaction[] = {"local", "transaction", "constraints", NULL};
    static const char *const roles[] = {"role", "session", "session_authorization", NULL};
    if (name->kind == TOKEN_WORD && token_is_one_of(name, transaction)) {
        return 0;
    }
    return token_is_one_of(name, roles) ? TAINT_SETTINGS | TAINT_ROLE : TAINT_SETTINGS;
}

/* By the two words that it begins with. */
static unsigned
taint_of_beginning(const struct reading *reading)
{
    static const char *const opaque[] = {"do", "call", NULL};
    const struct token *first = &reading->first;
    const struct token *second = &reading->second;
    if (token_is(first, "set")) {
        return taint_of_set(second);
    }
    if (token_is(first, "reset") || (token_is(first, "discard") && token_is(second, "all"))) {
        return TAINT_SETTINGS | TAINT_ROLE; /* what init had set may be gone */
    }
    if (token_is(first, "listen")) {
        return TAINT_LISTEN;
    }
    if (token_is(first, "prepare") && !token_is(second, "transaction")) {
        return TAINT_PREPARED;
    }
    return token_is_one_of(first, opaque) ? TAINT_OPAQUE : 0;
}

static bool
is_locking(const struct token *token)
{
    static const char *const locks[] = {"pg_advisory_lock", "pg_advisory_lock_shared",
                                        "pg_try_advisory_lock", "pg_try_advisory_lock_shared",
                                        NULL};
    return token_is_one_of(token, locks);
}

static void
reading_note_temp(struct reading *reading, const struct token *before)
{
    static const char *const kinds[] = {"create", "replace", "local", "global", NULL};
    if (token_is_one_of(before, kinds)) {
        reading->temp = true;
    }
    if (token_is(before, "into") && !token_is(&reading->first, "insert")) {
        reading->taints |= TAINT_TEMP;
    }
}

/* A word, wherever it stands. */
static void
reading_take_word(struct reading *reading, const struct token *token, const struct lexer *lexer)
{
    const struct token *before = &reading->before[0];
    switch (*token->ptr | 0x20) {
    case 'd':
        reading->vanishes = reading->vanishes
                            || (token_is(token, "drop") && token_is(before, "commit")
                                && token_is(&reading->before[1], "on"));
        break;
    case 'h':
        if (token_is(token, "hold") && token_is(before, "with")) {
            reading->taints |= TAINT_CURSORS;
        }
        break;
    case 'p':
        if (is_locking(token)) {
            reading->taints |= TAINT_LOCKS;
        }
        else if (token_is(token, "pg_temp")) {
            reading->taints |= TAINT_TEMP;
        }
        else if (token_is(token, "pg_settings") && !token_is(&reading->first, "select")) {
            reading->taints |= TAINT_SETTINGS | TAINT_ROLE; /* UPDATE does what SET does */
        }
        break;
    case 's':
        if (token_is(token, "set_config") && !call_is_local(*lexer)) {
            reading->taints |= TAINT_SETTINGS | TAINT_ROLE;
        }
        break;
    case 't':
        if (token_is(token, "temp") || token_is(token, "temporary")) {
            reading_note_temp(reading, before);
        }
        break;
    default:
        break;
    }
}

static unsigned
reading_end(const struct reading *reading)
{
    unsigned taints = reading->taints | taint_of_beginning(reading);
    return reading->temp && !reading->vanishes ? taints | TAINT_TEMP : taints;
}

unsigned
taint_of_text(const char *sql, size_t len)
{
    struct lexer lexer = {sql, sql + len};
    struct reading reading = {0};
    unsigned taints = 0;
    for (;;) {
        struct token token = lexer_next(&lexer);
        if (token.kind == TOKEN_END || token_is_sign(&token, ';')) {
            taints |= reading_end(&reading);
            if (token.kind == TOKEN_END) {
                return taints;
            }
            reading = (struct reading){0};
            continue;
        }
        if (reading.first.kind == TOKEN_END) {
            reading.first = token;
        }
        else if (reading.second.kind == TOKEN_END) {
            reading.second = token;
        }
        if ((token.kind == TOKEN_WORD || token.kind == TOKEN_QUOTED) && token.len > 0) {
            reading_take_word(&reading, &token, &lexer);
        }
        reading.before[1] = reading.before[0];
        reading.before[0] = token;
    }
}

/* How many bytes of a name the server keeps. */
static size_t
name_cut(const char *name, size_t len)
{
    if (len <= NAME_BYTES_MAX) {
        return len;
    }
    for (len = NAME_BYTES_MAX; len > 0 && (name[len] & 0xC0) == 0x80; len--) {
    }
    return len;
}

void
taint_put_prepared(const char *sql, size_t len, struct wire_buffer *names)
{
    struct lexer lexer = {sql, sql + len};
    struct token token = lexer_next(&lexer);
    if (!token_is(&token, "prepare")) {
        return;
    }
    token = lexer_next(&lexer);
    if (token.kind == TOKEN_OTHER || token.kind == TOKEN_END) {
        return;
    }
    char name[NAME_BYTES_MAX + 1];
    size_t kept = 0;
    for (;;) {
        for (size_t i = 0; i < token.len && kept < sizeof(name); i++) {
            char c = token.ptr[i];
            bool upper = token.kind == TOKEN_WORD && c >= 'A' && c <= 'Z';
            name[kept++] = upper ? (char)(c | 0x20) : c;
        }
        if (token.kind == TOKEN_WORD || lexer.p == lexer.end || *lexer.p != '"') {
            break;
        }
        token = lexer_next(&lexer); /* two quotes stand for one */
        token.ptr -= 1;
        token.len += 1;
    }
    kept = name_cut(name, kept);
    name[kept] = '\0';
    wire_buffer_put(names, name, kept + 1); /* all of it or, without memory, nothing */
}
