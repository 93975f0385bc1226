"""SASLprep: RFC 4013's examples, and PostgreSQL's way with what it forbids."""

import pytest

from pgasync.saslprep import saslprep


@pytest.mark.parametrize(
    ("given", "prepared"),
    [
        ("user", "user"),
        ("USER", "USER"),
        ("I\u00adX", "IX"),  # soft hyphen: mapped to nothing
        ("\u00aa", "a"),  # feminine ordinal: NFKC
        ("\u2168", "IX"),  # roman numeral nine
        ("pass\u00a0word", "pass word"),  # no-break space
        ("pass\u3000word", "pass word"),  # ideographic space
        ("e\u0301", "\u00e9"),  # composed
        ("", ""),
        ("pencil!?", "pencil!?"),
        ("\u0627\u0628", "\u0627\u0628"),  # right to left throughout
    ],
)
def test_prepared(given: str, prepared: str) -> None:
    assert saslprep(given.encode()) == prepared.encode()


@pytest.mark.parametrize(
    "given",
    [
        b"\x07bell",  # ASCII control: prohibited
        b"del\x7f",
        "\u06271".encode(),  # RandALCat not at the end
        "\u0627a\u0628".encode(),  # mixed directions
        "\u0221".encode(),  # unassigned in Unicode 3.2
        "\ufffd".encode(),
        "\ue000".encode(),  # private use
        "\u00ad".encode(),  # nothing is left
        b"\xff\xfe",  # not UTF-8
        b"abc\xc3",
    ],
)
def test_forbidden_is_used_as_it_is(given: bytes) -> None:
    assert saslprep(given) == given
