"""What keeps mail flowing while a token is replaced: the standby project, or the bridge token."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rotator.destinations.base import Content
from rotator.engine.pair import differences
from rotator.engine.sides import BRIDGE_OLD, in_use
from rotator.errors import RateLimited, RotatorError, sentences
from rotator.model import DestinationSpec, Form, Policy, ProjectSetup
from rotator.operations.doctor.parts import Parts, Records
from rotator.operations.doctor.provider import Reached
from rotator.operations.doctor.report import Findings
from rotator.provider.base import PingAnswer, ProjectNotVisible, Provider
from rotator.secret import Secret

_REFUSED: Final = 1
_LONGEST_WAIT: Final = 60.0
"""Seconds to wait once for room in the limit on reads."""
_MEND_PROVIDER: Final = "Mend what failed of the provider first."
_MAKE_ANOTHER: Final = "Make a token in the Lettermint dashboard (New token) and put that one there."


def examine_cover(
    policy: Policy,
    parts: Parts,
    records: Records,
    reached: Reached,
    found: Findings,
    *,
    token: Secret | None,
    unfinished: bool,
) -> None:
    """As preflight looks at it. `token` is the authoritative destination's, if it lives."""
    if policy.form is Form.STANDBY and policy.standby_project is not None:
        _pair(policy, policy.standby_project, parts, reached, found)
        if token is not None and not unfinished:
            _sides(policy, parts, records, reached, found, token)
    elif policy.standby_token is not None:
        _bridge(
            policy.standby_token, parts, records, reached, found, authoritative=token, unfinished=unfinished
        )


def _pair(policy: Policy, standby: str, parts: Parts, reached: Reached, found: Findings) -> None:
    if reached.provider is None or not reached.reads_projects:
        found.skipped("standby", "Projects cannot be read.", _MEND_PROVIDER, subject=standby)
        return
    try:
        theirs = _setup(standby, parts, reached.provider)
    except ProjectNotVisible as error:
        hint = (
            "Make a project in the Lettermint dashboard and put its id into the policy, as `standby: {project: "
            "ID}`; if it is there, check that the team token is of its team."
        )
        found.failed("standby", sentences(error.happened), hint, code=_REFUSED, subject=standby)
        return
    except RotatorError as error:
        found.error("standby", error, subject=standby)
        return
    found.ok("standby", "The standby project is visible.", subject=standby)
    try:
        ours = _setup(policy.project, parts, reached.provider)
    except RotatorError as error:
        found.error("standby.alike", error, subject=policy.project)
        return
    unlike = differences(ours, theirs)
    hint = f"`rotator doctor --prepare-standby {policy.name}` shows what makes them alike, and does what calls can do."
    for one in unlike:
        text = f"The standby project differs in what consumers would feel: {one}."
        found.failed("standby.alike", text, hint, code=_REFUSED, subject=standby)
    if not unlike:
        found.ok("standby.alike", "Its domains, routes and settings are the main project's.", subject=standby)


def _sides(
    policy: Policy, parts: Parts, records: Records, reached: Reached, found: Findings, token: Secret
) -> None:
    """Whose token readers hold, and whether a mint in the other project would kill one that is in use."""
    try:
        known = None  # so it is too where there is no journal yet
        if records.journal is not None and records.fingerprints is not None:
            known = records.journal.known_token(records.fingerprints.of(token))
        if known is None or known.project not in policy.projects:
            text = "Nothing in the journal shows to which of the two projects the stored token belongs."
            by_itself = (
                "A rotation finds out by its test send, if the team token may read messages and routes; else"
                if any(spec.type == "send" for spec in policy.verify)
                else "No rotation begins before that is known: add a `send` verifier, or"
            )
            hint = f"{by_itself} say it: `rotator reconcile {policy.name} --active PROJECT`."
            found.unknown("standby.active", text, hint, subject=policy.name)
            return
        found.ok("standby.active", "Readers hold the token of this project.", subject=known.project)
        if reached.provider is None or not reached.reads_projects:
            return
        (idle,) = (one for one in policy.projects if one != known.project)
        facts = reached.provider.project(idle)
        used = in_use(reached.provider, parts.clock.now(), facts, policy.drain.quiet)
    except RotatorError as error:
        found.error("standby.idle", error, subject=policy.name)
        return
    if used:
        hint = "Move that consumer to what the first destination holds: until then a rotation is refused."
        found.failed("standby.idle", sentences(used), hint, code=_REFUSED, subject=idle)
    else:
        found.ok("standby.idle", "Nobody uses the token of the idle project.", subject=idle)


def _setup(project: str, parts: Parts, provider: Provider) -> ProjectSetup:
    try:
        return provider.setup(project)
    except RateLimited as full:
        parts.clock.wait(min(full.retry_after, _LONGEST_WAIT))
        return provider.setup(project)


def _bridge(
    spec: DestinationSpec,
    parts: Parts,
    records: Records,
    reached: Reached,
    found: Findings,
    *,
    authoritative: Secret | None,
    unfinished: bool,
) -> None:
    where = spec.ref
    try:
        destination = parts.destination(spec)
        where = destination.describe()
        reading = destination.read()
    except RotatorError as error:
        found.error("bridge.read", error, subject=where)
        return
    bridge = reading.value_if_token
    if bridge is None:
        held = "nothing" if reading.content in (Content.MISSING, Content.EMPTY) else "no project token"
        text = f"The bridge's secret holds {held}, so nothing covers the gap."
        found.failed("bridge.read", text, _MAKE_ANOTHER, code=_REFUSED, subject=where)
        return
    found.ok("bridge.read", "It holds a project token.", subject=where)
    _lives(bridge, reached, found, where)
    _another(bridge, records, parts.clock.now(), found, where, authoritative, unfinished=unfinished)


def _lives(bridge: Secret, reached: Reached, found: Findings, where: str) -> None:
    name = "bridge.token"
    if reached.provider is None:
        found.skipped(name, "The provider cannot be asked whether it lives.", _MEND_PROVIDER, subject=where)
        return
    try:
        answer = reached.provider.ping(bridge)
    except RotatorError as error:
        found.error(name, error, subject=where)
        return
    if answer is PingAnswer.ALIVE:
        found.ok(name, "The bridge token lives.", subject=where)
    elif answer is PingAnswer.DEAD:
        text = "The bridge token is dead (401), so nothing covers the gap."
        found.failed(name, text, _MAKE_ANOTHER, code=_REFUSED, subject=where)
    else:
        hint = "Look at the token's IP restrictions in the Lettermint dashboard."
        found.warning(name, "Ping is forbidden to the bridge token from here (403).", hint, subject=where)


def _another(
    bridge: Secret,
    records: Records,
    now: datetime,
    found: Findings,
    where: str,
    authoritative: Secret | None,
    *,
    unfinished: bool,
) -> None:
    """It must not be the token that rotating kills; and it can only be renewed by hand, so its age matters."""
    name = "bridge.another"
    known = None
    if records.journal is not None and records.fingerprints is not None:
        try:
            known = records.journal.known_token(records.fingerprints.of(bridge))
        except RotatorError as error:
            found.error(name, error, subject=where)
            return
    minted = known is not None and known.origin == "minted"
    if minted or (bridge == authoritative and not unfinished):
        text = "The bridge's secret holds the very token that rotating would kill."
        found.failed(name, text, _MAKE_ANOTHER, code=_REFUSED, subject=where)
        return
    if bridge == authoritative:
        found.ok(name, "Readers stand on the bridge: a rotation is unfinished.", subject=where)
    elif authoritative is None:
        hint = "Mend what is said of the first destination, then try again."
        found.skipped(name, "There is no living token to compare the bridge with.", hint, subject=where)
    else:
        found.ok(name, "It is another token than the one that is rotated.", subject=where)
    if known is not None and now - known.first_seen > BRIDGE_OLD:
        found.warning(
            "bridge.age",
            f"The bridge token is known for {(now - known.first_seen).days} days.",
            "Make a new one in the Lettermint dashboard, put it there, then revoke the old one.",
            subject=where,
        )
