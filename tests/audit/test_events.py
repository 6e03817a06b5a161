"""The list of audit events is the whole of what the code writes, and the document is made from it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import rotator
from rotator.audit import events
from rotator.audit.base import EVENT
from rotator.audit.events import EVENTS, FIELDS

ROOT = Path(rotator.__file__).parent
DOCUMENT = ROOT / "audit" / "EVENTS.md"
WRITERS = {"audit", "record", "AuditEvent", "_event", "_audit_order"}
"""What is called with the name of an event."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the code that writes an event, by the event's name."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            first = node.args[0]
            for told in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
                if name in WRITERS and isinstance(told, ast.Constant) and EVENT.fullmatch(str(told.value)):
                    yield told.value, node


def fields(call: ast.Call) -> set[str]:
    """The data that a call gives by name, or in a dictionary that stands in it."""
    found = {
        one.arg
        for one in call.keywords
        if one.arg and one.arg not in ("data", "policy", "project", "rotation", "trigger", "at", "event")
    }
    for node in [*call.args[1:], *(one.value for one in call.keywords if one.arg == "data")]:
        if isinstance(node, ast.Dict):
            found |= {key.value for key in node.keys if isinstance(key, ast.Constant)}
    return found


@cache
def written() -> list[tuple[str, ast.Call]]:
    return list(calls())


def test_every_event_that_is_written_is_listed_and_no_other() -> None:
    """A new event without a line in the document fails here, and so does a line for one that is gone."""
    assert {name for name, _ in written()} == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_its_data_is_listed(name: str) -> None:
    """Each field that a call gives is one that the list knows of this event."""
    given = {field for event, call in written() if event == name for field in fields(call)}
    assert given <= set(EVENTS[name].data_of(name))


def test_no_name_stands_twice() -> None:
    """Each name belongs to one entry."""
    names = [name for one in events.TYPES for name in one.names]
    assert len(names) == len(set(names))
    assert all(EVENT.fullmatch(name) for name in names)


def test_every_field_is_explained() -> None:
    """In alphabetical order, each once, and none that no event has."""
    used = {field for name, one in EVENTS.items() for field in one.data_of(name)}
    assert list(FIELDS) == sorted(used)


def test_the_document_has_the_tables_of_the_list() -> None:
    """Word for word; between them stands what no list can know."""
    document = DOCUMENT.read_text(encoding="utf-8")
    for table in (events.table_of_events(), events.table_of_fields()):
        assert "\n".join(table) + "\n" in document
