"""Codecs made at run time: arrays, domains, enums and what users register."""

from __future__ import annotations

import enum
import gc
import weakref
from typing import Any

import pytest

from pgasync import _core
from pgasync.errors import DataError

MOOD = 90_001


def test_kinds() -> None:
    kinds = _core.codec_kinds()
    assert {"array", "domain", "enum", "text", "string", "binary"} <= set(kinds)
    with pytest.raises(ValueError, match="no kind of codec 'moods'"):
        _core.Codec("moods", MOOD, "mood")
    with pytest.raises(TypeError, match="with elem"):
        _core.Codec("array", MOOD, "mood[]")
    with pytest.raises(TypeError, match="without elem"):
        _core.Codec("enum", MOOD, "mood", 23)
    with pytest.raises(ValueError, match="not a built-in type"):
        _core.Codec("array", MOOD, "mood[]", 16_999)
    with pytest.raises(TypeError, match="a Codec is needed"):
        _core.Codec("array", MOOD, "mood[]", "mood")  # type: ignore[arg-type]


def test_domain_is_its_base() -> None:
    base = _core.Codec("domain", MOOD, "positive", 23)
    assert _core.codec_encode(base, 7) == (1, b"\0\0\0\7")
    assert _core.codec_decode(base, b"\0\0\0\7") == 7
    with pytest.raises(DataError, match="cannot decode positive: a value of 1 bytes"):
        _core.codec_decode(base, b"\0")


def test_array_of_a_domain() -> None:
    array = _core.Codec(
        "array", MOOD + 1, "positive[]", _core.Codec("domain", MOOD, "positive", 23)
    )
    form, data = _core.codec_encode(array, [[1, None], [2, 3]])
    assert form == 1
    assert data[8:12] == MOOD.to_bytes(4, "big")
    assert _core.codec_decode(array, data) == [[1, None], [2, 3]]


class Mood(enum.Enum):
    HAPPY = "happy"
    SAD = "sad"


def registered() -> Any:
    labels = {member.value: member for member in Mood}
    members = {member: member.value for member in Mood}
    return _core.Codec("enum", MOOD, "mood", None, None, (labels, members))


def test_enum() -> None:
    plain = _core.Codec("enum", MOOD, "mood")
    assert _core.codec_decode(plain, b"happy") == "happy"
    assert _core.codec_encode(plain, "sad") == (1, b"sad")
    with pytest.raises(DataError, match="as mood: give a str, or register"):
        _core.codec_encode(plain, Mood.SAD)
    codec = registered()
    assert _core.codec_decode(codec, b"happy") is Mood.HAPPY
    assert _core.codec_encode(codec, Mood.SAD) == (1, b"sad")
    assert _core.codec_encode(codec, "anything") == (1, b"anything")
    with pytest.raises(DataError, match="no member for the label 'bored'"):
        _core.codec_decode(codec, b"bored")
    with pytest.raises(DataError, match="give a member"):
        _core.codec_encode(codec, 5)
    with pytest.raises(DataError, match="give a member"):
        _core.codec_encode(codec, {})


@pytest.mark.parametrize("kind", ["text", "string", "binary"])
def test_functions(kind: str) -> None:
    wire: Any = bytes if kind == "binary" else str
    codec = _core.Codec(
        kind,
        MOOD,
        "point3",
        None,
        None,
        (
            lambda value: (
                wire(b"%d" % value, "ascii") if wire is str else b"%d" % value
            ),
            int,
        ),
    )
    assert codec.is_text is (kind == "text")
    assert _core.codec_encode(codec, 42) == (int(kind != "text"), b"42")
    assert _core.codec_decode(codec, b"42") == 42
    with pytest.raises(DataError, match="cannot decode point3: its decoder failed"):
        _core.codec_decode(codec, b"x")
    with pytest.raises(DataError, match="as point3: its encoder failed") as caught:
        _core.codec_encode(codec, "x")
    assert isinstance(caught.value.__cause__, (TypeError, ValueError))


@pytest.mark.parametrize(
    ("kind", "made"), [("text", b"x"), ("binary", "x"), ("text", 5)]
)
def test_encoder_of_another_type(kind: str, made: object) -> None:
    codec = _core.Codec(kind, MOOD, "odd", None, None, (lambda value: made, None))
    with pytest.raises(DataError, match=f"encoder gives .*, not {type(made).__name__}"):
        _core.codec_encode(codec, 1)


def test_a_function_that_is_not_there() -> None:
    codec = _core.Codec("text", MOOD, "odd", None, None, (None, None))
    assert _core.codec_decode(codec, b"abc") == "abc"
    assert _core.codec_encode(codec, "abc") == (0, b"abc")


def test_interrupts_pass() -> None:
    def interrupted(value: object) -> str:
        raise KeyboardInterrupt

    codec = _core.Codec("text", MOOD, "odd", None, None, (interrupted, interrupted))
    with pytest.raises(KeyboardInterrupt):
        _core.codec_encode(codec, 1)
    with pytest.raises(KeyboardInterrupt):
        _core.codec_decode(codec, b"x")


def test_parts_live_as_long_as_the_whole() -> None:
    class Decoder:
        def __call__(self, text: str) -> str:
            return text.upper()

    decoder = Decoder()
    gone = weakref.ref(decoder)
    array = _core.Codec(
        "array",
        MOOD + 1,
        "odd[]",
        _core.Codec("string", MOOD, "odd", None, None, (None, decoder)),
    )
    del decoder
    gc.collect()
    data = _core.codec_encode(array, ["a", "b"])[1]
    assert _core.codec_decode(array, data) == ["A", "B"]
    del array
    gc.collect()
    assert gone() is None
