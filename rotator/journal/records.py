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
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache, partial
from typing import Any, Final, TypeVar, get_args, get_origin

from rotator.secret import scrub

Record = TypeVar("Record")
Reader = Callable[[Any], Any]

WORDS: Final = frozenset({"reason", "message", "detail", "next", "label", "abandoned"})
"""Fields with text that a person or an outside system may have written. Everything else (ids, versions,
the policy's snapshot) must come back to the letter."""

KEPT: Final = 1024
"""Records that are kept once they were read, the latest ones: 14 MB where each is a rotation in place."""

_NOT_FINITE: Final = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
"""JSON has no such numbers; a bound that nobody could measure is one."""

_PLAIN: Final = frozenset({str, int, bool, types.NoneType})
"""Types that JSON has as well."""


class Unreadable(ValueError):
    """A stored document is not the record it should be."""


def dumps(record: object) -> str:
    """One line of ASCII JSON. Raises ValueError for a time without an offset."""
    return json.dumps(_plain(record), separators=(",", ":"), sort_keys=True, allow_nan=False)


def loads(kind: type[Record], text: str) -> Record:
    """The record that `dumps` wrote. Raises Unreadable.

    The same text gives the same record: a daemon reads what is unfinished and what it knows of each project every
    second, and most of it is as it was. Records are frozen; nobody may change a mapping in one, either.
    """
    record: Record = _made_of(kind, text)  # type: ignore[arg-type]  # classes are hashable
    return record


@lru_cache(KEPT)
def _made_of(kind: Any, text: str) -> Any:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Unreadable("it is not JSON") from error
    try:
        return _reader(kind)(document)
    except _Misfit as misfit:
        raise Unreadable(str(misfit)) from None


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    names = _field_names(kind)  # type: ignore[arg-type]  # classes are hashable
    if names is not None:
        return {name: _plain_field(name, value) for name in names}
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


@cache
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Those of a record; None for what is none. Every step of a rotation writes its whole record down."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def _plain_field(name: str, record: Any) -> Any:
    value = getattr(record, name)
    return scrub(value) if name in WORDS and isinstance(value, str) else _plain(value)


class _Misfit(Exception):
    """A value that is not what its annotation says. The path to it grows while it is raised through the
    readers of what surrounds it, so that reading what fits never builds one."""

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.path = path

    def __str__(self) -> str:
        return f"{self.path.removeprefix('.') or 'it'} {self.why}"


@cache
def _reader(kind: Any) -> Reader:
    """Makes a value of the annotated type `kind`, for the types that records are made of.

    Made once for each type: status pages and daemons read thousands of records, and looking at annotations
    takes far longer than reading by them.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return _as_it_is
    if origin in (types.UnionType, typing.Union):
        # Only `X | None` occurs; `_optional` says so when that changes.
        return partial(_read_optional, _reader(_optional(arguments)))
    if origin is tuple:
        return partial(_read_tuple, _reader(arguments[0]))
    if origin is Mapping:
        return partial(_read_mapping, _reader(arguments[1]))
    if dataclasses.is_dataclass(kind):
        return _record_reader(kind)
    if issubclass(kind, StrEnum):
        return partial(_read_word, {str(word): word for word in kind})
    if kind is datetime:
        return _read_moment
    return _read_number if kind is float else partial(_expect, kind)


def _record_reader(kind: Any) -> Reader:
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields}
    needed = [field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING]
    return partial(_read_record, kind, readers, needed)


def _read_record(kind: Any, readers: Mapping[str, Reader], needed: list[str], value: Any) -> Any:
    document = _expect(dict, value)
    unknown = sorted(document.keys() - readers.keys())
    if unknown:
        raise _Misfit("is not a field this version knows", f".{unknown[0]}")
    for name in needed:
        if name not in document:
            raise _Misfit("is missing", f".{name}")
    found: dict[str, Any] = {}
    name = ""
    try:
        for name, item in document.items():
            found[name] = readers[name](item)
    except _Misfit as misfit:
        raise _Misfit(misfit.why, f".{name}{misfit.path}") from None
    return kind(**found)


def _read_tuple(read: Reader, value: Any) -> Any:
    found: list[Any] = []
    try:
        for item in _expect(list, value):
            found.append(read(item))  # noqa: PERF401  # its length tells which item is wrong
    except _Misfit as misfit:
        if not isinstance(value, list):
            raise
        raise _Misfit(misfit.why, f"[{len(found)}]{misfit.path}") from None
    return tuple(found)


def _read_mapping(read: Reader, value: Any) -> Any:
    found: dict[str, Any] = {}
    key = ""
    entries = _expect(dict, value)
    try:
        for key, item in entries.items():
            found[key] = read(item)
    except _Misfit as misfit:
        raise _Misfit(misfit.why, f".{key}{misfit.path}") from None
    return found


def _read_optional(read: Reader, value: Any) -> Any:
    return None if value is None else read(value)


def _read_word(words: Mapping[str, StrEnum], value: Any) -> Any:
    found = words.get(value) if isinstance(value, str) else None
    if found is None:
        raise _Misfit(f"is not one of {', '.join(words)}")
    return found


def _as_it_is(value: Any) -> Any:
    return value


def _optional(arguments: tuple[Any, ...]) -> Any:
    (only,) = (argument for argument in arguments if argument is not types.NoneType)
    return only


def _expect(kind: type[Record], value: Any) -> Record:
    # bool is a subclass of int, and True is not a count.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _Misfit(f"is not of type {kind.__name__}")
    return value


def _read_number(value: Any) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Misfit("is not a number")
    return float(value)


def _read_moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_expect(str, value))
    except ValueError:
        raise _Misfit("is not a time") from None
    if moment.tzinfo is None:
        raise _Misfit("is a time without an offset")
    return moment.astimezone(UTC)
