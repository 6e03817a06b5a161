"""What a SIEM gets: CloudEvents with an OCSF event in each."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from rotator.audit import export
from rotator.audit.base import AuditEvent, ChainHead
from rotator.audit.chain import verify
from rotator.audit.export import ChangedMeanwhile, exported
from rotator.clock import parse_rfc3339
from tests.audit.conftest import KEY

# Of the class Entity Management in OCSF 1.8.0: what must be there, and what else may be.
REQUIRED = {
    "activity_id",
    "category_uid",
    "class_uid",
    "entity",
    "metadata",
    "severity_id",
    "time",
    "type_uid",
}
ALLOWED = REQUIRED | {
    "activity_name",
    "actor",
    "category_name",
    "class_name",
    "comment",
    "message",
    "severity",
    "src_endpoint",
    "status",
    "status_detail",
    "status_id",
    "type_name",
    "unmapped",
}
MINTED = {"executed": True, "fingerprint": "fp_" + "1" * 20}


@pytest.fixture
def out(trail):
    """Exports the whole of the trail, or a part of it."""

    def read(**chosen: Any) -> list[dict[str, Any]]:
        report = verify(trail.path, KEY, trail.anchor.head)
        assert report.ok
        head = report.head or ChainHead(0, "")
        return list(exported(trail.path, KEY, head, "1.2.3", **chosen)) if report.head else []

    return read


def record(trail, name="mint.token.outcome", *, trigger="schedule", policy="billing", **data):
    event = AuditEvent(name, policy, policy and "project-1", policy and "r-1", trigger, data)
    trail.writer().record(event)


def test_an_event_has_both_forms(trail, out):
    """Everything that CloudEvents and OCSF require, and what is left under `unmapped`."""
    record(trail, executed=None, error="no answer within 10 s", reason="spring cleaning")
    (event,) = out()
    data = event.pop("data")
    (line,) = trail.events
    assert event == {
        "specversion": "1.0",
        "id": "1",
        "source": f"/rotator/audit/{line['mac'][:32]}",
        "type": "rotator.audit.mint.token.outcome.v1",
        "subject": "billing",
        "time": "2026-11-21T12:00:00.000Z",
        "datacontenttype": "application/json",
        "dataschema": "https://schema.ocsf.io/1.8.0/classes/entity_management",
    }
    assert data == {
        "category_uid": 3,
        "category_name": "Identity & Access Management",
        "class_uid": 3004,
        "class_name": "Entity Management",
        "activity_id": 3,
        "activity_name": "Update",
        "type_uid": 300403,
        "type_name": "Entity Management: Update",
        "time": 1795262400000,
        "severity_id": 1,
        "severity": "Informational",
        "status_id": 0,
        "status": "Unknown",
        "status_detail": "no answer within 10 s",
        "message": "mint.token.outcome: what came of it",
        "comment": "spring cleaning",
        "entity": {"type_id": 99, "type": "secret", "name": "billing", "uid": "project-1"},
        "actor": {
            "app_name": "rotator",
            "user": {"name": "rotator"},
            "process": {"cmd_line": "rotator run", "pid": 4711},
        },
        "src_endpoint": {"hostname": "node-1"},
        "metadata": {
            "version": "1.8.0",
            "product": {"name": "rotator", "vendor_name": "rotator", "version": "1.2.3"},
            "log_name": "audit",
            "log_version": "1",
            "uid": line["mac"],
            "sequence": 1,
            "event_code": "mint.token.outcome",
            "original_time": "2026-11-21T12:00:00.000Z",
            "correlation_uid": "r-1",
        },
        "unmapped": {
            "trigger": "schedule",
            "prev": "0" * 64,
            "data": {"executed": None, "error": "no answer within 10 s", "reason": "spring cleaning"},
        },
    }


@pytest.mark.parametrize("name", ["some.newer-thing", *export.EVENTS])
def test_every_event_fits_the_class(trail, out, name):
    """Also one that a newer rotator wrote: what is required is there, numbers and names agree."""
    record(trail, name)
    (event,) = out()
    data = event["data"]
    assert REQUIRED <= set(data) <= ALLOWED
    assert data["type_uid"] == 300400 + data["activity_id"]
    assert data["type_name"] == f"Entity Management: {data['activity_name']}"
    assert (data["activity_id"] == 99) == (data["activity_name"] == name)
    assert (data["status"] == "Intended") == name.endswith(".intent")


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("mint.token.outcome", {"executed": True}, "Success"),
        ("mint.token.outcome", {"executed": False, "error": "429"}, "Failure"),
        ("mint.token.outcome", {"executed": None}, "Unknown"),
        ("publish.destination.outcome", {"ok": False}, "Failure"),
        ("token.verify.outcome", {"verdict": "passed"}, "Success"),
        ("token.verify.outcome", {"verdict": "failed"}, "Failure"),
        ("token.verify.outcome", {"verdict": "unknown"}, "Unknown"),
        ("token.prove-dead", {"answer": "dead"}, "Success"),
        ("token.prove-dead", {"answer": "alive"}, "Failure"),
        ("token.prove-dead", {"answer": None}, "Unknown"),
        ("rotation.close", {"state": "completed"}, "Success"),
        ("rotation.rest", {"state": "refused"}, "Failure"),
        ("policy.hold", {"by": "ana"}, "Success"),
        ("publish.destination.intent", {"destination": "x"}, "Intended"),
    ],
)
def test_the_status_is_what_came_of_it(trail, out, name, data, status):
    """Success, failure, or not known; what is only intended says so."""
    record(trail, name, **data)
    assert [one["data"]["status"] for one in out()] == [status]


@pytest.mark.parametrize(
    ("name", "trigger", "data", "severity"),
    [
        ("rotation.start", "schedule", {}, "Informational"),
        ("rotation.start", "emergency", {}, "Medium"),
        ("publish.destination.outcome", "schedule", {"ok": False}, "Medium"),
        ("drain.stuck", "schedule", {}, "Medium"),
        ("token.found-dead", "schedule", {}, "High"),
        ("rotation.rest", "schedule", {"state": "needs-attention"}, "High"),
    ],
)
def test_the_severity_tells_who_should_look(trail, out, name, trigger, data, severity):
    """High where readers hold a dead token or somebody must act."""
    record(trail, name, trigger=trigger, **data)
    assert [one["data"]["severity"] for one in out()] == [severity]


def test_our_own_records_are_entities_too(trail, out):
    """An event that belongs to no policy is about the journal or the log itself."""
    record(trail, "journal.create", policy=None, journal="j-1")
    record(trail, "audit.repaired", policy=None, bytes=3)
    made, repaired = out()
    assert made["data"]["entity"] == {"type_id": 99, "type": "journal", "name": "j-1"}
    assert repaired["data"]["entity"] == {"type_id": 99, "type": "audit log", "name": "audit log"}
    assert "subject" not in made
    assert "correlation_uid" not in made["data"]["metadata"]


def test_the_address_that_asked_is_the_source(trail, out):
    """Of a request over HTTP."""
    record(trail, "rotation.request", trigger="api", caller="203.0.113.7", reason="now")
    (event,) = out()
    assert event["data"]["src_endpoint"] == {"hostname": "node-1", "ip": "203.0.113.7"}


def test_a_part_can_be_asked_for(trail, out, clock):
    """By number, or by the time at which it happened: both sides of each limit."""
    start = clock.now()
    trail.write(5)
    assert [one["id"] for one in out(after=3)] == ["4", "5"]
    assert [one["id"] for one in out(after=5)] == []
    third = start + timedelta(seconds=2)
    assert [one["id"] for one in out(since=third)] == ["3", "4", "5"]
    assert [one["id"] for one in out(since=third + timedelta(milliseconds=1))] == ["4", "5"]
    assert [one["id"] for one in out(since=third, after=4)] == ["5"]


def test_the_source_names_the_chain(trail, out, another_trail):
    """The same for every part of one log, another for another log."""
    trail.write(3)
    sources = {one["source"] for one in (*out(), *out(after=2))}
    assert len(sources) == 1
    other = another_trail("elsewhere")
    other.clock.advance(60)
    other.write()
    (found,) = exported(other.path, KEY, other.anchor.head, "1")
    assert found["source"] not in sources


def test_what_came_after_the_check_is_left_for_the_next_time(trail):
    """Only what was verified leaves."""
    trail.write(2)
    head = trail.anchor.head
    trail.write(2)
    assert [one["id"] for one in exported(trail.path, KEY, head, "1")] == ["1", "2"]


@pytest.mark.parametrize(
    ("change", "passed_on", "why"),
    [("a byte", ["1"], "line 2 is not as it was written"), ("the end", ["1", "2"], "event 3 is not there")],
)
def test_a_log_that_changes_meanwhile_ends_the_export(trail, change, passed_on, why):
    """What was changed between the check and the reading is not passed on, nor what stands behind it."""
    trail.write(3)
    head = trail.anchor.head
    lines = trail.lines
    if change == "a byte":
        lines[1] = lines[1].replace(b"billing", b"bowling")
    else:
        del lines[2:]
    trail.path.write_bytes(b"".join(lines))
    found = []
    with pytest.raises(ChangedMeanwhile, match=why):
        found.extend(one["id"] for one in exported(trail.path, KEY, head, "1"))
    assert found == passed_on


def test_it_is_written_while_it_is_read(trail):
    """The first event is there before the second line is looked at: no log is too long for the memory."""
    for _ in range(2):
        record(trail, reason="long" * 10_000)
    events = exported(trail.path, KEY, trail.anchor.head, "1")
    assert next(events)["id"] == "1"
    lines = trail.lines
    trail.path.write_bytes(lines[0] + b"x" * len(lines[1]))
    with pytest.raises(ChangedMeanwhile):
        next(events)


def test_times_and_ids_are_of_the_form_that_cloudevents_asks_for(trail, out):
    """RFC 3339 with an offset, a relative URI, ids that are texts."""
    trail.write(2)
    for event in out():
        assert isinstance(parse_rfc3339(event["time"]), datetime)
        assert re.fullmatch(r"/rotator/audit/[0-9a-f]{32}", event["source"])
        assert re.fullmatch(r"[0-9]+", event["id"])
        assert re.fullmatch(r"rotator\.audit\.[a-z.-]+\.v1", event["type"])
