"""Whose a leaked token is: the policy, and which of its tokens. Looks, and changes nothing.

The stores are asked first, because what they hold is certain; the journal tells of tokens that no store holds
any more. A store that cannot be read is named and stops no search in the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from rotator.destinations.base import Destination, DestinationFactory
from rotator.engine.recovery import open_of
from rotator.errors import InvalidInput, Refused, RotatorError, Unreachable
from rotator.journal.base import Journal, KnownToken
from rotator.model import DestinationSpec, Policy, Rotation, Slot
from rotator.operations.several import side_by_side
from rotator.provider.base import PingAnswer, Provider
from rotator.rehearsal import policy_of
from rotator.secret import Fingerprinter, Secret


@dataclass(frozen=True)
class Leaked:
    """What is known about a leaked token."""

    policy: Policy | None
    """Whose it is; None where nobody knows it."""
    slot: Slot
    stored: bool
    """Readers of the policy get this very token."""
    alive: bool | None
    """None where the provider could not tell."""
    dead_since: datetime | None
    """When it was first seen dead, if the journal knows."""
    shown_by: str
    """What tells whose it is, in words."""
    unread: tuple[tuple[str, RotatorError], ...] = ()
    """Places that could not be looked into, and why."""
    fingerprint: str | None = None
    """None where there is no audit key yet."""
    elsewhere: str = ""
    """The policy for which the journal knows it, where that one was not among those searched."""

    @property
    def settled(self) -> bool:
        """It is dead, and no reader holds it: nothing is left to do."""
        return self.alive is False and not self.stored


@dataclass(frozen=True)
class _Match:
    policy: Policy
    slot: Slot
    stored: bool
    shown_by: str


def check_shape(token: Secret) -> None:
    """Raises Refused for a team token, and InvalidInput for what is no token at all."""
    if token.is_team_token:
        raise Refused(
            "This is a team token: it can rotate every project of the team, and rotator cannot replace it",
            then="Nothing was changed",
            remedy="In the Lettermint dashboard make another team token, put it where LETTERMINT_TEAM_TOKEN or "
            "its file has the old one, and delete the old one there. Whoever had it may have made or read "
            "project tokens: then `rotator rotate --all --emergency --reason TEXT`",
        )
    if not token.is_project_token:
        raise InvalidInput(
            "What standard input gave does not have the shape of a Lettermint token (lm_, letters and digits)",
            then="Nothing was looked for",
            remedy="Give the token alone, whole, without quotes and without the name of its variable",
        )


def find(
    token: Secret,
    policies: Sequence[Policy],
    *,
    provider: Provider,
    destination: DestinationFactory,
    journal: Journal,
    fingerprints: Fingerprinter | None,
) -> Leaked:
    """Looks for a token among these policies. `fingerprints` is None where there is no audit key yet, so that
    no journal can know it.

    Raises as `check_shape`, Refused where policies of several names hold it, JournalUnavailable.
    """
    check_shape(token)
    fingerprint = fingerprints.of(token) if fingerprints is not None else None
    known = journal.known_token(fingerprint) if fingerprint is not None else None
    matches: list[_Match] = []
    unread: list[tuple[str, RotatorError]] = []
    looks = {
        policy.name: partial(_look, policy, token, fingerprint, destination, journal) for policy in policies
    }
    for name, seen in side_by_side(looks):
        if isinstance(seen, RotatorError):
            unread.append((name, seen))
        else:
            matches.extend(seen.matches)
            unread.extend((f"{name}: {where}", error) for where, error in seen.unread)
    if not matches and known is not None:
        matches.extend(_by_journal(policies, known))
    match = _the_one(matches, known)
    return Leaked(
        policy=match.policy if match else None,
        slot=match.slot if match else Slot.ACTIVE,
        stored=match.stored if match else False,
        alive=_alive(provider, token),
        dead_since=known.dead_since if known else None,
        shown_by=match.shown_by if match else "",
        unread=tuple(unread),
        fingerprint=fingerprint,
        elsewhere=known.policy if known is not None and match is None else "",
    )


def unknown(found: Leaked) -> Refused:
    """The refusal for a token that nobody knows."""
    if found.elsewhere:
        return Refused(
            f"No policy that was searched knows this token, and the journal knows it for {found.elsewhere}",
            then="Nothing was changed",
            remedy=f"`rotator rehearse {policy_of(found.elsewhere)}` kills what a rehearsal has left; nobody reads it"
            if policy_of(found.elsewhere) != found.elsewhere
            else f"`rotator rotate {found.elsewhere} --emergency --leaked-stdin --reason TEXT`",
        )
    if found.alive is False:
        return Refused(
            "No policy that was searched knows this token, and Lettermint refuses it (401)",
            then="Nothing was changed. A living token of which only a part was copied looks the same",
            remedy="Make sure that it is whole. If it is, it is dead already and nothing has to be done",
        )
    where = "in one of the places that could not be read, or " if found.unread else ""
    return Refused(
        "No policy that was searched knows this token"
        + ("" if found.alive is None else ", and it is alive: Lettermint accepts it"),
        then="Nothing was changed",
        remedy=f"It is {where}of a project without a policy here. Revoke it in the Lettermint dashboard (the "
        "project's API tokens); or name the policy whose token leaked, without --leaked-stdin",
    )


@dataclass(frozen=True)
class _Seen:
    matches: tuple[_Match, ...]
    unread: tuple[tuple[str, RotatorError], ...]


def _look(
    policy: Policy,
    token: Secret,
    fingerprint: str | None,
    destination: DestinationFactory,
    journal: Journal,
) -> _Seen:
    """Where one policy's stores and its open rotations have the token."""
    unread: list[tuple[str, RotatorError]] = []

    def holds(spec: DestinationSpec, read: Callable[[Destination], Secret | None], what: str) -> str:
        try:
            place = destination(spec)
            return f"{what}{place.describe()} holds it" if read(place) == token else ""
        except RotatorError as error:
            unread.append((spec.ref, error))
            return ""

    bridge = holds(policy.standby_token, _current, "the bridge's ") if policy.standby_token else ""
    current = _first(holds(spec, _current, "") for spec in policy.destinations)
    staged = _first(holds(spec, _staged, "a staged version in ") for spec in policy.destinations)
    slot, by_rotation = Slot.ACTIVE, ""
    for one in open_of(journal, policy):
        if fingerprint and one.policy == policy.name and (found := _slot_in(one, fingerprint)):
            slot, by_rotation = found, f"the open rotation {one.id} calls it its {found} token"
    # What a forgotten rotation staged is its project's newest token, which the next mint there kills: no slot of
    # its own.
    if bridge:
        slot = Slot.BRIDGE
    shown_by = bridge or current or by_rotation or staged
    # The same place may have failed twice, read for its current and for its staged version.
    told = tuple({where: (where, error) for where, error in unread}.values())
    return _Seen((_Match(policy, slot, bool(current), shown_by),) if shown_by else (), told)


def _first(answers: Iterable[str]) -> str:
    # Every place is asked, so that each one that cannot be read is named.
    return next((answer for answer in list(answers) if answer), "")


def _current(place: Destination) -> Secret | None:
    return place.read().value_if_token


def _staged(place: Destination) -> Secret | None:
    staged = place.read_staged()
    return staged.value if staged is not None else None


def _slot_in(rotation: Rotation, fingerprint: str) -> Slot | None:
    """What an unfinished rotation calls a token."""
    if fingerprint == rotation.bridge_fingerprint:
        return Slot.BRIDGE
    promoted = rotation.promoted is not None
    if fingerprint == rotation.old_fingerprint:
        return Slot.OUTGOING if promoted and not rotation.abandoned else Slot.ACTIVE
    if fingerprint == rotation.new_fingerprint:
        if rotation.returned is not None:
            return Slot.OUTGOING  # given up after readers had it: it drains in its turn
        return Slot.ACTIVE if promoted or rotation.served is not None else Slot.STAGED
    return None


def _by_journal(policies: Sequence[Policy], known: KnownToken) -> list[_Match]:
    """The selected policy for which the journal knows a token that no store holds."""
    slot = Slot.BRIDGE if known.origin == "bridge" else Slot.ACTIVE
    return [
        _Match(policy, slot, stored=False, shown_by=f"the journal knows it ({known.origin})")
        for policy in policies
        if policy.name == known.policy or known.project in policy.projects
    ][:1]


def _the_one(matches: Sequence[_Match], known: KnownToken | None) -> _Match | None:
    """The match, where there is one. Raises Refused where several policies hold one token."""
    if len(matches) > 1 and known is not None:
        matches = [one for one in matches if known.project in one.policy.projects] or matches
    if len(matches) > 1:
        names = ", ".join(sorted(one.policy.name for one in matches))
        raise Refused(
            f"Several policies hold this token: {names}. One token belongs to one project",
            then="Nothing was changed, because killing the wrong project's token would help nobody",
            remedy="Name the one whose project it is of: `rotator rotate POLICY --emergency --leaked-stdin …`",
        )
    return matches[0] if matches else None


def _alive(provider: Provider, token: Secret) -> bool | None:
    try:
        answer = provider.ping(token)
    except Unreachable:
        return None
    return {PingAnswer.ALIVE: True, PingAnswer.DEAD: False, PingAnswer.FORBIDDEN: None}[answer]
