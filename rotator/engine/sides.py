"""Which project's token is current, and which one is minted in: from evidence, never from memory alone.

Evidence is the fingerprint of what the authoritative destination holds, where the journal knows it; else the
identity proof: a test send whose message the provider shows to belong to a project. A wrong answer would kill
the token that readers hold, so without evidence nothing is begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from rotator.clock import parse_rfc3339
from rotator.engine.context import Context
from rotator.engine.ledger import LASTING
from rotator.engine.pair import check_pair
from rotator.engine.states import overlaps
from rotator.errors import NeedsAttention, Refused, Unreachable
from rotator.journal.base import Journal
from rotator.model import Form, Policy, ProjectFacts, Rotation
from rotator.provider.base import PingAnswer, Provider
from rotator.secret import Secret
from rotator.verifiers.base import Verdict

BRIDGE_OLD: Final = timedelta(days=180)
"""A bridge token can only be renewed by hand; older than this somebody is reminded to."""

_LOOKED_BACK: Final = 20
"""Rotations of a policy among which the last promote, and the last measured outage, are looked for."""
_FIRST_LOOK: Final = 2
"""Most that is looked for stands in the latest ones: of many policies, reading all costs seconds."""


def choose_sides(context: Context, *, alive: bool) -> None:
    """Names the incoming and the outgoing project of the rotation, and refuses what could not end well."""
    form = context.rotation.form
    project = context.rotation.project
    if form is Form.IN_PLACE:
        if context.policy.form is Form.STANDBY:
            _stay_on_active(context, alive=alive)
        return
    if form is Form.STANDBY:
        _choose_of_pair(context, alive=alive)
        return
    context.change(incoming=project, outgoing=project if alive else None)
    if form is Form.BRIDGE:
        _check_bridge(context)


def _choose_of_pair(context: Context, *, alive: bool) -> None:
    main, standby = context.policy.project, context.policy.standby_project
    assert standby is not None
    if context.old is None or not alive:
        # The first token comes from the main project, unless readers of another destination hold one of it.
        taken = main in _sides_served(context)
        context.change(incoming=standby if taken else main, outgoing=None)
    else:
        active = active_side(context, context.old)
        context.ledger.settle(context.rotation, ("out-of-band",))
        context.change(incoming=standby if active == main else main, outgoing=active)
        _check_unused(context, standby if active == main else main)
    check_pair(context)


def _sides_served(context: Context) -> list[str | None]:
    """The projects of the living tokens that destinations serve, as far as the journal knows them."""
    values = [destination.read().value_if_token for destination in context.destinations.values()]
    return [
        context.ledger.known_project(context.fingerprints.of(value))
        for value in values
        if value is not None and context.provider.ping(value) is not PingAnswer.DEAD
    ]


def _check_unused(context: Context, idle: str) -> None:
    """Refuses to mint where the present token was used within `quiet`: the mint would kill it under its user.

    That happens after a hand-made change of the active side, after a lost journal, or where the project serves
    somebody else.
    """
    quiet = context.policy.drain.quiet
    happened = in_use(context.provider, context.clock.now(), context.provider.project(idle), quiet)
    if not happened:
        return
    if context.rotation.urgent:
        context.notes.append(f"{happened}.")
        return
    raise Refused(
        happened,
        then="Nothing was changed",
        remedy=f"Move that consumer to what {context.authoritative.describe()} holds; the rotation can begin when "
        f"the token was unused for {timedelta(seconds=round(quiet.total_seconds()))}",
    )


def in_use(provider: Provider, now: datetime, facts: ProjectFacts, quiet: timedelta) -> str:
    """Who used an idle project's token since it was made and within `quiet`, in words; empty where nobody did.

    All times are the provider's, the present too where it tells that: our wall clock may be an hour wrong. Raises as
    `Provider.greet`.
    """
    used, made = _read(facts.token_last_used_at), _read(facts.token_generated_at)
    if used is None or (made is not None and used <= made):
        return ""
    now += timedelta(seconds=provider.greet().clock_ahead or 0.0)
    if now - used >= quiet:
        return ""
    return (
        f"The token of project {facts.id}, which a mint there kills, is in use: last at {facts.token_last_used_at} "
        f"from {facts.token_last_used_ip or 'an address the provider does not tell'}"
    )


def _read(moment: str | None) -> datetime | None:
    try:
        return parse_rfc3339(moment) if moment else None
    except ValueError:
        return None


def served_of(context: Context, project: str) -> str:
    """Which destination serves a living token that may be of this project, in words; empty where none does.

    Asked right before a mint that readers are not to feel: somebody may have changed the active side by hand.
    """
    for destination in context.destinations.values():
        value = destination.read().value_if_token
        if value is None:
            continue
        fingerprint = context.fingerprints.of(value)
        if fingerprint == context.rotation.old_fingerprint:
            continue
        if context.ledger.known_project(fingerprint) not in (None, project):
            continue
        if context.provider.ping(value) is not PingAnswer.DEAD:
            return f"{destination.describe()} has come to serve a token that may be of project {project}"
    return ""


def _stay_on_active(context: Context, *, alive: bool) -> None:
    """An emergency that kills first: the project whose token readers hold is minted in, the idle one left alone."""
    side = context.policy.project
    if context.old is not None:
        known = context.ledger.known_project(context.fingerprints.of(context.old))
        if alive:
            side = active_side(context, context.old)
        elif known in context.policy.projects:
            side = str(known)
    context.change(incoming=side, outgoing=side)


def active_side(context: Context, token: Secret) -> str:
    """The project of the token that readers hold. Raises NeedsAttention where nothing shows it, Unreachable where
    what could show it cannot be asked now."""
    known = context.ledger.known_project(context.fingerprints.of(token))
    if known in context.policy.projects:
        return str(known)
    unasked = ""
    for verifier in context.verifiers:
        attempt = verifier.verify(token, key=context.key("identity", token))
        if attempt.verdict is Verdict.UNKNOWN or attempt.unasked:
            unasked = attempt.unasked or attempt.detail
        if attempt.project in context.policy.projects:
            context.say(f"a test send shows that the current token belongs to project {attempt.project}")
            return str(attempt.project)
        if attempt.project is not None:
            raise Refused(
                f"The stored token belongs to project {attempt.project}, which this policy does not name",
                then="Nothing was changed",
                remedy="Correct `project`, `standby` or the destination in the policy",
            )
    if unasked:
        raise Unreachable(
            f"It could not be found out which of the two projects the current token belongs to: {unasked}",
            then="Nothing was changed, because minting in the wrong one would kill the token that readers hold",
            remedy="Try again",
        )
    raise NeedsAttention(
        "out-of-band",
        "Nothing shows which of the two projects the current token belongs to: the journal does not know it",
        then="Nothing was changed, because minting in the wrong one would kill the token that readers hold",
        remedy=f"Add a `send` verifier, with the abilities read:messages and read:routes, or say it: "
        f"`rotator reconcile {context.policy.name} --active PROJECT`",
    )


def _check_bridge(context: Context) -> None:
    assert context.bridge is not None
    where = context.bridge.describe()
    bridge = context.bridge.read().value_if_token
    if bridge is None or context.provider.ping(bridge) is PingAnswer.DEAD:
        what = "holds no project token" if bridge is None else "holds a token that the provider refuses (401)"
        raise Refused(
            f"The bridge cannot cover the gap: {where} {what}",
            then="Nothing was changed",
            remedy="Make a token in the Lettermint dashboard and put it there"
            + ("; `--order kill-first` does without it" if context.rotation.urgent else ""),
        )
    fingerprint = context.fingerprints.of(bridge)
    known = context.ledger.known(fingerprint)
    if bridge == context.old or (known is not None and known.origin == "minted"):
        raise Refused(
            f"{where} holds the very token that rotating would kill",
            then="Nothing was changed, because it would not cover the gap",
            remedy="Make another token in the Lettermint dashboard (New token) and put that one there",
        )
    context.change(bridge_fingerprint=fingerprint)
    if known is None:
        context.remember_token(bridge, context.rotation.project, "bridge")
    if known is None or context.clock.now() - known.first_seen <= BRIDGE_OLD:
        context.ledger.settle(context.rotation, (LASTING,))
    else:
        context.ledger.warn(
            context.rotation,
            LASTING,
            f"The bridge token in {where} is known for {(context.clock.now() - known.first_seen).days} days",
            "Make a new one in the Lettermint dashboard, put it into the bridge's secret, revoke the old one",
        )


def remembered_side(journal: Journal, policy: Policy) -> str:
    """The project whose token was current when we last looked: good enough for dates, never for acting."""
    return last_incoming(journal, policy) or policy.project


def latest(journal: Journal, policy: str) -> Iterator[Rotation]:
    """The policy's rotations of late, newest first, read as far as they are looked at."""
    first = journal.rotations(policy, limit=_FIRST_LOOK)
    yield from first
    if len(first) == _FIRST_LOOK:
        seen = {one.id for one in first}
        rest = journal.rotations(policy, limit=_LOOKED_BACK)
        yield from (one for one in rest if one.id not in seen)


def last_incoming(journal: Journal, policy: Policy) -> str | None:
    """Of a pair, the project whose token was promoted last, or was found current since; None where the journal knows
    of neither."""
    if policy.form is not Form.STANDBY:
        return None
    noted = journal.noted_active(policy.name)
    if noted is not None and noted[0] not in policy.projects:
        noted = None
    for one in latest(journal, policy.name):
        current = one.promoted or (one.served if one.minted and not overlaps(one) else None)
        if current is not None and not one.abandoned and one.incoming in policy.projects:
            later = noted is not None and noted[1] > current.wall
            return noted[0] if noted is not None and later else str(one.incoming)
    return noted[0] if noted is not None else None


def last_promote(journal: Journal, policy: Policy) -> datetime | None:
    """When a token that a person made was last promoted; what an `assisted` schedule counts from."""
    for one in latest(journal, policy.name):
        current = one.promoted or (one.served if one.minted and not overlaps(one) else None)
        if current is not None and not one.abandoned:
            return current.wall
    return None
