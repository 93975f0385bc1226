"""The lexer: `:name` parameters and scripts."""

from array import array
from collections import ChainMap, deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgasync.errors import ProgrammingError
from pgasync.sql import is_script, resolve, rewrite, split


@pytest.mark.parametrize(
    ("sql", "expected", "names"),
    [
        ("select :a", "select $1", ["a"]),
        ("select :a, :b, :a", "select $1, $2, $1", ["a", "b"]),
        ("select :a::int", "select $1::int", ["a"]),
        ("select 1::int, :b", "select 1::int, $1", ["b"]),
        ("select ':a', :a", "select ':a', $1", ["a"]),
        ("select 'it''s :a', :b", "select 'it''s :a', $1", ["b"]),
        (r"select E'\':a', :b", r"select E'\':a', $1", ["b"]),
        (r"select '\', :b", r"select '\', $1", ["b"]),  # standard strings
        (r"select e'\\', :b", r"select e'\\', $1", ["b"]),
        ("select E'a'\n'\\':x' , :b", "select E'a'\n'\\':x' , $1", ["b"]),
        ("select E'a' -- c\n  '\\':x', :b", "select E'a' -- c\n  '\\':x', $1", ["b"]),
        (r"select U&'\0041:a', :b", r"select U&'\0041:a', $1", ["b"]),
        ('select ":a" , :b', 'select ":a" , $1', ["b"]),
        ('select "x"":a", :b', 'select "x"":a", $1', ["b"]),
        ("select $$:a$$, :b", "select $$:a$$, $1", ["b"]),
        ("select $t$ $$ :a $t$, :b", "select $t$ $$ :a $t$, $1", ["b"]),
        ("select a$b$, :b, c$b$", "select a$b$, $1, c$b$", ["b"]),
        ("select 1 -- :a\n, :b", "select 1 -- :a\n, $1", ["b"]),
        ("select /* :a /* :b */ :c */ :d", "select /* :a /* :b */ :c */ $1", ["d"]),
        ("select 1 +-- :a\n :b", "select 1 +-- :a\n $1", ["b"]),
        ("select a[1:2], :b", "select a[1:2], $1", ["b"]),
        ("select a[lo:hi], :b", "select a[lo:hi], $1", ["b"]),
        ("select a[f(1):hi], :b", "select a[f(1):hi], $1", ["b"]),
        ("select a[:i]", "select a[$1]", ["i"]),
        ("select a[:i + :j]", "select a[$1 + $2]", ["i", "j"]),
        ("select a[:lo : :hi]", "select a[$1 : $2]", ["lo", "hi"]),
        ("select a[f(:x)]", "select a[f($1)]", ["x"]),
        (
            "select array[case when true then :x else :y end]",
            "select array[case when true then $1 else $2 end]",
            ["x", "y"],
        ),
        ("select f(x := :a)", "select f(x := $1)", ["a"]),
        ("select f(x:=1), :b", "select f(x:=1), $1", ["b"]),
        ("select :a_1, :A", "select $1, $2", ["a_1", "A"]),
        ("select :é", "select $1", ["é"]),
        ("select 1 : 2", "select 1 : 2", []),
        ("select 'open :a", "select 'open :a", []),
        ('select "open :a', 'select "open :a', []),
        ("select $x$open :a", "select $x$open :a", []),
        ("select /* open :a", "select /* open :a", []),
        (r"select E'open\' :a", r"select E'open\' :a", []),
        ("select E'open \\", "select E'open \\", []),
        ("select nameE'x', :b", "select nameE'x', $1", ["b"]),
        ("", "", []),
    ],
)
def test_rewrite(sql: str, expected: str, names: list[str]) -> None:
    assert rewrite(sql) == (expected, tuple(names))


def test_rewrite_of_a_long_text() -> None:
    sql = "select :a /* " + "x" * 100_000 + " :b */"
    text, names = rewrite(sql)
    assert names == ("a",)
    assert text.startswith("select $1 /* x")


def test_mapping() -> None:
    assert resolve("select :a, :b", {"a": 1, "b": None}) == ("select $1, $2", (1, None))
    assert resolve("select :a", ChainMap({}, {"a": 1})) == ("select $1", (1,))
    assert resolve("select 1", {}) == ("select 1", ())


@pytest.mark.parametrize(
    ("sql", "params", "message"),
    [
        ("select :a, :b", {"a": 1}, "no value for the parameter :b"),
        ("select :a, :b", {}, "no value for the parameter :a, :b"),
        ("select :a", {"a": 1, "c": 2}, "no parameter :c"),
        ("select $1", {"a": 1}, "no :name parameters at all"),
        ("select $1, :a", {"a": 1}, "mixes"),
        ("select $1", "text", "not a str"),
        ("select $1", b"bytes", "not a bytes"),
        ("select $1", bytearray(b"x"), "not a bytearray"),
        ("select $1", memoryview(b"x"), "not a memoryview"),
        ("select $1", 5, r"\(value,\)"),
        ("select $1", 1.5, "not a float"),
        ("select $1", (x for x in [1]), "not a generator"),
        ("select $1", iter([1]), "list"),
        ("select $1", {1, 2}, "have an order"),
        ("select $1", object(), "not a object"),
    ],
)
def test_wrong_parameters(sql: str, params: Any, message: str) -> None:
    with pytest.raises(ProgrammingError, match=message):
        resolve(sql, params)


@pytest.mark.parametrize(
    "params", [deque([1, 2]), range(1, 3), array("i", [1, 2]), (1, 2), [1, 2]]
)
def test_sequences(params: Any) -> None:
    assert resolve("select $1, $2", params) == ("select $1, $2", (1, 2))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 1", ["select 1"]),
        ("select 1;", ["select 1"]),
        ("select 1;;  ; ", ["select 1"]),
        ("; select 1 ;", ["select 1"]),
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select ';'; select 2", ["select ';'", "select 2"]),
        ("select 1 -- ;\n; select 2", ["select 1 -- ;", "select 2"]),
        ("select 1; -- done", ["select 1"]),
        ("/* a;b */ select 1; /* c */", ["/* a;b */ select 1"]),
        ("select $$;$$; select 2", ["select $$;$$", "select 2"]),
        (r"select E'\';'; select 2", [r"select E'\';'", "select 2"]),
        ('select ";"; select 2', ['select ";"', "select 2"]),
        (
            "create rule r as on insert to t do also (delete from a; delete from b); x",
            [
                "create rule r as on insert to t do also "
                "(delete from a; delete from b)",
                "x",
            ],
        ),
        (
            "create function f() returns int begin atomic select 1; select case "
            "when true then 2 end; end; select f()",
            [
                "create function f() returns int begin atomic select 1; select case "
                "when true then 2 end; end",
                "select f()",
            ],
        ),
        (
            "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC DELETE FROM a; END; SELECT 2",
            [
                "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC DELETE FROM a; END",
                "SELECT 2",
            ],
        ),
        ("begin; select 1; end; select 2", ["begin", "select 1", "end", "select 2"]),
        ("", []),
        (" -- nothing\n", []),
        ("select 1) ; select 2", ["select 1)", "select 2"]),
    ],
)
def test_split(sql: str, expected: list[str]) -> None:
    assert split(sql) == expected
    assert is_script(sql) is (len(expected) > 1)


# --------------------------------------------------------------------- properties

_inner = st.text(alphabet=":abn;'\"\\$/*-[]() \n1", max_size=20)


def _plain(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _dollars(text: str) -> str:
    return "$q$" + text.replace("$", "") + "$q$"


def _block(text: str) -> str:
    return "/*" + text.replace("*", "").replace("/", "") + "*/"


def _line(text: str) -> str:
    return "--" + text.replace("\n", "") + "\n"


_opaque = st.builds(
    lambda wrap, text: wrap(text),
    st.sampled_from([_plain, _escaped, _quoted, _dollars, _block, _line]),
    _inner,
)
_name = st.sampled_from(["a", "b", "long_name", "x1"])
_plain_sql = st.sampled_from(["select", "x", "1", ",", "+", "f(x)", "a[1:2]", "::int"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(_opaque, _plain_sql, _name.map(lambda n: ":" + n))))
def test_only_names_outside_literals_and_comments_change(pieces: list[str]) -> None:
    names: dict[str, int] = {}
    expected = []
    for piece in pieces:
        if piece[0] == ":" and piece != "::int":
            expected.append(f"${names.setdefault(piece[1:], len(names) + 1)}")
        else:
            expected.append(piece)
    # "+" keeps two literals, and a slice's bounds and a name, from meeting.
    found = rewrite(" + ".join(pieces))
    assert found == (" + ".join(expected), tuple(names))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(_opaque, _plain_sql), min_size=1).map(
            lambda pieces: "select " + " + ".join(pieces)
        )
    )
)
def test_split_undoes_join(statements: list[str]) -> None:
    assert split(" ; ".join(statements)) == [text.strip() for text in statements]
    assert is_script(" ; ".join(statements)) is (len(statements) > 1)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=":;'\"\\$/*-[]()eEaq \n1é\0", max_size=60))
def test_any_text_is_lexed(sql: str) -> None:
    pieces = split(sql)
    assert all(piece in sql for piece in pieces)
    assert is_script(sql) is (len(pieces) > 1)
    try:
        text, names = rewrite(sql)
    except ProgrammingError:
        return
    assert len(text) >= len(sql) - sum(map(len, names)) * sql.count(":")
    if not names:
        assert text == sql
