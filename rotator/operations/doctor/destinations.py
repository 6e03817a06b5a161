"""The destinations of one policy: who we are there, what they hold, whether they are ours and take a write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rotator.destinations.base import Content, Destination, Reading, foreign, may_write
from rotator.errors import RotatorError, Unreachable
from rotator.model import Policy
from rotator.operations.doctor.parts import Parts, Records
from rotator.operations.doctor.provider import Reached
from rotator.operations.doctor.report import ATTENTION, Findings
from rotator.operations.doctor.trail import Trail
from rotator.provider.base import PingAnswer, Provider
from rotator.secret import Secret

_TRIES: Final = 3
_PAUSE: Final = 1.0
"""Seconds between presentations of a token that may be too young to be known everywhere."""

_HELD: Final = {
    Content.MISSING: "It holds nothing yet: no secret, or no such field in it.",
    Content.EMPTY: "It holds an empty value.",
    Content.TOKEN: "It holds a project token.",
    Content.FOREIGN: "It holds something that is not a project token.",
}


@dataclass
class _Seen:
    """One destination that could be read."""

    destination: Destination
    reading: Reading
    where: str
    answer: PingAnswer | None = None
    """What the provider says about its token; None while nobody was asked."""


def examine_destinations(
    policy: Policy,
    parts: Parts,
    records: Records,
    reached: Reached,
    trail: Trail,
    found: Findings,
    *,
    unfinished: bool,
) -> Secret | None:
    """Every destination, the authoritative one first; its token if that lives, for the verifiers."""
    leading: _Seen | None = None
    for spec in policy.destinations:
        authoritative = spec is policy.authoritative
        try:
            destination = parts.destination(spec)
            where = destination.describe()
        except RotatorError as error:
            found.error("destination", error, subject=spec.ref)
            continue
        try:
            seen = _Seen(destination, destination.read(), where)
        except RotatorError as error:
            found.error("destination.read", error, subject=where)
            hint = "Mend destination.read first."
            found.skipped("destination.write", "It cannot be read.", hint, subject=where)
            continue
        found.ok("destination.read", _HELD[seen.reading.content], subject=where)
        _lives(policy, seen, parts, reached, found, authoritative=authoritative, unfinished=unfinished)
        if authoritative:
            leading = seen
        if ours := _ours(policy, seen, leading, records, found):
            _write(seen, trail, found)
        else:
            hint = "Mend destination.ours first."
            found.skipped("destination.write", "It is not known to be ours to write.", hint, subject=where)
        if not authoritative:
            _agrees(policy, seen, leading, found, ours=ours)
    if leading is None or leading.answer is PingAnswer.DEAD:
        return None
    return leading.reading.value_if_token


def _lives(
    policy: Policy,
    seen: _Seen,
    parts: Parts,
    reached: Reached,
    found: Findings,
    *,
    authoritative: bool,
    unfinished: bool,
) -> None:
    """Presents the stored token. Of a follower only what differs matters, which `_agrees` tells."""
    name = "destination.token"
    token = seen.reading.value_if_token
    if token is None:
        return
    if reached.provider is None:
        hint = "Mend provider.reach first."
        found.skipped(name, "The provider cannot be asked whether its token lives.", hint, subject=seen.where)
        return
    try:
        seen.answer = _presented(token, parts, reached.provider)
    except RotatorError as error:
        found.error(name, error, subject=seen.where)
        return
    if seen.answer is PingAnswer.ALIVE:
        found.ok(name, "Its token lives.", subject=seen.where)
    elif seen.answer is PingAnswer.FORBIDDEN:
        found.warning(
            name,
            "Ping is forbidden to its token from here (403).",
            "Look at the token's IP restrictions in the Lettermint dashboard.",
            subject=seen.where,
        )
    elif not authoritative:
        return
    elif unfinished:
        hint = "`rotator run` takes up the unfinished rotation and puts a living token there."
        found.warning(name, "Its token is dead, and a rotation is unfinished.", hint, subject=seen.where)
    elif policy.rehearses:
        hint = f"`{policy.renewal}` puts a living one there first."
        found.warning(name, "Its token is dead (401), and nobody depends on it.", hint, subject=seen.where)
    elif policy.on_out_of_band == "rotate":
        hint = f"`rotator run` repairs it, because of `on_out_of_band: rotate`; so does `{policy.renewal}`."
        found.warning(name, "Its token is dead (401).", hint, subject=seen.where)
    else:
        found.failed(
            name,
            "Its token is dead (401), so readers cannot send; no unfinished rotation explains it.",
            f"`{policy.renewal}` puts a living one there, if nobody else manages this token. "
            "Scheduled runs leave it alone without `on_out_of_band: rotate`.",
            code=ATTENTION,
            subject=seen.where,
        )


def _presented(token: Secret, parts: Parts, provider: Provider) -> PingAnswer:
    for number in range(1, _TRIES + 1):
        answer = provider.ping(token)
        if answer is not PingAnswer.DEAD or number == _TRIES:
            break
        parts.clock.wait(_PAUSE)
    return answer


def _ours(
    policy: Policy,
    seen: _Seen,
    leading: _Seen | None,
    records: Records,
    found: Findings,
) -> bool:
    """The rule of what we may write (`may_write`), asked as preflight asks it; False also where it cannot
    be told, because nothing is written where somebody else may be at home."""
    name = "destination.ours"
    value = seen.reading.value
    if leading is None and seen.reading.content is Content.TOKEN:
        hint = "Mend the authoritative destination first."
        found.skipped(name, "What it may hold is for the first destination to say.", hint, subject=seen.where)
        return False

    def alive() -> bool:
        if seen.answer is None:
            raise Unreachable(
                "It holds another token than the first destination, and nobody could say whether that lives",
                remedy="Mend what is said above, then try again",
            )
        return seen.answer is not PingAnswer.DEAD

    try:
        known = None
        if records.journal is not None and records.fingerprints is not None and value is not None:
            known = records.journal.known_token(records.fingerprints.of(value))
        ownership = may_write(
            seen.reading,
            overwrite=seen.destination.spec.overwrite,
            known_project=known.project if known else None,
            project_ids=policy.projects,
            alive=alive,
            # An authoritative place without a token differs from every token.
            authoritative=None
            if seen is leading or leading is None
            else leading.reading.value_if_token or Secret(""),
        )
    except RotatorError as error:
        found.error(name, error, subject=seen.where)
        return False
    if ownership.ours:
        found.ok(name, f"It is ours to write: {ownership.reason}.", subject=seen.where)
    else:
        found.error(name, foreign(seen.where, ownership), subject=seen.where)
    return ownership.ours


def _write(seen: _Seen, trail: Trail, found: Findings) -> None:
    name = "destination.write"
    if seen.destination.preflight_shows(seen.reading):
        found.unknown(
            name,
            "Nothing is there to prove a write on, and making it would be seen by readers; the first rotation "
            "makes it.",
            "Allow what making a secret needs, or make it by hand with a value such as {}.",
            subject=seen.where,
        )
        return
    ref = seen.destination.spec.ref
    trail.record("destination.probe.intent", {"destination": ref})
    try:
        seen.destination.preflight()
    except RotatorError as error:
        trail.record("destination.probe.outcome", {"destination": ref, "ok": False, "error": error.code})
        found.error(name, error, subject=seen.where)
        return
    trail.record("destination.probe.outcome", {"destination": ref, "ok": True})
    found.ok(name, "It takes a write that readers do not see.", subject=seen.where)


def _agrees(policy: Policy, seen: _Seen, leading: _Seen | None, found: Findings, *, ours: bool) -> None:
    """A destination that differs is written from the authoritative one, never minted for."""
    name = "destination.agrees"
    token = leading.reading.value_if_token if leading is not None else None
    if token is None or seen.reading.content is Content.FOREIGN:
        return
    hint = f"`rotator run`, or `rotator reconcile {policy.name}`, writes the first destination's token there."
    if leading is not None and leading.answer is PingAnswer.DEAD:
        hint = f"A dead token is not spread: `{policy.renewal}` puts a new one into both."
    elif not ours:
        hint = "It is left as it is while it is not ours to write: mend destination.ours first."
    if seen.reading.value == token:
        found.ok(name, "It holds the same token as the first destination.", subject=seen.where)
    elif seen.reading.value is None:
        found.warning(name, "It lacks the token that the first destination holds.", hint, subject=seen.where)
    else:
        dead = ", and it is dead" if seen.answer is PingAnswer.DEAD else ""
        found.failed(
            name,
            f"It holds another token than the first destination{dead}.",
            hint,
            code=ATTENTION,
            subject=seen.where,
        )
