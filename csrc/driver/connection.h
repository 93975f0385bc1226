/* The connection: a descriptor, a transport, a session, and the queue of
 * operations. Its code lives in these files:
 *   connection.c  giving up, closing, waking
 *   loops.c  who may use it, and moving to another event loop
 *   connection_type.c  the Python type: birth, death, attributes
 *   request.c     operation → bytes
 *   cold.c        statements that are not prepared yet
 *   descriptions.c  and what the process knows of them
 *   pooled.c      whether there is a pooler
 *   rider.c       statements in front of a request
 *   write.c       bytes → socket
 *   bind.c        values → Bind
 *   many.c, feed.c  one statement for many sets of parameters
 *   pipeline.c    several statements under one Sync
 *   hints.c       parameters whose type only their value tells
 *   lookup.c      types that have to be asked for first
 *   flow.c        not more than can be taken, either way
 *   copy.c        COPY, and the data that go in
 *   declared.c    cursors of SQL
 *   pool.c        between two users of a pooled connection
 *   block.c       waiting while the connection belongs to another task's transaction
 *   copyout.c     the data that come out of one
 *   copyreader.c  rows made of them
 *   outcome.c     what became of requests when the session ends
 *   doubt.c       types that do not take the values they are given
 *   stale.c       statements that are not what they were
 *   taint.c, tainttext.c  what the next user must not see
 *   pump.c        bytes → events → operations
 *   trace.c       what goes by, in words
 *   connection_methods.c  what Python calls to make a request */
#ifndef DRIVER_CONNECTION_H
#define DRIVER_CONNECTION_H

#include "operation.h"
#include "rows.h"
#include "stmtcache.h"

#include "../net/stream.h"
#include "../wire/session.h"

/* Bytes read in one turn of the loop before others get theirs. */
#define CONN_TURN_BYTES (256 * 1024)
#define CONN_READ_ROOM 8192
#define CONN_KEEP_BYTES (64 * 1024)
/* Bytes that are not kept back for those of other requests: asked for in one turn of the
 * loop; and by tasks that are woken in a row, when the server may begin meanwhile. */
#define WRITE_TURN_BYTES (16 * 1024)
#define WRITE_WAKING_BYTES (2 * 1024)

struct op_queue {
    struct operation *head;
    struct operation *tail;
};

/* What belongs to one Sync; see pipeline.h. */
struct segment {
    struct op_queue waiting; /* of it, not encoded yet */
    PyObject *error; /* why nothing more of it runs, or NULL */
    bool open;   /* the connection is its own */
    bool begun;  /* something of it has been encoded */
    bool failed; /* the server skips to its Sync */
    bool cut;    /* its Sync has been sent before its owner asked for it */
};

struct connection {
    PyObject_HEAD
    struct core_state *st;
    PyObject *loop;
    PyObject *link;
    PyObject *parameters; /* {name: value} of ParameterStatus */
    PyObject *begin_sql;  /* str: opens a transaction when autocommit is off */
    PyObject *begin_due;  /* what begin() asked for, see rider.h, or NULL */
    struct codec_options options;
    PyObject *lost_error;   /* why the connection is closed, or NULL */
    PyObject *fatal_fields; /* of the server's last words, or NULL */
    PyObject *farewell;     /* fields of a warning that the session ends, or NULL */
    enum wire_status lost_status;
    int lost_errno;
    char lost_message[WIRE_ERROR_TEXT_MAX];
    struct net_stream stream; /* fd -1 once closed */
    PyObject *tls_bridge;     /* what does TLS in Python for `stream`, or NULL */
    struct wire_session session;
    struct wire_buffer in;
    struct wire_buffer out;
    struct op_queue sent;     /* in flight, in order; owns a reference each */
    struct op_queue deferred; /* not encoded yet */
    struct segment segment;   /* of a pipeline */
    int pipelines;            /* how many are open */
    bool foreseeing;          /* descriptions of several statements go out together */
    struct op_queue drains;   /* wait until `out` is short: not requests */
    struct op_queue outsiders; /* wait until the block has ended */
    struct operation *fed;    /* those whose sets come by and by: see many.h; borrowed */
    struct op_queue ready;    /* done, to be woken when the pump ends */
    PyObject *block;          /* the transaction() block that owns it, or NULL: see block.h */
    size_t in_flight;         /* length of `sent` */
    size_t abandoned;         /* of those, given up */
    struct operation *lookup; /* a question about types that is in flight, borrowed */
    struct operation *waiter; /* the operation that it is for; owned */
    struct op_queue unread;   /* have run, and wait for types behind that lookup */
    struct operation *encoding; /* whose codecs may be running Python now, borrowed: nothing
                                   else may be encoded */
    PyObject *lookup_sql;     /* the question that an operation turned out to need, or NULL */
    PyObject *claims;         /* {task: text} of streams that tasks have open, or NULL */
    PyObject *missing;        /* list of the OIDs that a decoder found no codec for */
    struct operation *healing; /* the first of those held back, only ever compared; NULL:
                                  nothing is held back */
    struct stmtcache cache;
    PyObject *catalog;   /* of descriptions: see descriptions.h; NULL or None: nobody's */
    uint64_t cold_since; /* ns: when the last description was asked for */
    unsigned long schema_age; /* counts the changes of the schema that concern it alone */
    int schema_changed;       /* by the transaction under way: see stale.c */
    struct codec_book book;
    struct conn_trace *trace; /* NULL: nothing is traced */
    unsigned tainted;         /* enum taint: what has been done to the session */
    PyObject *resets;         /* tuple of (sql, parameters): undo it in front of the next
                                 request; or NULL */
    PyObject *settings_log;   /* list of (sql, parameters) of what changes settings, or NULL */
    struct wire_buffer prepared; /* names of PREPARE, to be closed then */
    unsigned long thread;
    unsigned long fork_generation;
    uint32_t backend_pid;
    uint8_t backend_key[WIRE_CANCEL_KEY_MAX];
    size_t backend_key_len;
    unsigned long asked; /* requests sent since lend(), but for resets */
    const struct operation *sole;   /* all that was in flight at the end, or behind a reset;
                                       only ever compared */
    const struct operation *unsent; /* the first of those of which no byte has left, only ever
                                      compared; NULL: there is none, or they are not known */
    int write_error;  /* errno of a failed write; the reader finds out the rest */
    bool started;     /* the first ReadyForQuery has come */
    bool closed;      /* nothing may be asked of it any more */
    bool writer_on;
    bool write_soon;  /* the loop has been asked to call _write_soon() */
    bool waking;      /* tasks run, whose requests are written when all have been woken */
    bool moving;      /* to another loop: nobody may use it */
    bool pumping;
    bool paused;   /* nothing is read: a stream has enough, and the reader is off */
    bool backlog;  /* the turn was over before all of `in` was handled */
    bool pump_due; /* the loop has been asked to run the pump */
    bool pump_late; /* and has called the reader since, which left it to that */
    uint16_t look_every; /* events handled between two looks at the clock, 1 or more */
    uint64_t turn_began; /* ns; 0: nobody has looked yet in this turn */
    uint64_t looked;     /* ns: the last look */
    bool cancelling;  /* CancelRequests are out: nothing new is sent */
    bool autocommit;
    bool unnamed;     /* statements are given no names: another session may run them, and
                         each flight carries its Parse */
    bool detects;     /* and that is found out, not said */
    bool asking;      /* by a question that is due: see pooled.h */
    bool path_changed; /* it has had another search_path */
    bool temp_made;    /* it has made a temporary table */
    bool path_counts; /* and a statement was stale after that */
    bool begun;       /* a transaction is open, or its BEGIN is under way */
};

/* connection.c */

/* Closes for good: every operation fails with an exception of its own that says
 * what became of it, and link.lost is told. `why`: WIRE_OK = the peer or the
 * transport is gone (`error_number`: errno or 0), else what the session says. */
void
conn_fail(struct connection *conn, enum wire_status why, const char *message, int error_number);

/* The exception of a closed connection: a new reference. `op` may be NULL. */
PyObject *conn_loss(struct connection *conn, const struct operation *op);

/* Asks link for a CancelRequest when all that is in flight has been given up, or what has
 * not is part of a segment and awaited by nobody. */
void conn_check_cancel(struct connection *conn);

/* Removes the reader and the writer, closes the descriptor. Idempotent. */
void conn_detach(struct connection *conn);

/* Takes `op` out of the view of whoever awaits it: with `error` (borrowed) that is
 * what is raised, without, CancelledError. In flight it stays in the queue to be
 * drained; not sent, it is removed. No-op when done. */
void conn_abandon(struct operation *op, PyObject *error);

/* Calls loop.<method>(fd), with the bound method named `callback` behind it unless
 * that is NULL: add_reader, remove_reader, add_writer, remove_writer. -1 with an
 * exception. */
int conn_watch(struct connection *conn, PyObject *method, PyObject *callback);

/* Marks `op` done and lets its waiter run: at the end of the pump, or soon. */
void conn_finish(struct connection *conn, struct operation *op);

/* Wakes what is in `ready`, and writes what that leads to. -1 for a KeyboardInterrupt or
 * SystemExit. */
int conn_wake_ready(struct connection *conn);

/* Calls link.<name>(…); what it raises is reported, not raised: -1 then. Steals the args
 * tuple. */
int conn_tell(struct connection *conn, PyObject *name, PyObject *args);

/* Methods of the Python type that end it, and those that the loop calls; see _core.pyi. */
PyObject *Connection_terminate(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);
PyObject *Connection_detach(struct connection *conn, PyObject *unused);
PyObject *Connection_adopt(struct connection *conn, PyObject *unused);
PyObject *Connection_cancel_finished(struct connection *conn, PyObject *unused);
PyObject *Connection_on_readable(struct connection *conn, PyObject *unused);
PyObject *Connection_pump_again(struct connection *conn, PyObject *unused);
PyObject *Connection_on_writable(struct connection *conn, PyObject *unused);

/* loops.c */

/* Checks that the caller may use the connection: this process, this loop, open. An
 * idle connection of another loop moves to the caller's. -1 with an InterfaceError or
 * ConnectionLost. */
int conn_enter(struct connection *conn);

/* Sets the InterfaceError of a connection that another thread has moved to its loop since
 * the caller came in by conn_enter(). Returns -1. */
int conn_refuse_moved(struct connection *conn);

/* Whether the connection's loop is the one that runs in this thread; then it is known to
 * be there from now on. Asks Python. */
bool conn_is_here(struct connection *conn);

/* Whether the connection was last used in another thread: its loop is most likely there. */
static inline bool
conn_is_elsewhere(const struct connection *conn)
{
    return conn->thread != PyThread_get_thread_ident();
}

/* What a loop answers to is_closed() or is_running(); true when it cannot answer. */
bool conn_asks_loop(PyObject *loop, PyObject *question);

/* Whether this is a child of the process that opened the connection. */
static inline bool
conn_is_forked(const struct connection *conn)
{
    return conn->fork_generation != conn->st->fork_generation;
}

/* connection_type.c */

/* Makes the type and adds it to the module; -1 with an exception. */
int conn_type_init(struct core_state *st, PyObject *module);

/* _core.attach(); see _core.pyi. */
PyObject *core_attach(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* request.c */

/* Sends `op` now if nothing is in its way, else queues it. -1 with an exception:
 * nothing was sent, nothing is queued. Takes its own references. */
int conn_submit(struct connection *conn, struct operation *op);

/* Sends an OP_SYNC or OP_RESET that nobody awaits. -1 with an exception. */
int conn_send_alone(struct connection *conn, struct operation *op);

#define REQUEST_WAITS (-2)

/* Second flight of an operation whose statement has been described. -1 with an
 * exception; REQUEST_WAITS: types have to be looked up first, see conn_park. */
int conn_encode_execution(struct connection *conn, struct operation *op);

/* Puts the operation at the head of `sent`, of which nothing is in flight any more, back
 * in front of those to be sent. */
void conn_defer(struct connection *conn, struct operation *op);

/* The same, and has the types that its statement needs looked up. On failure it ends
 * with an error. */
void conn_park(struct connection *conn, struct operation *op);

/* The second half of that, for one that is in front of those to be sent. */
void conn_await_lookup(struct connection *conn, struct operation *op);

/* Sends deferred operations as far as nothing is in their way. */
void conn_start_deferred(struct connection *conn);

/* write.c */

/* Writes what the socket takes; the writer is registered for the rest. */
void conn_flush(struct connection *conn);

/* `op` has been encoded: writes it now, or together with others in this turn of the loop. */
void conn_write(struct connection *conn, const struct operation *op);

/* Writes what conn_write() has kept back, if anything. */
void conn_write_now(struct connection *conn);

/* What conn_write() has the loop call; see _core.pyi. */
PyObject *Connection_write_soon(struct connection *conn, PyObject *unused);

/* Has the loop call _on_writable as long as it is on. */
void conn_set_writer(struct connection *conn, bool on);

/* hints.c */

/* The type OIDs for Parse; returns how many were written. */
size_t conn_hints(const struct operation *op, uint32_t hints[WIRE_PARAMETERS_HINTED_MAX]);

/* Whether the operation's values are of the types that the statement was parsed with. If
 * not, the operation has better hints. */
bool conn_hints_fit(struct connection *conn, struct operation *op, const struct statement *stmt);

/* After "could not determine data type of parameter $n": gives the operation a type for
 * it by its value. False: there is none to be had. */
bool conn_infer_parameter(struct connection *conn, struct operation *op);

/* lookup.c */

/* codec_ctx.find of a connection. */
const struct codec *conn_find_codec(struct codec_ctx *ctx, uint32_t oid);

/* The list of missing OIDs, of which there is a new, empty one then: a new reference,
 * NULL with an exception. */
PyObject *conn_take_missing(struct connection *conn);

/* Asks link for the types (a list of OIDs): *sql is the question that the server must
 * be asked (a new reference), or NULL when everything is there now. -1 with an exception. */
int conn_ask_types(struct connection *conn, PyObject *oids, PyObject **sql);

/* Finds the codecs of the operation's statement anew, in a copy of its own, if they
 * have changed. -1 with an exception. */
int conn_refresh_statement(struct connection *conn, struct operation *op);

/* The same before the statement runs. REQUEST_WAITS: types have to be looked up first, by
 * conn->lookup_sql; -1 with an exception. */
int conn_resolve_statement(struct connection *conn, struct operation *op);

/* Sends the question; `waiter` waits for its end. -1 with an exception. */
int conn_lookup_start(struct connection *conn, struct operation *waiter, PyObject *sql);

/* Sends conn->lookup, if it could not be sent so far and now can be. */
void conn_lookup_late(struct connection *conn);

/* Stands for the codec of a column whose type is looked up when the rows are there; they
 * come in this format. */
const struct codec *conn_codec_to_come(unsigned format);

/* Keeps a row whose types are missing, to be decoded later. -1 with an exception. */
int conn_postpone_row(struct connection *conn, struct operation *op, struct wire_reader cells);

/* At the end of an operation with postponed rows. True: it has to wait for a lookup,
 * and is not in the queue any more; false: its rows are complete, or its error is set. */
bool conn_await_types(struct connection *conn, struct operation *op);

/* The lookup, which has left the queue, is over. */
void conn_lookup_done(struct connection *conn, struct operation *op);

/* `op` has been given up: if a lookup was for it, that is given up too. True: it had
 * run already, and there is nothing else to be done. */
bool conn_abandon_waiter(struct connection *conn, struct operation *op);

/* stale.c */

/* The age of the schema as this connection knows it; it only grows. */
static inline unsigned long
conn_schema_age(const struct connection *conn)
{
    return conn->st->schema_age + conn->schema_age;
}

/* Statements of all connections may have changed. */
void conn_schema_moves(struct connection *conn);

/* A command has succeeded: notes what it may have changed. */
void conn_note_command(struct connection *conn, const struct operation *op);

/* search_path is about to be changed until the end of the transaction; `sent`: in this
 * flight. */
void conn_note_path(struct connection *conn, bool sent);

/* The transaction in which conn->schema_changed was set has ended with `op`. */
void conn_settle_schema(struct connection *conn, const struct operation *op);

/* Whether a statement that is older than the schema may be tried: it would be healed. */
bool conn_trusts(const struct connection *conn, struct operation *op, struct statement *stmt);

/* The server refuses what belongs to `op`. Notes in it whether it has certainly not run,
 * and whether a statement prepared anew may be the remedy; that is out of the cache then.
 * True: the error is one that no statement has which was prepared just now. */
bool conn_note_refusal(struct connection *conn, struct operation *op, PyObject *fields, bool rider);

/* Whether nothing has run but a BEGIN of its own, so that the operation may be sent again:
 * its answer is over. */
bool conn_may_retry(const struct connection *conn, const struct operation *op);

/* Sends it again; as conn_encode_execution. */
int conn_retry(struct connection *conn, struct operation *op);

/* The same before the ReadyForQuery of its failure has come: it is known what that will say. */
bool conn_may_retry_early(const struct connection *conn, const struct operation *op);
int conn_retry_early(struct connection *conn, struct operation *op);

/* At the end of an operation with op->stale, or while others are held back. True: it will
 * be sent again. */
bool conn_heal(struct connection *conn, struct operation *op);

/* Those that are held back fail with what the server said to them. */
void conn_heal_none(struct connection *conn);

/* pump.c */

/* The first flight of the head of `sent` is over. True: the second one is out, or its turn
 * comes later. */
bool conn_described(struct connection *conn, struct operation *op);

/* The statement of `op` is described: the connection knows it from now on. False: the
 * operation has an error. */
bool conn_remember(struct connection *conn, struct operation *op);

/* The head of `sent` has had its whole answer: it leaves the queue. False: it waits for
 * types that have to be looked up. */
bool conn_complete(struct connection *conn, struct operation *op);

/* After operations have left `sent`: sees to those that were given up. */
static inline void
conn_note_abandoned(struct connection *conn)
{
    if (conn->abandoned > 0) {
        conn_check_cancel(conn);
    }
}

/* After another flight was encoded, with its status. True: it is out, or its turn comes
 * later. */
bool conn_went_on(struct connection *conn, struct operation *op, int status);

/* Whether the text (str, or NULL) begins with a word (in lower case), whatever comments and
 * spaces stand in front. */
bool sql_begins(PyObject *sql, const char *word);

/* The same for COMMIT and END. */
bool sql_is_commit(PyObject *sql);

/* Whether the text (str, or NULL) has this word somewhere, in any case. */
bool sql_mentions(PyObject *sql, const char *word);

/* Decodes a row into the operation's result; see rows.h. */
enum rows_status
op_decode_row(struct connection *conn, struct operation *op, struct wire_reader cells);

/* Reads and handles what is there, up to CONN_TURN_BYTES and FLOW_TURN_NS. Never raises. */
void conn_pump(struct connection *conn);

/* Has the pump run in the loop's next turn, whether the loop finds the descriptor
 * readable or not: uvloop calls the reader of a socket that an RST has reached
 * once more and then never again. */
void conn_pump_soon(struct connection *conn);

/* trace.c */

/* Traces the last `got` bytes of conn->in. Only where conn->trace is set; runs Python,
 * whose errors end the trace and nothing else. */
void conn_trace_received(struct connection *conn, size_t got);

/* Traces and consumes the first `sent` bytes of conn->out. As above. */
void conn_trace_sent(struct connection *conn, size_t sent);

/* Ends the trace, if there is one. */
void conn_trace_end(struct connection *conn);

/* For the garbage collector. */
int conn_trace_traverse(const struct connection *conn, visitproc visit, void *arg);

/* The method, and the function for what does not go through a connection; see _core.pyi. */
PyObject *Connection_trace(struct connection *conn, PyObject *args);
PyObject *core_trace_exchange(PyObject *module, PyObject *args);

/* connection_methods.c */

/* Sets the ProgrammingError of the next two. Returns -1. */
int conn_refuse_sql(struct connection *conn, PyObject *sql);
int conn_refuse_count(struct connection *conn, Py_ssize_t given);

/* Checks that the SQL text is a str. -1 with a ProgrammingError. */
static inline int
conn_check_sql(struct connection *conn, PyObject *sql)
{
    return PyUnicode_Check(sql) ? 0 : conn_refuse_sql(conn, sql);
}

/* Checks that a statement may have so many parameters: the server would take a text with
 * more, and count its parameters in 16 bits. -1 with a ProgrammingError. */
static inline int
conn_check_count(struct connection *conn, Py_ssize_t given)
{
    return given <= WIRE_PARAMS_MAX ? 0 : conn_refuse_count(conn, given);
}

/* An operation for a text or a Statement; texts are checked, parameters resolved. NULL with
 * an exception. */
struct operation *conn_new_execution(struct connection *conn, enum op_kind kind, enum op_mode mode,
                                     PyObject *sql, PyObject *params);

/* Methods of the Python type; see _core.pyi. */
PyObject *Connection_startup(struct connection *conn, PyObject *args);
PyObject *Connection_scram_key(struct connection *conn, PyObject *key);
PyObject *Connection_execute(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);
PyObject *Connection_prepare(struct connection *conn, PyObject *sql);
PyObject *Connection_open_portal(struct connection *conn, PyObject *args);
PyObject *Connection_fetch_portal(struct connection *conn, PyObject *args);
PyObject *Connection_close_portal(struct connection *conn, PyObject *portal);
PyObject *Connection_query(struct connection *conn, PyObject *sql);
PyObject *Connection_configure(struct connection *conn, PyObject *options);
PyObject *Connection_look_up(struct connection *conn, PyObject *sql);
PyObject *Connection_put_codec(struct connection *conn, PyObject *codec);
PyObject *Connection_get_codec(struct connection *conn, PyObject *oid);
PyObject *Connection_drop_codecs(struct connection *conn, PyObject *unused);
PyObject *Connection_commit(struct connection *conn, PyObject *unused);
PyObject *Connection_rollback(struct connection *conn, PyObject *unused);

/* What codecs may look at while they work for this connection; borrowed from it. */
static inline struct codec_ctx
conn_codec_ctx(struct connection *conn)
{
    struct codec_ctx ctx = {
        .types = &conn->st->types,
        .options = &conn->options,
        .find = conn_find_codec,
        .find_arg = conn,
        .missing = conn->missing,
    };
    return ctx;
}

/* Queues */

/* Where a request waits that comes next. */
static inline struct op_queue *
conn_queue_borrow(struct connection *conn, const struct operation *op)
{
    return op->piped ? &conn->segment.waiting : &conn->deferred;
}

static inline void
op_queue_push(struct op_queue *queue, struct operation *op)
{
    op->next = NULL;
    if (queue->tail == NULL) {
        queue->head = op;
    }
    else {
        queue->tail->next = op;
    }
    queue->tail = op;
}

/* In front of all others; takes over the reference. */
static inline void
op_queue_push_front(struct op_queue *queue, struct operation *op)
{
    op->next = queue->head;
    queue->head = op;
    if (queue->tail == NULL) {
        queue->tail = op;
    }
}

/* Takes `op` out, wherever it is; its reference is the caller's then. */
void op_queue_remove(struct op_queue *queue, struct operation *op);

static inline struct operation *
op_queue_pop(struct op_queue *queue)
{
    struct operation *op = queue->head;
    if (op != NULL) {
        queue->head = op->next;
        if (queue->head == NULL) {
            queue->tail = NULL;
        }
        op->next = NULL;
    }
    return op;
}

#endif
