"""Records survive the way to JSON and back, whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotator.audit.base import ChainHead
from rotator.clock import SystemClock
from rotator.journal.base import Hold, Holder, KnownToken
from rotator.journal.holder import this_process
from rotator.journal.records import Unreadable, dumps, loads
from rotator.journal.sqlite import SqliteJournal
from rotator.model import Attention, Bounds, ProjectFacts, Rotation, State
from tests.journal.builders import PROJECT, attention, full_rotation, rotation

RECORDS = (Attention, ProjectFacts, KnownToken, Hold, Holder, ChainHead)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def of_type(kind):
    """Any value of an annotated type. Fields with defaults are drawn too, so a forgotten one shows."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*(of_type(argument) for argument in arguments))
    if origin is tuple:
        return st.lists(of_type(arguments[0]), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(of_type(arguments[0]), of_type(arguments[1]), max_size=3)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(
            kind, **{field.name: of_type(hints[field.name]) for field in dataclasses.fields(kind)}
        )
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return st.sampled_from(kind)
    simple = {
        types.NoneType: st.none(),
        typing.Any: JSON,
        str: st.text(max_size=12),
        int: st.integers(-(2**63), 2**63 - 1),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
        datetime: st.datetimes(timezones=st.just(UTC)),
    }
    return simple[kind]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_small_record_survives_the_way_to_json(kind, data):
    """Whatever a record holds, reading what was written gives an equal record."""
    record = data.draw(of_type(kind))

    assert loads(kind, dumps(record)) == record


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(record=of_type(Rotation))
def test_every_rotation_survives_the_journal(record):
    """Any rotation, saved and read, is equal to itself, with an equal type in every field."""
    clock = SystemClock()
    journal = SqliteJournal.in_memory(clock)
    try:
        lease = journal.acquire((record.project,), this_process(clock, "test"), ttl=60)
        journal.save(lease, record)
        found = journal.rotation(record.id)
        assert found == record
        assert type(found.state) is State
        assert type(found.steps) is tuple
        assert bool(journal.unfinished()) is record.unfinished
    finally:
        journal.close()


def test_the_full_example_leaves_no_field_at_its_default():
    """The hand-made example used elsewhere has something in every field of a rotation."""
    example, bare = full_rotation(), rotation()
    optional = [field for field in dataclasses.fields(Rotation) if field.default is not dataclasses.MISSING]
    untouched = [f.name for f in optional if getattr(example, f.name) == f.default and f.name != "step"]

    assert untouched == []
    assert bare.snapshot == example.snapshot


def test_the_same_text_is_read_once():
    """What a daemon reads every second costs it nothing for as long as it stays as it is; no kind or text gets the
    record of another, and what is unreadable stays so."""
    first = dumps(Hold("billing", datetime(2026, 11, 21, tzinfo=UTC), "ops", "freeze"))
    other = first.replace("freeze", "audit")

    assert loads(Hold, first) is loads(Hold, first)
    assert loads(Hold, other).reason == "audit"
    assert loads(Hold, first).reason == "freeze"
    for _ in range(2):
        with pytest.raises(Unreadable):
            loads(Attention, first)


def test_a_time_of_another_offset_is_the_same_moment():
    """Times are written in UTC, whatever offset they came with."""
    here = datetime(2026, 11, 21, 13, 0, tzinfo=timezone(timedelta(hours=1)))

    assert loads(Hold, dumps(Hold("p", here, "a", "r"))).since.isoformat() == "2026-11-21T12:00:00+00:00"


def test_a_time_without_an_offset_is_refused():
    """A naive time means something else on every machine, so it is not written."""
    with pytest.raises(ValueError, match="without an offset"):
        dumps(Hold("p", datetime(2026, 11, 21), "a", "r"))  # noqa: DTZ001  # the naive time is the point


def test_documents_are_strict_json():
    """A bound nobody could measure is written as text, because JSON has no infinity."""
    text = dumps(Bounds(float("-inf"), float("inf")))

    assert json.loads(text, parse_constant=pytest.fail) == {"min": "-inf", "max": "inf"}


def test_a_field_added_later_gets_its_default():
    """A record of an older version, which lacks a field with a default, is read with that default."""
    document = json.loads(dumps(rotation()))
    del document["mints"]

    assert loads(Rotation, json.dumps(document)) == rotation()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"state": "sleeping"}, "state is not one of running, draining"),
        ({"state": 7}, "state is not one of"),
        ({"colour": "red"}, "colour is not a field this version knows"),
        ({"id": 5}, "id is not of type str"),
        ({"mints": True}, "mints is not of type int"),
        ({"minted": 1}, "minted is not of type bool"),
        ({"started_at": "yesterday"}, "started_at is not a time"),
        ({"started_at": "2026-11-21T12:00:00"}, "started_at is a time without an offset"),
        ({"outage": {"min": 0.0}}, "outage.max is missing"),
        ({"outage": {"min": 0.0, "max": "far"}}, "outage.max is not a number"),
        ({"outage": {"min": 0.0, "max": True}}, "outage.max is not a number"),
        ({"steps": {}}, "steps is not of type list"),
        ({"steps": [{"name": "mint"}]}, r"steps\[0\].at is missing"),
        ({"snapshot": []}, "snapshot is not of type dict"),
        ({"intent": "x"}, "intent is not of type dict"),
    ],
)
def test_what_is_not_the_record_is_refused_with_the_place(change, complaint):
    """Unknown states, unknown fields, missing fields and wrong types are named, not guessed at."""
    document = json.loads(dumps(rotation())) | change

    with pytest.raises(Unreadable, match=f"^{complaint}"):
        loads(Rotation, json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5"])
def test_what_is_no_document_is_refused(text):
    """Text that is no JSON object is refused as a whole."""
    with pytest.raises(Unreadable, match=r"^it is not"):
        loads(Rotation, text)


def test_words_of_people_are_scrubbed():
    """A token that somebody typed into a reason, or that a message carries, is not written."""
    leaked = "lm_" + "A" * 32
    written = dumps(rotation(reason=f"leaked: {leaked}", message=leaked)) + dumps(
        attention(message=leaked, next=leaked)
    )

    assert leaked not in written
    assert written.count("[secret]") == 4


def test_names_that_look_like_tokens_come_back_to_the_letter():
    """Only free text is scrubbed: a snapshot with a curious secret name must stay usable."""
    snapshot = {"destinations": [{"secret_id": "prod/lm_billing_production_tokens"}]}

    assert loads(Rotation, dumps(rotation(snapshot=snapshot))).snapshot == snapshot
    assert loads(Rotation, dumps(rotation())).project == PROJECT
