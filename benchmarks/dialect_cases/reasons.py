"""Why postgresql+pgasync differs on purpose, each reason once."""

CLASSES = (
    "asyncpg's dialect has classes of its own for SQLSTATEs 23, 42 and XX and calls the"
    " others DBAPIError; here each has the one of PEP 249, as with psycopg"
)
CLIENT = (
    "the driver refuses the value before it is sent: DataError, without a SQLSTATE, as"
    " no server has said anything"
)
LENIENT = "asyncpg refuses it; here what loses nothing is sent"
LOSES = "asyncpg drops a part of the value without a word; here that is an error"
FLOATS = "what people mean by a float is its repr, not its binary expansion"
UUIDS = "Python's uuid.UUID; asyncpg has a subclass of its own"
INFINITY = (
    "a value outside of Python's classes is an error, or with"
    ' connect_args={"out_of_range": "clamp"} the nearest that they have; asyncpg takes'
    " infinity for the last day of 9999 and writes that as infinity"
)
INTERVALS = (
    "a timedelta that also knows its months, and hours beyond a day: it goes back as it"
    " came; it compares and calculates as asyncpg's"
)
RANGES = "SQLAlchemy's own Range and MultiRange, also where no type is declared"
HSTORES = "hstore is known to the driver: dicts, also where no type is declared"
BITS = "a str of digits, SQLAlchemy's form, also where no type is declared"
GEOMETRY = "named tuples in place of asyncpg's classes"
RECORDS = "pgasync's Row, a tuple: also by name and by attribute"
CHARS = "text, though of a byte"
ARRAYS = "a list that keeps what a list cannot: its lower bound, or how deep it is"
NUMBERS = "an int of a class that is written as PostgreSQL does"
SNAPSHOTS = "a named tuple"
EXPONENT = "the same number, with the digits as the server writes them"
UNWRAPPED = "asyncpg's exception for these gets out as it is; here SQLAlchemy wraps all"
DETAIL = (
    "the text of an error ends with the server's DETAIL and HINT, as psql shows them"
)
TIMEOUTS = (
    "SQLAlchemy wraps it as it does others: OperationalError, whose orig is a"
    " QueryTimeout and a TimeoutError; asyncpg's TimeoutError comes as it is"
)
CLIENT_COUNT = (
    "wrong use of the driver is a ProgrammingError; asyncpg's is an InterfaceError"
)
ROLLED_BACK = (
    "a COMMIT that the server answers with ROLLBACK is an error: nothing was kept"
)
LAST_WORDS = "a lost connection is an OperationalError with the server's last words"
EMPTY_ROWS = "rows without columns are rows"
COUNTS = "the count of rows is known: that of MERGE, and the sum of an executemany"
VOID = "what a C function that returns void sends is '', as psycopg has it"
SCRIPTS = (
    "several statements in one text, without parameters, run in turn; the result is"
    " that of the last"
)
MANY = "the protocol's 65,535 parameters; asyncpg stops at 32,767"
STALE = (
    "counts make supports_sane_multi_rowcount true: the ORM notices rows that others"
    " have changed also where it writes many at once"
)
PLACES = "every form of a URL's host that libpq or SQLAlchemy's psycopg dialect takes"
NAMES = "the driver takes named parameters, too"
TUPLES = "rows of the driver are tuples, not Records"
CONNECT = (
    "what fails while connecting is SQLAlchemy's error of its class, with the server's"
    " SQLSTATE; asyncpg's own exceptions and OSError come as they are"
)
WRONG_KEYWORD = (
    "an InterfaceError that names the keyword, and the nearest known one; asyncpg's are"
    " of several classes, TypeError among them"
)
IN_THE_URL = "every keyword of connect() may stand in the URL, as with psycopg"
API = (
    "the driver's own connection has pgasync's methods: closed, info.backend_pid,"
    " info.server_version, info.parameters, info.transaction_status; cursor() is PEP"
    " 249's; errors are pgasync's"
)
PARAMETERS = "parameters go as one list: fetch(sql, [a, b])"
STATUS = "a cursor; the command's tag is its statusmessage, the count its rowcount"
ONE_TRANSACTION = (
    "what runs at driver_connection belongs to the transaction of SQLAlchemy's"
    " connection, and is rolled back with it; asyncpg's stands for itself until"
    " SQLAlchemy has run its first statement"
)
AWAIT = "dbapi_connection.await_() of SQLAlchemy 2.0's dialects is there on 2.1, too"
DIAG = "orig.diag is there for programs that were written for psycopg"
HEALS = (
    "a statement that DDL has made stale is prepared again, where no transaction would"
    " be broken up; asyncpg's dialect raises InvalidCachedStatementError once"
)
