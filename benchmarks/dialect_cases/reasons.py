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
