"""Destinations that disagree: found by comparing, brought into line from the authoritative one.

A destination differs because it was added, restored from a backup, or away during a rotation. It is never
minted for. Invariants: a token is spread only while it answers, and only where the place is ours to write
(`destinations.base.may_write`); a token that no rotation of ours wrote is spread only when a person says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from rotator.destinations.base import Content, Destination, Ownership, Reading, may_write
from rotator.engine.context import Context
from rotator.engine.ports import Ports
from rotator.engine.publish import publish_follower
from rotator.errors import NeedsAttention, Refused, RotatorError
from rotator.journal.base import KnownToken
from rotator.model import DestinationRecord, DestinationState, Policy, Synced
from rotator.provider.base import PingAnswer
from rotator.secret import Secret

ATTENTION = "destination-behind"

_TRIES = 3
_PAUSE = 1.0
"""Seconds between presentations of a token that may be too young to be known everywhere."""
_LOOKED_BACK = 20
"""Rotations of a policy among which one that minted is looked for."""


@dataclass(frozen=True)
class Difference:
    """A destination that does not hold what the authoritative one holds."""

    ref: str
    where: str
    ownership: Ownership
    holds: str
    """In words, for a person."""

    def __str__(self) -> str:
        return f"{self.where} {self.holds}"


@dataclass(frozen=True)
class Agreement:
    """How the destinations of one policy compare."""

    leading: Secret | None
    """What the authoritative destination holds; None where it holds no token, so that nothing compares."""
    differences: tuple[Difference, ...] = ()
    unread: tuple[tuple[str, RotatorError], ...] = ()
    """Destinations that could not be read, by their description, and why."""
    problem: NeedsAttention | None = None
    """Why the leading token may not be spread although something differs."""

    @property
    def dead(self) -> bool:
        """Readers of the authoritative destination hold a dead token."""
        return self.problem is not None and self.problem.attention == "token-dead"

    @property
    def holds(self) -> bool:
        """Nothing differs, and nothing is unknown."""
        return not (self.differences or self.unread)


def compare(ports: Ports, policy: Policy, *, adopt: bool = False) -> Agreement:
    """Reads every destination and writes nothing. `adopt`: a person vouches for the authoritative token.

    The provider is asked only where something differs. Raises as reading the authoritative one and `ping` do.
    """
    leading = ports.destination(policy.authoritative).read().value_if_token
    found: list[tuple[Destination, Reading]] = []
    unread: list[tuple[str, RotatorError]] = []
    for spec in policy.destinations[1:]:
        destination = ports.destination(spec)
        try:
            reading = destination.read()
        except RotatorError as error:
            unread.append((destination.describe(), error))
        else:
            if leading is not None and reading.value != leading:
                found.append((destination, reading))
    if leading is None or not found:
        return Agreement(leading, unread=tuple(unread))
    differences = tuple(_difference(ports, policy, leading, *pair) for pair in found)
    return Agreement(
        leading, differences, tuple(unread), _problem(ports, policy, leading, differences, adopt=adopt)
    )


def _difference(
    ports: Ports, policy: Policy, leading: Secret, destination: Destination, reading: Reading
) -> Difference:
    value = reading.value
    known = ports.journal.known_token(ports.fingerprints.of(value)) if value is not None else None
    ownership = may_write(
        reading,
        overwrite=destination.spec.overwrite,
        known_project=known.project if known else None,
        project_ids=policy.projects,
        alive=lambda: value is not None and ports.provider.ping(value) is not PingAnswer.DEAD,
        authoritative=leading,
    )
    if reading.content in (Content.MISSING, Content.EMPTY):
        holds = "holds no token"
    elif reading.content is Content.FOREIGN:
        holds = "holds something that is not a project token"
    elif known is not None and known.project in policy.projects:
        holds = f"holds an earlier token, known since {known.first_seen:%Y-%m-%d %H:%M} UTC"
    else:
        holds = "holds another token"
    return Difference(destination.spec.ref, destination.describe(), ownership, holds)


def _problem(
    ports: Ports, policy: Policy, leading: Secret, differences: tuple[Difference, ...], *, adopt: bool
) -> NeedsAttention | None:
    where = ports.destination(policy.authoritative).describe()
    others = "; ".join(str(difference) for difference in differences)
    if is_dead(ports, leading):
        return NeedsAttention(
            "token-dead",
            f"The token in {where} is refused by the provider (401), and destinations disagree: {others}",
            then="Nothing was written: a dead token is not spread",
            remedy=f"`rotator rotate {policy.name}` puts a new one into all of them",
        )
    known = ports.journal.known_token(ports.fingerprints.of(leading))
    if known is not None and known.project not in policy.projects:
        return NeedsAttention(
            "out-of-band",
            f"{where} holds a token of another project, {known.project}",
            then="It was not written anywhere else",
            remedy="Find out who wrote it there; put the token of this policy's project back, or correct the policy",
        )
    minted = any(one.minted for one in ports.journal.rotations(policy.name, limit=_LOOKED_BACK))
    if known is None and minted and not adopt:
        return NeedsAttention(
            "out-of-band",
            f"{where} holds a living token that no rotation of ours wrote, and destinations disagree: {others}",
            then="It was not written anywhere else",
            remedy=f"If it is the right one, `rotator reconcile {policy.name}` writes it to the others; "
            f"`rotator rotate {policy.name}` puts a new one into all of them",
        )
    return None


def is_dead(ports: Ports, token: Secret) -> bool:
    """Whether a token is refused and stays refused. Raises as `ping` does."""
    for number in range(_TRIES):
        if ports.provider.ping(token) is not PingAnswer.DEAD:
            return False
        if number < _TRIES - 1:
            ports.clock.wait(_PAUSE)
    return True


def sync(ports: Ports, context: Context, *, adopt: bool) -> Synced:
    """Writes the authoritative token to every destination that differs; what fails raises attention.

    The lease is held. `context.rotation` only carries names for the audit and is never journaled.
    Raises NeedsAttention where the token may not be spread, LeaseLost, Interrupted, AuditUnavailable,
    JournalUnavailable, and as `compare`.
    """
    policy = context.policy
    agreement = compare(ports, policy, adopt=adopt)
    if agreement.problem is not None:
        raise agreement.problem
    token = agreement.leading
    if token is None:
        raise Refused(
            f"{context.authoritative.describe()} holds no token that could be written to the others",
            then="Nothing was changed",
            remedy=f"`rotator rotate {policy.name}` issues one for all of them",
        )
    _adopt(context, token)
    context.new = token
    context.change(new_fingerprint=context.fingerprints.of(token))
    context.audit(
        "destination.sync", fingerprint=context.rotation.new_fingerprint, reason=context.rotation.reason
    )
    records = []
    for difference in agreement.differences:
        destination = context.destinations[difference.ref]
        context.say(f"{difference}: writing the authoritative token there")
        state = publish_follower(context, destination, token)
        records.append(DestinationRecord(destination.spec.type, difference.ref, state))
    if not agreement.unread and all(one.state is DestinationState.CURRENT for one in records):
        context.ledger.settle(context.rotation, (ATTENTION,))
    return Synced(policy.name, context.rotation.id, tuple(records), _told(agreement, records))


def _adopt(context: Context, token: Secret) -> None:
    context.ledger.remember(
        KnownToken(
            fingerprint=context.fingerprints.of(token),
            project=context.rotation.project,
            policy=context.policy.name,
            rotation=None,
            origin="adopted",
            first_seen=context.clock.now(),
        )
    )


def _told(agreement: Agreement, records: list[DestinationRecord]) -> str:
    outcome = {record.ref: record.state for record in records}
    told = [
        f"{difference.where} was brought into line"
        if outcome[difference.ref] is DestinationState.CURRENT
        else f"{difference.where} could not be brought into line"
        for difference in agreement.differences
    ]
    return "; ".join(told) or "all destinations agree"
