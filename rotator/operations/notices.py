"""Who is told what: read off the journal, so that nothing is left untold whatever died.

A notice is no message that a step sends; it follows from what the journal holds (rotations at rest, open
attention), under a name that is always the same. Whoever looks finds what has not been told yet, spools it,
and sends what waits. A receiver that cannot be reached is tried again, and nothing else waits for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from rotator.clock import Clock, parse_rfc3339, rfc3339
from rotator.errors import RotatorError
from rotator.interrupt import Stop
from rotator.journal.base import Journal, SpoolEntry, SpoolState
from rotator.model import Attention, Policy, Rotation, State, Trigger
from rotator.notifiers.base import Event, Notice, Notifier
from rotator.operations.several import attempted
from rotator.views import PolicyStatus, Untold, rotation_view

log = logging.getLogger(__name__)

CALL_SECONDS: Final = 10.0
"""For one message, so that one that does not answer keeps the others a little only."""
CLAIM_SECONDS: Final = 60.0
FIRST_PAUSE: Final = 15.0
LONGEST_PAUSE: Final = 3600.0
MOST_TRIES: Final = 90
"""About three days of trying."""
_READ: Final = 20
_LATELY: Final = 100
"""Rotations of all policies that every look reads; more than can come to an end between two of them."""
_FAILED: Final = (State.FAILED, State.REFUSED)
_DEAD: Final = ("token-dead",)
"""Attention that means that mail stands still."""

Make = Callable[[Mapping[str, Any]], Notifier]
"""The notifier of one entry of `notify`."""


@dataclass(frozen=True)
class Delivery:
    """One try to tell one notifier something."""

    type: str
    policy: str
    error: RotatorError | None


def notifier_id(policy: Policy, entry: Mapping[str, Any]) -> str:
    """The same as long as policy and receiver are, whatever it is told; shows no address."""
    named = {key: value for key, value in entry.items() if key != "on"}
    digest = hashlib.sha256(
        json.dumps([policy.name, named], sort_keys=True, default=str).encode()
    ).hexdigest()
    return f"{entry['type']}:{digest[:16]}"


class Notifications:
    """Tells the notifiers of policies what became of their rotations. Safe to use from several threads."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        make: Make,
        *,
        begun: datetime,
        told: Callable[[Delivery], None] = lambda _: None,
    ) -> None:
        """`begun`: when this process did; what happened since then is told to a notifier that is new to the journal,
        and nothing from before. `told` hears of every try."""
        self._journal = journal
        self._clock = clock
        self._make = make
        self._begun = begun
        self._told = told
        self._marks: dict[str, object] = {}
        """By policy: what the journal said when it was looked at last."""

    def tell(self, policies: Iterable[Policy], stop: Stop, *, seconds: float) -> list[Delivery]:
        """Spools what is new, and sends what waits for these policies, for at most so many seconds in all.

        Never raises: a journal that is away, or a notifier that is, is tried again by whoever comes next.
        """
        named = [policy for policy in policies if policy.notify]
        if not named:
            return []
        try:
            self.collect(named)
            return self._deliver(named, stop, self._clock.boot() + seconds)
        except RotatorError as error:
            log.warning("notifications wait: %s", error.happened)
        except Exception:
            log.exception("unexpected error while notices were told; the next look goes on")
        return []

    def collect(self, policies: Sequence[Policy]) -> None:
        """Spools what has not been told yet. Raises JournalUnavailable."""
        marks = self._marks_of(policies)
        # What is open may end, or may only now have been told.
        told = {entry.policy for entry in self._journal.spool.entries(SpoolState.WAITING, SpoolState.SENT)}
        for policy in policies:
            if policy.name in told or marks[policy.name] != self._marks.get(policy.name):
                self._collect_of(policy)
                self._marks[policy.name] = marks[policy.name]

    def _marks_of(self, policies: Sequence[Policy]) -> dict[str, object]:
        """What the journal says of each policy now, by a few queries for all: where that is what it was, nothing is
        new to tell. Thousands of policies cost no more than those that have moved."""
        told: dict[str, list[object]] = {policy.name: [policy.notify] for policy in policies}
        for attention in self._journal.attentions():
            told.setdefault(attention.policy, []).append((attention.code, attention.since))
        for rotation in (*self._journal.unfinished(), *self._journal.rotations(limit=_LATELY)):
            stands = (rotation.id, rotation.state, rotation.urgent, bool(rotation.abandoned))
            told.setdefault(rotation.policy, []).append(stands)
        return {policy.name: told[policy.name] for policy in policies}

    def _collect_of(self, policy: Policy) -> None:
        found = list(_notices(self._journal, policy))
        lasting = {notice.id for notice, over in found if not over}
        done = [notice for notice, _ in found if notice.event is Event.COMPLETED]
        open_now = self._journal.spool.entries(SpoolState.SENT, policy=policy.name)
        entries: list[SpoolEntry] = []
        for entry in policy.notify:
            name = notifier_id(policy, entry)
            # For each event by itself: what `on` is widened to begins then, too.
            since = {
                event: self._journal.spool.known_since(f"{name} {event}", self._begun)
                for event in entry["on"]
            }
            wanted = {
                notice.id: notice
                for notice, _ in found
                if notice.event in since
                and (notice.at >= since[notice.event] or notice.event is Event.NEEDS_ATTENTION)
            }
            known = self._journal.spool.known(name, tuple(wanted))
            entries += [_entry(name, notice) for notice in wanted.values() if notice.id not in known]
            entries += [
                _entry(name, _over(_notice(told.document), self._clock.now(), done))
                for told in open_now
                if told.notifier == name and told.notice not in lasting
            ]
        self._journal.spool.put(entries)

    def _deliver(self, policies: Sequence[Policy], stop: Stop, until: float) -> list[Delivery]:
        receivers = {
            notifier_id(policy, entry): (policy, entry) for policy in policies for entry in policy.notify
        }
        done: list[Delivery] = []
        while self._clock.boot() < until and not stop.requested.is_set():
            waiting = self._journal.spool.claim(tuple(receivers), CLAIM_SECONDS)
            if waiting is None:
                break
            policy, entry = receivers[waiting.notifier]
            done.append(self._send(policy, entry, waiting))
            self._told(done[-1])
        return done

    def _send(self, policy: Policy, entry: Mapping[str, Any], waiting: SpoolEntry) -> Delivery:
        notice = _notice(waiting.document)
        error = attempted(lambda: self._make(entry).send(notice))
        if error is not None:
            pause = min(FIRST_PAUSE * 2 ** min(waiting.tries, 20), LONGEST_PAUSE)
            again = waiting.tries + 1 < MOST_TRIES
            state = SpoolState.WAITING if again else SpoolState.GIVEN_UP
            self._journal.spool.settle(waiting, state, error=error.happened, again_in=pause)
            log.warning(
                "%s: %s was not told that %s: %s. %s%s",
                policy.name,
                entry["type"],
                notice.title,
                error.happened,
                f"It is told again in {pause:.0f} s" if again else "It is given up after days",
                f". {error.remedy}" if error.remedy else "",
            )
            return Delivery(entry["type"], policy.name, error)
        ends = not notice.over and notice.event is not Event.COMPLETED
        self._journal.spool.settle(waiting, SpoolState.SENT if ends else SpoolState.OVER)
        if notice.over:
            begun = replace(waiting, notice=notice.id.removesuffix(_OVER))
            self._journal.spool.settle(begun, SpoolState.OVER)
        return Delivery(entry["type"], policy.name, None)


def with_untold(journal: Journal, statuses: Iterable[PolicyStatus]) -> list[PolicyStatus]:
    """The same, with what notifiers could not be told. Raises JournalUnavailable."""
    by_policy: dict[str, dict[str, list[SpoolEntry]]] = {}
    for entry in journal.spool.entries(SpoolState.WAITING, SpoolState.GIVEN_UP):
        if entry.error:
            by_type = by_policy.setdefault(entry.policy, {})
            by_type.setdefault(entry.notifier.partition(":")[0], []).append(entry)
    return [
        replace(one, untold=tuple(_untold(kind, found) for kind, found in by_policy[one.name].items()))
        if one.name in by_policy
        else one
        for one in statuses
    ]


def _untold(kind: str, entries: Sequence[SpoolEntry]) -> Untold:
    waiting = sum(1 for entry in entries if entry.state is SpoolState.WAITING)
    return Untold(kind, waiting, len(entries) - waiting, entries[-1].error)


_OVER: Final = "/over"


def _notices(journal: Journal, policy: Policy) -> Iterator[tuple[Notice, bool]]:
    """What is so, or has happened, of all that anybody may want to be told; and whether it is over already."""
    for attention in journal.attentions(policy.name):
        yield _of_attention(policy, attention), False
    recent = _recent(journal, policy)
    for rotation in reversed(recent):
        if rotation.urgent:
            yield _of_emergency(policy, rotation), not rotation.unfinished
        if rotation.state is State.COMPLETED and rotation.finished_at is not None:
            yield _of_completion(policy, rotation, rotation.finished_at), True
    failed = _failed_since(recent)
    if failed is not None:
        yield _of_failure(policy, failed, recent[0]), False


def _recent(journal: Journal, policy: Policy) -> list[Rotation]:
    """The latest rotations, newest first, far enough back to hold the beginning of a row of failures."""
    limit = _READ
    while True:
        found = journal.rotations(policy.name, limit=limit)
        real = [one for one in found if one.trigger is not Trigger.REHEARSAL]
        if len(found) < limit or not all(_has_failed(one) for one in real):
            return real
        limit *= 4


def _failed_since(recent: Sequence[Rotation]) -> Rotation | None:
    """The first of the failures that nothing has come after but failures: they are told once."""
    first = None
    for rotation in recent:
        if not _has_failed(rotation):
            break
        first = rotation
    return first


def _has_failed(rotation: Rotation) -> bool:
    """One that was given up has, also while the token it gave up is still to be left by all and killed."""
    return rotation.state in _FAILED or (bool(rotation.abandoned) and rotation.unfinished)


def _of_attention(policy: Policy, attention: Attention) -> Notice:
    return _about(
        policy,
        Event.NEEDS_ATTENTION,
        id=f"{policy.name}/{attention.code}/{rfc3339(attention.since)}",
        at=attention.since,
        matter=attention.code,
        title=f"{policy.name} needs attention: {attention.code}",
        message=attention.message,
        next=attention.next,
        urgent=attention.code in _DEAD,
    )


def _of_emergency(policy: Policy, rotation: Rotation) -> Notice:
    return _about(
        policy,
        Event.EMERGENCY,
        rotation,
        id=f"{rotation.id}/emergency",
        # What hurries may have begun long before.
        at=rotation.emergency.reported.wall if rotation.emergency is not None else rotation.started_at,
        matter=f"emergency {rotation.id}",
        title=f"{policy.name}: an emergency rotation has begun",
        message=f"{rotation.actor} says: {rotation.reason}"
        if rotation.reason
        else f"Begun by {rotation.actor}",
        next=f"`rotator history --rotation {rotation.id}` shows where it stands",
        urgent=True,
    )


def _of_completion(policy: Policy, rotation: Rotation, at: datetime) -> Notice:
    return _about(
        policy,
        Event.COMPLETED,
        rotation,
        id=f"{rotation.id}/completed",
        at=at,
        matter=f"rotation {rotation.id}",
        title=f"{policy.name} was rotated",
        message=rotation.message,
    )


def _of_failure(policy: Policy, first: Rotation, latest: Rotation) -> Notice:
    return _about(
        policy,
        Event.FAILED,
        latest,
        id=f"{first.id}/failed",
        at=first.finished_at or first.started_at,
        matter="failed",
        title=f"{policy.name} could not be rotated",
        message=latest.message,
        next=f"Nothing is lost and it is tried again; `rotator history {policy.name}` shows what happened",
    )


def _about(policy: Policy, event: Event, rotation: Rotation | None = None, **words: Any) -> Notice:
    """A notice of one policy; `words` are its other fields."""
    data = {"project": policy.project, "rotation": rotation_view(rotation) if rotation is not None else None}
    return Notice(event=event, policy=policy.name, owner=policy.owner, data=data, **words)


def _over(told: Notice, now: datetime, completed: Sequence[Notice]) -> Notice:
    """That a matter has ended, for whoever was told that it began."""
    latest = max(completed, key=lambda one: one.at, default=None)
    title = {
        Event.NEEDS_ATTENTION: f"{told.policy}: {told.matter} has ended",
        Event.FAILED: f"{told.policy} rotates again",
    }.get(told.event, f"{told.policy}: the emergency rotation has ended")
    return replace(
        told,
        id=told.id + _OVER,
        at=now,
        title=title,
        message=latest.message if latest is not None and latest.at >= told.at else "",
        next="",
        over=True,
    )


def _entry(notifier: str, notice: Notice) -> SpoolEntry:
    document = {**asdict(replace(notice, data={})), "at": rfc3339(notice.at), "data": dict(notice.data)}
    return SpoolEntry(notifier, notice.id, notice.policy, json.dumps(document, separators=(",", ":")))


def _notice(document: str) -> Notice:
    kept = json.loads(document)
    return Notice(**{**kept, "event": Event(kept["event"]), "at": parse_rfc3339(kept["at"])})
