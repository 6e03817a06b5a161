"""`reconcile`: what is true, what is unknown, and the one safe next thing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rotator.destinations.base import Content, Destination, Reading
from rotator.engine.ports import Ports
from rotator.engine.recovery import open_of
from rotator.engine.runner import Runner
from rotator.engine.sync import Agreement, compare
from rotator.errors import Refused, RotatorError, combine_exit_codes
from rotator.model import Policy, Rotation, Synced, Trigger
from rotator.provider.base import PingAnswer
from rotator.secret import Secret


@dataclass(frozen=True)
class Reconciliation:
    """The comparison of provider, stores and journal for one policy."""

    policy: str
    facts: tuple[str, ...]
    unknown: tuple[str, ...]
    action: str
    """none, resume, rotate, sync or wait."""
    why: str
    unfinished: Rotation | None = None

    def view(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "facts": list(self.facts),
            "unknown": list(self.unknown),
            "next": {"action": self.action, "why": self.why},
        }


@dataclass
class _Findings:
    facts: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    foreign: bool = False
    """The authoritative destination holds what only a person may take out."""
    agreement: Agreement | None = None
    """None where there is nothing to compare, or it could not be compared."""


def reconcile(ports: Ports, policy: Policy) -> Reconciliation:
    """Looks at everything and changes nothing."""
    found = _Findings()
    _ask_provider(ports, policy, found)
    unfinished = next((r for r in open_of(ports.journal, policy) if r.policy == policy.name), None)
    alive = _ask_destinations(ports, policy, found)
    _compare(ports, policy, found)
    if unfinished is not None:
        found.facts.append(
            f"rotation {unfinished.id} is unfinished: {unfinished.state}, next step {unfinished.step}"
        )
    if unfinished is not None and not (unfinished.minted and alive[policy.authoritative.ref] is False):
        action, why = "resume", f"rotation {unfinished.id} has its step {unfinished.step} still to do"
    else:
        action, why = _next(policy, found, alive)
    return Reconciliation(policy.name, tuple(found.facts), tuple(found.unknown), action, why, unfinished)


def name_active(ports: Ports, runner: Runner, policy: Policy, project: str) -> None:
    """A person says which project's token readers hold. Raises Refused where that cannot be so."""
    if project not in policy.projects:
        raise Refused(
            f"{policy.name} does not name project {project}",
            then="Nothing was written down",
            remedy=f"Its projects are {' and '.join(policy.projects)}",
        )
    token = ports.destination(policy.authoritative).read().value_if_token
    if token is None or ports.provider.ping(token) is PingAnswer.DEAD:
        raise Refused(
            "The authoritative destination holds no living token, so none of them is active",
            then="Nothing was written down",
            remedy=f"`rotator rotate {policy.name}` issues a new one",
        )
    known = ports.journal.known_token(ports.fingerprints.of(token))
    if known is not None and known.origin == "minted" and known.project != project:
        raise Refused(
            f"The journal saw this token minted for project {known.project}",
            then="Nothing was written down",
            remedy="No word of a person is needed: leave --active out",
        )
    runner.adopt(policy, token, project)


@dataclass(frozen=True)
class Acted:
    """What the one safe next thing came to."""

    rotations: tuple[Rotation, ...] = ()
    synced: Synced | None = None

    @property
    def exit_code(self) -> int:
        codes = [rotation.exit_code for rotation in self.rotations]
        return combine_exit_codes([*codes, self.synced.exit_code] if self.synced else codes)


def act(runner: Runner, policy: Policy, finding: Reconciliation) -> Acted:
    """Does the one safe next thing. Raises as `Runner.rotate`, `Runner.resume` and `Runner.sync` do."""
    reason = f"reconcile: {finding.why}"
    if finding.action == "resume" and finding.unfinished is not None:
        return Acted((runner.resume(finding.unfinished),))
    if finding.action == "rotate":
        return Acted(tuple(runner.rotate(policy, Trigger.MANUAL, reason)))
    if finding.action == "sync":
        # A person asked, having read what the authoritative destination holds.
        return Acted(synced=runner.sync(policy, Trigger.MANUAL, reason, adopt=True))
    return Acted()


def _ask_provider(ports: Ports, policy: Policy, found: _Findings) -> None:
    try:
        facts = ports.provider.project(policy.project)
    except RotatorError as error:
        found.unknown.append(f"what the provider says about project {policy.project}: {error.happened}")
        return
    found.facts.append(f"the provider made the project's token at {facts.token_generated_at}")
    last = next((r for r in ports.journal.rotations(policy.name) if r.generated_at_after), None)
    if last is None:
        found.facts.append("the journal knows no rotation of this policy, so not when we last minted")
    elif last.generated_at_after == facts.token_generated_at:
        found.facts.append(f"that is the mint of our rotation {last.id}")
    else:
        found.facts.append(f"our last mint, of rotation {last.id}, was at {last.generated_at_after}")


def _ask_destinations(ports: Ports, policy: Policy, found: _Findings) -> dict[str, bool | None]:
    """Whether each destination's token answers; None where it could not be found out or holds none."""
    alive: dict[str, bool | None] = {}
    first: Secret | None = None
    for spec in policy.destinations:
        destination = ports.destination(spec)
        alive[spec.ref] = None
        try:
            reading = destination.read()
        except RotatorError as error:
            found.unknown.append(f"what {destination.describe()} holds: {error.happened}")
            continue
        if spec is policy.authoritative:
            found.foreign = reading.content is Content.FOREIGN and not spec.overwrite
        alive[spec.ref] = _judge(ports, destination, reading, found)
        value = reading.value_if_token
        if first is None:
            first = value
        elif value != first:
            found.facts.append(
                f"{destination.describe()} does not hold the authoritative destination's token"
            )
    return alive


def _judge(ports: Ports, destination: Destination, reading: Reading, found: _Findings) -> bool | None:
    where = destination.describe()
    token = reading.value_if_token
    if token is None:
        found.facts.append(f"{where} holds no project token ({reading.content})")
        return None
    known = ports.journal.known_token(ports.fingerprints.of(token))
    whose = f"known since {known.first_seen:%Y-%m-%d %H:%M} UTC" if known else "unknown to the journal"
    try:
        answer = ports.provider.ping(token)
    except RotatorError as error:
        found.unknown.append(f"whether the token in {where} lives: {error.happened}")
        return None
    found.facts.append(f"{where} holds a token that is {answer} and {whose}")
    return answer is not PingAnswer.DEAD


def _compare(ports: Ports, policy: Policy, found: _Findings) -> None:
    if len(policy.destinations) < 2:
        return
    try:
        found.agreement = compare(ports, policy, adopt=True)
    except RotatorError:
        return  # what could not be asked stands among the unknown already


def _next(policy: Policy, found: _Findings, alive: dict[str, bool | None]) -> tuple[str, str]:
    authoritative = alive[policy.authoritative.ref]
    if authoritative is False:
        return "rotate", "readers hold a dead token; a new one repairs that"
    if found.foreign:
        return (
            "wait",
            "the authoritative destination holds something that is no project token; it is not ours",
        )
    if authoritative is None and not found.unknown:
        return "rotate", "no token is stored yet; a rotation issues the first"
    differing = found.agreement.differences if found.agreement is not None else ()
    if authoritative and found.agreement is not None and found.agreement.problem is not None:
        return "wait", found.agreement.problem.happened
    if authoritative and any(one.ownership.ours for one in differing):
        return (
            "sync",
            "the authoritative destination holds a living token; writing it to those that differ needs no mint",
        )
    if found.unknown:
        return "wait", "not everything could be asked: " + "; ".join(found.unknown)
    if differing:
        why = "; ".join(f"{one.where}: {one.ownership.reason}" for one in differing)
        return "wait", f"a destination differs and is not ours to write ({why})"
    return "none", "readers hold a living token and nothing is unfinished"
