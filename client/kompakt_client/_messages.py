"""Messages of the contract, made of what callers gave."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_KINDS = {FieldDescriptor.TYPE_BOOL: "True or False", FieldDescriptor.TYPE_STRING: "a string"}


def make_message(kind: type[M], **fields: Any) -> M:
    """Return a message with these fields. Raises TypeError that names one of another type."""
    try:
        return kind(**fields)
    except TypeError:
        for name, value in fields.items():
            _check(kind, name, value)
        raise


def _check(kind: type[Message], name: str, value: object) -> None:
    """Raise TypeError if a field cannot hold a value, of the argument by its name."""
    try:
        kind(**{name: value})
    except TypeError:
        field = kind.DESCRIPTOR.fields_by_name[name]
        wanted = (
            "a list of strings" if field.is_repeated else _KINDS.get(field.type, "of another type")
        )
        argument = name.removeprefix("return_")
        raise TypeError(f"{argument} must be {wanted}, not {value!r}") from None
