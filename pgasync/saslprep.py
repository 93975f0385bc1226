"""SASLprep (RFC 4013): the form in which SCRAM sees a password."""

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def saslprep(password: bytes) -> bytes:
    """The bytes that SCRAM derives its key from.

    As in PostgreSQL (and unlike RFC 5802) a password that is not UTF-8, or that
    RFC 4013 forbids, is not an error: its bytes are used as they are.
    """
    if password.isascii() and password.isalnum():
        return password
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    prepared = _normalise(text)
    if not prepared or _is_prohibited(prepared) or not _bidi_is_valid(prepared):
        return password
    return prepared.encode("utf-8")


def _normalise(text: str) -> str:
    mapped = (
        " " if stringprep.in_table_c12(c) else c
        for c in text
        if not stringprep.in_table_b1(c)
    )
    return unicodedata.normalize("NFKC", "".join(mapped))


def _is_prohibited(text: str) -> bool:
    return any(table(c) for c in text for table in _PROHIBITED)


def _bidi_is_valid(text: str) -> bool:
    """RFC 3454, section 6."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    if any(map(stringprep.in_table_d2, text)):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
