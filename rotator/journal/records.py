"""Frozen records to plain JSON and back, driven by the fields themselves.

No record has an encoder of its own, so none can forget a field. Reading is strict: an unknown field, a
missing one without a default, an unknown state or a wrong type raises `Unreadable` with the path to it,
because a rotation taken up with a field lost would be taken up wrongly.

Free text meant for people passes the scrubber on its way in: the journal never holds a token.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_origin

from rotator.secret import scrub

Record = TypeVar("Record")

WORDS: Final = frozenset({"reason", "message", "detail", "next", "label", "abandoned"})
"""Fields with text that a person or an outside system may have written. Everything else (ids, versions,
the policy's snapshot) must come back to the letter."""

_NOT_FINITE: Final = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
"""JSON has no such numbers; a bound that nobody could measure is one."""


class Unreadable(ValueError):
    """A stored document is not the record it should be."""


def dumps(record: object) -> str:
    """One line of ASCII JSON. Raises ValueError for a time without an offset."""
    return json.dumps(_plain(record), separators=(",", ":"), sort_keys=True, allow_nan=False)


def loads(kind: type[Record], text: str) -> Record:
    """The record that `dumps` wrote. Raises Unreadable."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Unreadable("it is not JSON") from error
    record: Record = _typed(kind, document, "")
    return record


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain_field(field.name, value) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"time without an offset: {value.isoformat()}")
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _plain_field(name: str, record: Any) -> Any:
    value = getattr(record, name)
    return scrub(value) if name in WORDS and isinstance(value, str) else _plain(value)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _typed(kind: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type `kind`, for the types that records are made of."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        # Only `X | None` occurs; `_optional` says so when that changes.
        return None if value is None else _typed(_optional(arguments), value, path)
    if origin is tuple:
        items = _expect(list, value, path)
        return tuple(_typed(arguments[0], item, f"{path}[{n}]") for n, item in enumerate(items))
    if origin is Mapping:
        entries = _expect(dict, value, path)
        return {key: _typed(arguments[1], item, f"{path}.{key}") for key, item in entries.items()}
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, _expect(dict, value, path), path)
    if issubclass(kind, StrEnum):
        if value not in list(kind):
            known = ", ".join(kind)
            raise Unreadable(f"{path} is not one of {known}")
        return kind(value)
    if kind is datetime:
        return _moment(_expect(str, value, path), path)
    if kind is float:
        return _number(value, path)
    return _expect(kind, value, path)


def _dataclass(kind: Any, document: dict[str, Any], path: str) -> Any:
    prefix = f"{path}." if path else ""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(document.keys() - fields.keys())
    if unknown:
        raise Unreadable(f"{prefix}{unknown[0]} is not a field this version knows")
    for name, field in fields.items():
        no_default = field.default is field.default_factory is dataclasses.MISSING
        if no_default and name not in document:
            raise Unreadable(f"{prefix}{name} is missing")
    hints = _hints(kind)
    return kind(**{name: _typed(hints[name], item, prefix + name) for name, item in document.items()})


def _optional(arguments: tuple[Any, ...]) -> Any:
    (only,) = (argument for argument in arguments if argument is not types.NoneType)
    return only


def _expect(kind: type[Record], value: Any, path: str) -> Record:
    # bool is a subclass of int, and True is not a count.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Unreadable(f"{path or 'it'} is not of type {kind.__name__}")
    return value


def _number(value: Any, path: str) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"{path} is not a number")
    return float(value)


def _moment(text: str, path: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unreadable(f"{path} is not a time") from error
    if moment.tzinfo is None:
        raise Unreadable(f"{path} is a time without an offset")
    return moment.astimezone(UTC)
