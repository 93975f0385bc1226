"""Python classes for PostgreSQL's values that no built-in class stands for."""

from typing import Any, final

__all__ = ["JSON_NULL", "Json"]


@final
class Json:
    """A JSON document for a json or jsonb parameter, whatever `value` is: `Json(None)`
    is JSON's null (None itself is SQL's NULL), `Json("x")` the string "x" (a bare
    str is taken for the text of a document)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Json({self.value!r})"


JSON_NULL = Json(None)
