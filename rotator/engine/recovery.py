"""Evidence instead of blind retries: what became of a mint whose answer nobody has.

Two questions are answered here. `look` asks the world about one unclear or interrupted mint.
`unfinished_of` asks the journal which rotations a command that may act has to take up first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rotator.clock import Instant
from rotator.destinations.base import Destination, Reading
from rotator.engine.context import Context
from rotator.engine.resting import token_known_dead
from rotator.errors import NeedsAttention, RotatorError
from rotator.journal.base import Journal
from rotator.model import Death, Intent, Policy, Rotation
from rotator.provider.base import PingAnswer
from rotator.secret import Secret


class Fate(StrEnum):
    """What became of a mint."""

    KEPT = "kept"
    """A destination holds, current or staged, an answering token that was nowhere before: it is ours."""
    NOT_EXECUTED = "not-executed"
    """The provider's time of generation has not moved and the old token still answers."""
    LOST = "lost"
    """Executed, and the answer with the token is gone: minting again is safe and the only way."""


@dataclass(frozen=True)
class Finding:
    """The answer of one look."""

    fate: Fate
    seen: Instant
    token: Secret | None = None
    """The kept token."""
    base: Reading | None = None
    """What the authoritative destination holds, where that is not yet the kept token."""


def look(context: Context) -> Finding:
    """Waits until the intent's call can no longer begin to execute, then asks destinations and provider.

    Raises NeedsAttention("unclear") when they cannot be asked within the budget, Interrupted, LeaseLost.
    """
    intent = context.rotation.intent
    assert intent is not None
    await_deadline(context, intent)
    last: RotatorError | None = None
    for _ in context.attempts(context.timings.look_budget):
        context.ledger.check_lease()
        try:
            return _look_once(context, intent)
        except RotatorError as error:
            if not error.retryable:
                raise
            last = error
            context.say(f"cannot yet tell what became of the mint: {error.happened}")
    raise NeedsAttention(
        "unclear",
        f"It could not be found out what became of the call that mints a new token: {last}",
        then="Readers may hold a dead token; the next `rotator run` looks again and finishes",
        remedy=f"See that provider and destinations can be reached, then `rotator run`, or "
        f"`rotator reconcile {context.policy.name}`",
    )


def await_deadline(context: Context, intent: Intent) -> None:
    """Waits until an unclear call cannot begin to execute any more."""
    # Times of another boot are not comparable: then the whole span counts from now.
    now = context.instant()
    span = context.timings.call + context.timings.settle
    left = now.seconds_until(intent.deadline) if now.boot_id == intent.deadline.boot_id else span
    left = min(left, span)
    if left > 0:
        context.say(f"waiting {left:.0f} s until the unclear call cannot be executed any more")
        context.pause(left)


def _look_once(context: Context, intent: Intent) -> Finding:
    kept = _find_kept(context, intent)
    if kept is not None:
        return kept
    seen = context.instant()
    if token_known_dead(context.rotation):
        return Finding(Fate.LOST, seen)
    before = context.provider.project(intent.project).token_generated_at
    moved = before != intent.generated_at_before
    if not moved:
        context.pause(context.timings.read_gap)
        seen = context.instant()
        moved = context.provider.project(intent.project).token_generated_at != intent.generated_at_before
    old = _old_token(context, intent)
    if old is not None and context.provider.ping(old) is PingAnswer.ALIVE:
        if not moved:
            # It answered after `seen` was read, so it cannot have died before.
            context.change(death=Death(after=seen))
            return Finding(Fate.NOT_EXECUTED, seen)
    elif old is None and context.rotation.old_fingerprint is None and not moved:
        return Finding(Fate.NOT_EXECUTED, seen)
    return Finding(Fate.LOST, seen)


def _find_kept(context: Context, intent: Intent) -> Finding | None:
    base = context.authoritative.read()
    for ref, destination in context.destinations.items():
        authoritative = destination is context.authoritative
        for token in _held(context, destination, base):
            if context.fingerprints.of(token) in intent.known_fingerprints:
                continue
            if answers(context, token):
                context.say(f"{ref} holds the token that was minted")
                served = authoritative and token == base.value
                return Finding(Fate.KEPT, context.instant(), token, base=None if served else base)
    return None


def _held(context: Context, destination: Destination, base: Reading) -> list[Secret]:
    """The tokens of one destination. One that follows and cannot be read is passed over: readers of the
    authoritative one wait, and a token kept elsewhere only costs a further mint."""
    try:
        reading = base if destination is context.authoritative else destination.read()
        staged = destination.read_staged()
    except RotatorError as error:
        if destination is context.authoritative:
            raise
        context.say(f"{destination.describe()} could not be searched: {error.happened}")
        return []
    held = (reading.value_if_token, staged.value if staged is not None else None)
    return [token for token in held if token is not None and token.is_project_token]


def answers(context: Context, token: Secret) -> bool:
    """Whether a token is not refused each of three times. Raises as `ping` does, Interrupted."""
    # A token younger than its propagation may be refused at first; a wrong "no" costs a further mint.
    for number in range(3):
        if context.provider.ping(token) is not PingAnswer.DEAD:
            return True
        if number < 2:
            context.pause(context.timings.read_gap)
    return False


def _old_token(context: Context, intent: Intent) -> Secret | None:
    value = context.authoritative.read().value_if_token
    if value is not None and context.fingerprints.of(value) in intent.known_fingerprints:
        if context.fingerprints.of(value) == context.rotation.old_fingerprint:
            context.old = context.old or value
        return value
    return context.old


@dataclass(frozen=True)
class Unfinished:
    """A rotation that something is left to do for."""

    rotation: Rotation
    orphan: bool


def open_of(journal: Journal, policy: Policy) -> list[Rotation]:
    """Unfinished rotations of a policy's projects, oldest first, whichever of two was the main one when they began."""
    return [rotation for rotation in journal.unfinished() if rotation.project in policy.projects]


def unfinished_of(journal: Journal, policies: Iterable[Policy]) -> list[Unfinished]:
    """Every unfinished rotation, newest first: an older one of the same project has less left to do
    once a newer one has minted.

    A rotation belongs to its project: it is an orphan when no policy of its name names that project
    any more, and then only a person may finish it.
    """
    present = {(policy.name, project) for policy in policies for project in policy.projects}
    return [
        Unfinished(rotation, orphan=(rotation.policy, rotation.project) not in present)
        for rotation in reversed(journal.unfinished())
    ]
