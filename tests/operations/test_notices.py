"""What is told to whom: read off the journal, once for each matter, whatever dies or is away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rotator.clock import Instant
from rotator.errors import JournalUnavailable, Unreachable
from rotator.interrupt import Stop
from rotator.journal.base import SpoolState
from rotator.journal.sqlite import SqliteJournal
from rotator.model import Attention, Policy, Rotation, State, Strategy, Trigger
from rotator.notifiers.base import Notice
from rotator.operations.notices import CLAIM_SECONDS, MOST_TRIES, Notifications, notifier_id, with_untold
from tests.conftest import FakeClock
from tests.http.conftest import policy as status_of
from tests.journal.builders import PROJECT, full_rotation, rotation, stranger

SLACK = {"type": "slack", "url_file": "/run/secrets/slack", "on": ["failed", "needs-attention"]}
ALL = {
    "type": "webhook",
    "url": "https://siem.example.com/secret-path",
    "on": ["completed", "failed", "needs-attention", "emergency"],
}


class Office:
    """A journal in memory, one policy, and notifiers that keep what they are told."""

    def __init__(self, clock: FakeClock, *notify: Mapping[str, Any]) -> None:
        self.clock = clock
        self.journal = SqliteJournal.in_memory(clock)
        self.policy = Policy("billing", PROJECT, Strategy.IN_PLACE, (), notify=notify, owner="team-billing")
        self.told: list[tuple[str, Notice]] = []
        self.away = False
        self.begun = clock.now()

    def process(self) -> Notifications:
        """Another process would begin with nothing but the journal."""
        return Notifications(self.journal, self.clock, self._make, begun=self.begun)

    def look(self) -> list[tuple[str, str]]:
        """What one look tells: type, and the title."""
        before = len(self.told)
        self.process().tell([self.policy], Stop(), seconds=10)
        return [(kind, notice.title) for kind, notice in self.told[before:]]

    def _make(self, entry: Mapping[str, Any]) -> Any:
        office = self

        class Receiver:
            def send(self, notice: Notice) -> None:
                if office.away:
                    raise Unreachable("nobody is there")
                office.told.append((entry["type"], notice))

        return Receiver()

    def ended(self, state: State, **changes: Any) -> Rotation:
        self.clock.advance(60)
        changes = {"step": "", "finished_at": self.clock.now(), "message": f"it is {state}", **changes}
        made = rotation(
            f"r-{self.clock.now().timestamp():.0f}",
            policy="billing",
            state=state,
            started_at=self.clock.now(),
            **changes,
        )
        self.save(made)
        return made

    def save(self, one: Rotation) -> None:
        lease = self.journal.acquire((PROJECT,), stranger(), ttl=15)
        self.journal.save(lease, one)
        self.journal.release(lease)

    def attend(self, code: str = "token-dead") -> None:
        self.journal.raise_attention(
            Attention("billing", code, self.clock.now(), "it is dead", "`rotator rotate billing`")
        )


@pytest.fixture
def office(clock: FakeClock) -> Office:
    return Office(clock, SLACK, ALL)


def test_each_event_goes_to_those_who_asked_for_it(office: Office) -> None:
    """`on` chooses; the attention's command and the policy's owner go along."""
    office.ended(State.COMPLETED)
    assert office.look() == [("webhook", "billing was rotated")]
    office.attend()
    assert office.look() == [(kind, "billing needs attention: token-dead") for kind in ("slack", "webhook")]
    notice = office.told[-1][1]
    assert (notice.next, notice.owner, notice.urgent) == ("`rotator rotate billing`", "team-billing", True)
    assert office.look() == []


def test_the_end_of_a_matter_is_told_under_the_same_name(office: Office) -> None:
    """Attention that is gone is told to have ended, once, to those who heard of it; new attention is a new notice."""
    office.attend()
    office.look()
    office.journal.clear_attention("billing")
    assert office.look() == [(kind, "billing: token-dead has ended") for kind in ("slack", "webhook")]
    begun, over = office.told[0][1], office.told[2][1]
    assert (begun.matter, begun.over, over.matter, over.over) == ("token-dead", False, "token-dead", True)
    assert over.id == f"{begun.id}/over"
    assert office.look() == []
    office.clock.advance(60)
    office.attend()
    assert len(office.look()) == 2


def test_failures_in_a_row_are_one_matter(office: Office) -> None:
    """The first is told, the hundredth is not; what completes then ends the matter, and the next failure is a new one."""
    for _ in range(3):
        office.ended(State.FAILED)
        office.look()
    for _ in range(100):
        office.ended(State.REFUSED)
    assert office.look() == []
    assert [notice.title for _, notice in office.told] == ["billing could not be rotated"] * 2
    office.ended(State.COMPLETED)
    assert sorted(office.look()) == [
        ("slack", "billing rotates again"),
        ("webhook", "billing rotates again"),
        ("webhook", "billing was rotated"),
    ]
    office.ended(State.FAILED)
    assert len(office.look()) == 2


def test_a_rotation_that_was_given_up_has_failed_before_its_token_is_dead(office: Office) -> None:
    """A rollback in mid-drain: told at once, under the name that its end has, and once; the drain itself is no matter."""
    begun = office.ended(State.DRAINING, step="drain", finished_at=None)
    assert office.look() == []
    back = replace(begun, step="drain-incoming", abandoned="Rolled back by a person.", message="Rolled back")
    office.save(back)
    assert office.look() == [(kind, "billing could not be rotated") for kind in ("slack", "webhook")]
    for state in (State.RUNNING, State.DRAINING, State.NEEDS_ATTENTION):
        office.save(replace(back, state=state))  # looked at, and stuck for a while
        assert office.look() == []
    office.save(replace(back, state=State.FAILED, step="", finished_at=office.clock.now()))
    assert office.look() == []


def test_an_emergency_that_is_over_is_told_all_the_same(office: Office) -> None:
    """Whoever looks only afterwards tells that it began, then that it ended."""
    office.ended(State.COMPLETED, trigger=Trigger.EMERGENCY, reason="INC-1")
    titles = [title for _, title in office.look()]
    assert "billing: an emergency rotation has begun" in titles
    assert [title for _, title in office.look()] == ["billing: the emergency rotation has ended"]


def test_an_emergency_is_told_while_it_drains(office: Office) -> None:
    """It has begun; that it has ended is told when it has."""
    draining = office.ended(State.DRAINING, step="drain", finished_at=None, trigger=Trigger.EMERGENCY)
    assert office.look() == [("webhook", "billing: an emergency rotation has begun")]
    assert office.look() == []
    office.save(replace(draining, state=State.COMPLETED, step="", finished_at=office.clock.now()))
    assert "billing: the emergency rotation has ended" in [title for _, title in office.look()]


def test_a_rehearsal_is_nobodys_business(office: Office) -> None:
    """Neither its success nor its failure is told."""
    office.ended(State.COMPLETED, trigger=Trigger.REHEARSAL)
    office.ended(State.FAILED, trigger=Trigger.REHEARSAL)
    assert office.look() == []


def test_a_new_notifier_hears_nothing_of_the_past(office: Office) -> None:
    """What ended before the process began that met it first is not told; what a person must look at now is."""
    office.ended(State.COMPLETED)
    office.attend()
    office.clock.advance(3600)
    office.begun = office.clock.now()
    assert office.look() == [(kind, "billing needs attention: token-dead") for kind in ("slack", "webhook")]
    office.begun = office.clock.now() + timedelta(days=1)  # a later process does not move it
    office.ended(State.COMPLETED)
    assert office.look() == [("webhook", "billing was rotated")]


def test_what_on_is_widened_to_begins_then(office: Office) -> None:
    """Whoever asks for more hears of what happens from then on, not of what it did not ask for before."""
    office.policy = replace(office.policy, notify=(SLACK,))
    office.ended(State.COMPLETED)
    assert office.look() == []
    office.begun = office.clock.now() + timedelta(seconds=1)
    office.policy = replace(office.policy, notify=({**SLACK, "on": ["completed", "failed"]},))
    assert office.look() == []
    office.ended(State.COMPLETED)
    assert office.look() == [("slack", "billing was rotated")]


def test_what_cannot_be_told_waits_and_is_told_once(office: Office) -> None:
    """Tried again with pauses that grow; the end of a matter waits until its beginning was told."""
    office.attend()
    office.away = True
    assert office.look() == []
    office.journal.clear_attention("billing")
    office.away = False
    assert office.look() == []  # not before the pause has passed
    office.clock.advance(20)
    assert office.look() == [(kind, "billing needs attention: token-dead") for kind in ("slack", "webhook")]
    assert office.look() == [(kind, "billing: token-dead has ended") for kind in ("slack", "webhook")]
    assert office.look() == []


def test_a_notifier_that_stays_away_is_given_up(office: Office) -> None:
    """After days; status has told of it all the while, and nothing else waited for it."""
    office.attend()
    office.away = True
    office.look()
    (one,) = with_untold(office.journal, [status_of("billing")])
    assert {(missing.type, missing.waiting, missing.error) for missing in one.untold} == {
        ("slack", 1, "nobody is there"),
        ("webhook", 1, "nobody is there"),
    }
    for _ in range(MOST_TRIES):
        office.clock.advance(3601)
        office.look()
    (one,) = with_untold(office.journal, [status_of("billing")])
    assert {(missing.waiting, missing.given_up) for missing in one.untold} == {(0, 1)}
    office.away = False
    office.clock.advance(3601)
    assert office.look() == []


def test_a_process_that_dies_while_it_tells_loses_nothing(office: Office) -> None:
    """The next one tells it under the same id, when the claim of the dead one has run out."""
    office.attend()
    process = office.process()
    process.collect([office.policy])
    names = tuple(notifier_id(office.policy, entry) for entry in office.policy.notify)
    assert office.journal.spool.claim(names, CLAIM_SECONDS) is not None
    assert [kind for kind, _ in office.look()] == ["webhook"]
    office.clock.advance(CLAIM_SECONDS)
    assert [kind for kind, _ in office.look()] == ["slack"]


def test_a_notifier_that_breaks_keeps_no_other_waiting(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody thought of is that notifier's trouble: the next one is told, and the log says what happens then."""
    office.attend()
    make = office._make

    def broken(entry: Mapping[str, Any]) -> Any:
        if entry["type"] == "slack":
            raise RuntimeError("a defect")
        return make(entry)

    process = Notifications(office.journal, office.clock, broken, begun=office.begun)
    process.tell([office.policy], Stop(), seconds=10)
    assert [kind for kind, _ in office.told] == ["webhook"]
    assert "It is told again in 15 s" in caplog.text
    (waiting,) = office.journal.spool.entries(SpoolState.WAITING)
    assert waiting.error


def test_a_look_costs_what_has_moved(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process that looks again and again reads the past of those policies only of which the journal says
    something new; all that happens is told nevertheless."""
    read: list[str] = []
    rotations = office.journal.rotations

    def counted(policy: str | None = None, limit: int | None = None) -> list[Rotation]:
        read.extend([policy] if policy else [])
        return rotations(policy, limit=limit)

    monkeypatch.setattr(office.journal, "rotations", counted)
    policies = [office.policy, *(replace(office.policy, name=f"other-{n}") for n in range(50))]
    process = office.process()

    def look() -> list[str]:
        read.clear()
        before = len(office.told)
        process.tell(policies, Stop(), seconds=10)
        return [notice.title for _, notice in office.told[before:]]

    assert look() == []
    assert len(read) == 51
    assert (look(), read) == ([], [])
    office.ended(State.COMPLETED)
    assert (look(), read) == (["billing was rotated"], ["billing"])
    assert (look(), read) == ([], [])
    office.attend()
    office.away = True
    assert look() == []
    office.journal.clear_attention("billing")
    office.away = False
    office.clock.advance(60)
    assert look() == ["billing needs attention: token-dead"] * 2
    assert look() == ["billing: token-dead has ended"] * 2
    assert (look(), read) == ([], [])


def test_two_processes_tell_a_thing_once(office: Office) -> None:
    """Both see it; one tells it."""
    office.attend()
    for process in (office.process(), office.process()):
        process.tell([office.policy], Stop(), seconds=10)
    assert len(office.told) == 2


def test_notices_of_another_processs_policies_are_left_to_it(office: Office) -> None:
    """A process that does not know a notifier neither sends for it nor gives it up."""
    office.attend()
    office.away = True
    office.look()
    office.away = False
    stranger = replace(office.policy, name="other")
    office.clock.advance(3600)
    office.process().tell([stranger], Stop(), seconds=10)
    assert office.told == []
    assert len(office.journal.spool.entries(SpoolState.WAITING)) == 2


def test_a_stopped_process_leaves_it_to_the_next(office: Office) -> None:
    """After a signal nothing is sent any more, and nothing is lost."""
    office.attend()
    stop = Stop()
    stop.request(15)
    office.process().tell([office.policy], stop, seconds=10)
    assert office.told == []
    assert len(office.look()) == 2


def test_a_journal_that_is_away_changes_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """It is said, and no command fails for it."""

    def away(*_: object) -> None:
        raise JournalUnavailable("the journal is away")

    monkeypatch.setattr(office.journal, "attentions", away)
    assert office.process().tell([office.policy], Stop(), seconds=10) == []
    assert "the journal is away" in caplog.text


def test_the_journal_holds_no_address(office: Office) -> None:
    """A URL is a secret: the name of a notifier in the journal shows nothing of it, and what it is told does not
    change that name."""
    name = notifier_id(office.policy, ALL)
    assert "siem" not in name
    assert "secret" not in name
    assert notifier_id(office.policy, {**ALL, "on": ["failed"]}) == name
    assert notifier_id(office.policy, {**ALL, "url": "https://other.example.com"}) != name


def test_an_emergency_that_hurries_an_open_rotation_is_told(office: Office) -> None:
    """A scheduled rotation that a leak made urgent is an emergency from then on."""
    draining = office.ended(State.DRAINING, step="drain", finished_at=None)
    office.clock.advance(3600)
    office.begun = office.clock.now()  # and the notifier is new
    assert office.look() == []
    office.clock.advance(60)
    emergency = full_rotation().emergency
    assert emergency is not None
    office.save(replace(draining, emergency=replace(emergency, reported=Instant.read(office.clock))))
    assert office.look() == [("webhook", "billing: an emergency rotation has begun")]
