"""Searching the log for a token, and its last events."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest

from rotator.audit.base import AuditEvent, AuditMisconfigured
from rotator.audit.line import MAX_LINE
from rotator.audit.search import search, tail
from rotator.errors import AuditUnavailable
from tests.audit.conftest import Trail

OLD = "fp_" + "0" * 20
NEW = "fp_" + "1" * 20
NEVER = "fp_" + "2" * 20


def record(trail: Trail, event: str, **data: Any) -> str:
    """Records one event and returns its time."""
    trail.clock.advance(1)
    trail.writer().record(AuditEvent(event, policy="billing", project="p-1", rotation="r-1", data=data))
    return str(trail.events[-1]["at"])


@pytest.fixture
def rotated(trail: Trail) -> dict[str, str]:
    """The events of one in-place rotation as the engine records them, and their times by what they say."""
    return {
        "met": record(trail, "token.verify.intent", verifier="ping", fingerprint=OLD),
        "intent": record(trail, "mint.token.intent", known_fingerprints=[OLD]),
        "unclear": record(trail, "mint.token.outcome", executed=False, fingerprint=NEW),
        "minted": record(trail, "mint.token.outcome", executed=True, fingerprint=NEW),
        "refused": record(trail, "publish.destination.outcome", destination="a", ok=False, fingerprint=NEW),
        "published": record(trail, "publish.destination.outcome", destination="a", ok=True, fingerprint=NEW),
        "again": record(trail, "publish.destination.outcome", destination="b", ok=True, fingerprint=NEW),
        "alive": record(trail, "token.prove-dead", fingerprint=OLD, answer="alive"),
        "dead": record(trail, "token.prove-dead", fingerprint=OLD, answer="dead"),
        "closed": record(trail, "rotation.close", state="completed"),
    }


def test_the_life_of_a_minted_token(trail: Trail, rotated: dict[str, str]) -> None:
    """When it was minted and first published; it lives, so there is no death."""
    found = search(trail.path, NEW)
    assert found.ours
    assert (found.minted_at, found.published_at) == (rotated["minted"], rotated["published"])
    assert (found.adopted_at, found.dead_at) == (None, None)
    assert (found.policies, found.projects) == (("billing",), ("p-1",))
    assert len(found.events) == 5


def test_the_life_of_an_adopted_token(trail: Trail, rotated: dict[str, str]) -> None:
    """A token that somebody else made is ours from when we met it until it was refused."""
    found = search(trail.path, OLD)
    assert (found.minted_at, found.published_at) == (None, None)
    assert (found.adopted_at, found.dead_at) == (rotated["met"], rotated["dead"])


def test_a_token_found_dead_is_dead_since_then(trail: Trail) -> None:
    """The preflight may be the first to notice."""
    at = record(trail, "token.found-dead", fingerprint=OLD, repaired=True)
    assert search(trail.path, OLD).dead_at == at


def test_a_published_token_whose_mint_was_lost_is_not_adopted(trail: Trail) -> None:
    """Recovered after a lost answer: published by us, so not somebody else's."""
    at = record(trail, "publish.destination.outcome", destination="a", ok=True, fingerprint=NEW)
    found = search(trail.path, NEW)
    assert (found.minted_at, found.adopted_at, found.published_at) == (None, None, at)


@pytest.mark.usefixtures("rotated")
def test_a_token_that_was_never_ours(trail: Trail) -> None:
    """No event, no times."""
    found = search(trail.path, NEVER)
    assert not found.ours
    assert found.as_json() == {
        "fingerprint": NEVER,
        "ours": False,
        "policies": [],
        "projects": [],
        "minted_at": None,
        "adopted_at": None,
        "published_at": None,
        "dead_at": None,
        "unreadable": 0,
        "events": [],
    }


def test_events_come_in_the_order_of_time(trail: Trail) -> None:
    """One that waited for a full disk stands later in the file than it happened."""
    late = trail.clock.now()
    record(trail, "token.prove-dead", fingerprint=OLD, answer="dead")
    trail.writer().record(
        AuditEvent("token.verify.intent", data={"fingerprint": OLD}), at=late - timedelta(seconds=30)
    )
    assert [event["event"] for event in search(trail.path, OLD).events] == [
        "token.verify.intent",
        "token.prove-dead",
    ]


def test_lines_that_are_no_events_are_counted(trail: Trail, rotated: dict[str, str]) -> None:
    """The rest is searched all the same."""
    junk = [b"\n", b"\xff\xfe\n", b'["' + NEW.encode() + b'"]\n', b'{"event":1,"at":"x","data":{}}\n']
    trail.lines = [*junk, *trail.lines]
    found = search(trail.path, NEW)
    assert found.unreadable == 4
    assert found.minted_at == rotated["minted"]


def test_a_missing_log_knows_nothing(trail: Trail) -> None:
    """Neither search nor tail fails before the first event."""
    assert not search(trail.path, NEW).ours
    assert tail(trail.path, 10) == []


@pytest.mark.parametrize(("count", "expected"), [(-1, 0), (0, 0), (1, 1), (9, 9), (10, 10), (11, 10)])
@pytest.mark.usefixtures("rotated")
def test_the_tail_has_the_last_events(trail: Trail, count: int, expected: int) -> None:
    """Oldest first, and no more than there are."""
    assert tail(trail.path, count) == (trail.events[-expected:] if expected else [])


def test_the_tail_of_a_long_log_reads_only_its_end(trail: Trail) -> None:
    """Lines longer than a block and blocks with many lines are put together rightly."""
    for size in (10, 70_000, 10, 200_000, 10, 10):
        record(trail, "test.step", text="x" * size)
    for count in range(1, 8):
        assert tail(trail.path, count) == trail.events[-count:]


@pytest.mark.usefixtures("rotated")
def test_the_tail_leaves_out_a_torn_line_and_shows_a_foreign_one(trail: Trail) -> None:
    """A line that is no event is shown as such, cut and without anything token-shaped."""
    token = "lm_" + "Aa1" * 11
    trail.lines = [*trail.lines, f"{'y' * 180} {token} {'y' * 300}\n".encode(), b'{"torn":']
    last = tail(trail.path, 2)
    assert last[0]["event"] == "rotation.close"
    assert set(last[1]) == {"unreadable"}
    assert token[:10] not in last[1]["unreadable"]
    assert len(last[1]["unreadable"]) <= 200


def test_what_cannot_be_read_is_an_error(trail: Trail) -> None:
    """A folder in the place of the log, or a file without lines, is said to be that."""
    trail.path.mkdir(parents=True)
    for read in (lambda: search(trail.path, NEW), lambda: tail(trail.path, 1)):
        with pytest.raises(AuditMisconfigured, match="cannot be read"):
            read()
    trail.path.rmdir()
    with trail.path.open("wb") as file:
        os.truncate(file.fileno(), 64 * MAX_LINE)
    with pytest.raises(AuditUnavailable, match="not made of lines"):
        tail(trail.path, 1)
    assert search(trail.path, NEW).unreadable > 0
