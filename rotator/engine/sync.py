"""Destinations that disagree: found by comparing, brought into line from the authoritative one.

A destination differs because it was added, restored from a backup, or away during a rotation. It is never
minted for. Invariants: a token is spread only while it answers, and only where the place is ours to write
(`destinations.base.may_write`); a token that a rotation of ours replaced is never spread, alive or not; once we
have minted, a token that no rotation of ours wrote is spread only when a person says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from rotator.destinations.base import Content, Destination, Ownership, Reading, may_write
from rotator.engine.context import Context
from rotator.engine.ports import Ports
from rotator.engine.publish import publish_follower
from rotator.errors import NeedsAttention, Refused, RotatorError
from rotator.journal.base import KnownToken
from rotator.model import DestinationRecord, DestinationState, Form, Policy, Synced
from rotator.provider.base import PingAnswer
from rotator.secret import Secret

ATTENTION = "destination-behind"

_TRIES = 3
_PAUSE = 1.0
"""Seconds between presentations of a token that may be too young to be known everywhere."""


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
    """Why the leading token may not be spread or is none of ours, or why there is none although we wrote one."""
    dead: bool | None = None
    """Whether the provider refuses the leading token; None where nothing gave reason to ask."""

    @property
    def holds(self) -> bool:
        """Nothing differs, and nothing is unknown."""
        return self.leading is not None and not (self.differences or self.unread or self.problem)


def compare(ports: Ports, policy: Policy, *, adopt: bool = False, doubted: bool = False) -> Agreement:
    """Reads every destination and writes nothing. `adopt`: a person vouches for the authoritative token.

    The provider is asked about that token only where something speaks against it: `doubted` by the caller, another
    destination differs, or it is not the one that we wrote last. Raises as reading the authoritative destination and
    `ping` do.
    """
    first = ports.destination(policy.authoritative).read()
    leading = first.value_if_token
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
    if leading is None:
        return Agreement(None, unread=tuple(unread), problem=_emptied(ports, policy, first))
    differences = tuple(_difference(ports, policy, leading, *pair) for pair in found)
    known = ports.journal.known_token(ports.fingerprints.of(leading))
    strange = _strange(ports, policy, ports.fingerprints.of(leading), known, adopt=adopt)
    if not (differences or doubted or strange or (known is not None and known.dead_since is not None)):
        return Agreement(leading, unread=tuple(unread))
    dead = is_dead(ports, leading)
    problem = (
        _refused(ports, policy, differences) if dead else _out_of_band(ports, policy, differences, strange)
    )
    return Agreement(leading, differences, tuple(unread), problem, dead)


def _emptied(ports: Ports, policy: Policy, reading: Reading) -> NeedsAttention | None:
    """An authoritative destination that lost the token which a finished rotation wrote there."""
    if not any(
        one.minted and not (one.unfinished or one.abandoned) for one in ports.journal.rotations(policy.name)
    ):
        return None
    new = f"`{policy.renewal}` puts a new token there"
    if reading.content is Content.FOREIGN and not policy.authoritative.overwrite:
        new = f"Take out what was written there, or say `overwrite: true`; then {new}"
    return NeedsAttention(
        "out-of-band",
        f"{ports.destination(policy.authoritative).describe()} {_lacks(reading)}, although rotations of ours wrote "
        "one there",
        then="Nothing was written",
        remedy=f"Find out who took it out. {new}",
    )


def _lacks(reading: Reading) -> str:
    if reading.content is Content.FOREIGN:
        return "holds something that is not a project token"
    return "holds no token"


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
    if reading.value_if_token is None:
        holds = _lacks(reading)
    elif known is not None and known.project in policy.projects:
        which = "the newest token of ours" if _is_newest(ports, policy, known) else "an earlier token"
        holds = f"holds {which}, known since {known.first_seen:%Y-%m-%d %H:%M} UTC"
    else:
        holds = "holds another token"
    return Difference(destination.spec.ref, destination.describe(), ownership, holds)


def _is_newest(ports: Ports, policy: Policy, known: KnownToken) -> bool:
    minted = (one for one in ports.journal.rotations(policy.name) if one.minted and not one.abandoned)
    return (newest := next(minted, None)) is not None and newest.new_fingerprint == known.fingerprint


@dataclass(frozen=True)
class _Strange:
    """Why a living token in the authoritative destination is not the one that belongs there."""

    is_: str
    then: str
    remedy: str


def _strange(
    ports: Ports, policy: Policy, fingerprint: str, known: KnownToken | None, *, adopt: bool
) -> _Strange | None:
    left = "It was left as it is"
    if known is not None and known.project not in policy.projects:
        return _Strange(
            f"a token of another project, {known.project}",
            left,
            "Find out who wrote it there; put the token of this policy's project back, or correct the policy",
        )
    minted = [one for one in ports.journal.rotations(policy.name) if one.minted and not one.abandoned]
    if not minted or minted[0].new_fingerprint == fingerprint:
        return None
    by = next((one.id for one in minted if one.old_fingerprint == fingerprint), None)
    if by is not None:
        return _Strange(
            f"an earlier token, which rotation {by} replaced and which still answers",
            left,
            f"`{policy.renewal}` puts a new one there; revoke the earlier one in the Lettermint dashboard",
        )
    if known is None and not adopt:
        return _Strange(
            "a living token that no rotation of ours wrote",
            left,
            f"If it is the right one, `rotator reconcile {policy.name}` takes it over; `{policy.renewal}` puts a new "
            "one there",
        )
    return None


def _refused(ports: Ports, policy: Policy, differences: tuple[Difference, ...]) -> NeedsAttention:
    where = ports.destination(policy.authoritative).describe()
    by_itself = "`rotator run` or " if policy.repairs_itself else ""
    return NeedsAttention(
        "token-dead",
        f"The token in {where} is refused by the provider (401){_disagree(differences)}",
        then="Readers cannot send; a dead token is written nowhere",
        remedy=f"{by_itself}`{policy.renewal}` puts a new one there{_in_its_way(differences)}, if nobody else manages "
        "this token",
    )


def _out_of_band(
    ports: Ports, policy: Policy, differences: tuple[Difference, ...], strange: _Strange | None
) -> NeedsAttention | None:
    if strange is None:
        return None
    where = ports.destination(policy.authoritative).describe()
    return NeedsAttention(
        "out-of-band",
        f"{where} holds {strange.is_}{_disagree(differences)}",
        then=strange.then,
        remedy=strange.remedy,
    )


def _disagree(differences: tuple[Difference, ...]) -> str:
    others = "; ".join(str(difference) for difference in differences)
    return f", and destinations disagree: {others}" if others else ""


def _in_its_way(differences: tuple[Difference, ...]) -> str:
    """What a rotation will refuse to write over, for the end of a sentence."""
    left = "; ".join(f"{one.where}: {one.ownership.reason}" for one in differences if not one.ownership.ours)
    return f", once what is not ours to write was looked at and taken out of its way ({left})" if left else ""


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
            remedy=f"`{policy.renewal}` issues one for all of them",
        )
    if context.rotation.form is not Form.STANDBY:
        # Of a pair nothing tells whose a token is that the journal does not know: that needs evidence.
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
    return Synced(
        policy.name,
        context.rotation.id,
        tuple(records),
        _told(agreement, records),
        # What no waiting mends becomes attention when the next `run` finds it.
        unread=tuple(error.exit_code if error.retryable else 4 for _, error in agreement.unread),
    )


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
    told += [f"{where} could not be compared: {error.happened}" for where, error in agreement.unread]
    return "; ".join(told) or "all destinations agree"
