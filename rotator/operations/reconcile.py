"""`reconcile`: what is true, what is unknown, and the one safe next thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from rotator.audit.base import AuditEvent
from rotator.destinations.base import Content
from rotator.engine.consumers import BEHIND
from rotator.engine.drain import STUCK
from rotator.engine.ports import Ports
from rotator.engine.runner import Runner
from rotator.engine.states import overlaps, past_no_return
from rotator.errors import Refused, combine_exit_codes, sentences
from rotator.model import Form, Policy, Rotation, State, Synced, Trigger
from rotator.operations import draining
from rotator.operations.findings import Findings, find
from rotator.provider.base import PingAnswer

_LOOKED_AT: Final = frozenset({"token-dead", "out-of-band", "destination-behind"})
"""Attention whose state is looked at here; any other is a person's, in the words in which it was raised."""


class Next(NamedTuple):
    """The one safe next thing."""

    action: str
    why: str


@dataclass(frozen=True)
class Reconciliation:
    """The comparison of provider, stores and journal for one policy."""

    policy: str
    facts: tuple[str, ...]
    unknown: tuple[str, ...]
    action: str
    """none, resume, rollback, rotate, sync, adopt; stage and wait are for a person."""
    why: str
    unfinished: Rotation | None = None
    fingerprint: str | None = None
    """Of the token that readers hold."""
    project: str | None = None
    """Whose token it is, where it is to be adopted."""

    def view(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "facts": list(self.facts),
            "unknown": list(self.unknown),
            "next": {"action": self.action, "why": self.why},
        }


def reconcile(ports: Ports, policy: Policy) -> Reconciliation:
    """Looks at everything and changes nothing. Raises JournalUnavailable, and AuditUnavailable where a test send was
    needed to tell whose the stored token is."""
    found = find(ports, policy)
    action, why = _next(found)
    rescue = found.unfinished is not None and past_no_return(found.unfinished)
    if found.held and (action in ("rotate", "sync") or (action == "resume" and not rescue)):
        why = f"it is held: `rotator release {policy.name}` lets it go on. Then, {action}: {why}"
        action = "wait"
    return Reconciliation(
        policy.name,
        tuple(found.facts),
        tuple(found.unknown),
        action,
        why,
        found.unfinished,
        found.fingerprint,
        _whose(found),
    )


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
            remedy=f"`{policy.renewal}` puts a new one there",
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


def act(ports: Ports, runner: Runner, policy: Policy, finding: Reconciliation) -> Acted:
    """Does the one safe next thing. Raises as `Runner.rotate`, `Runner.resume` and `Runner.sync` do, and Refused where
    something else is stored by now than what was shown."""
    reason = f"reconcile: {finding.why}"
    if finding.action == "resume" and finding.unfinished is not None:
        return Acted((runner.resume(finding.unfinished),))
    if finding.action == "rollback":
        return Acted((draining.rollback(runner, ports.journal, policy, reason),))
    if finding.action == "rotate":
        return Acted(tuple(runner.rotate(policy, Trigger.MANUAL, reason)))
    if finding.action == "sync":
        # A person asked, having read what the authoritative destination holds.
        return Acted(synced=runner.sync(policy, Trigger.MANUAL, reason, adopt=True))
    if finding.action == "adopt":
        _adopt(ports, runner, policy, finding)
    return Acted()


def _adopt(ports: Ports, runner: Runner, policy: Policy, finding: Reconciliation) -> None:
    token = ports.destination(policy.authoritative).read().value_if_token
    if token is None or ports.fingerprints.of(token) != finding.fingerprint:
        raise Refused(
            "The authoritative destination holds another token than a moment ago",
            then="Nothing was written down",
            remedy=f"`rotator reconcile {policy.name}` looks again",
        )
    if finding.project is not None:
        runner.adopt(policy, token, finding.project)
    for project in policy.projects:
        facts = ports.provider.project(project)
        data = {"token_generated_at": facts.token_generated_at}
        ports.audit.record(AuditEvent("project.adopt", policy.name, project, trigger="manual", data=data))
        ports.journal.remember_project(facts, ports.clock.now())


# --- the one safe next thing: the first check that has one --------------------------------------


def _next(found: Findings) -> Next:
    for check in (_at_work, _unfinished, _gone, _dead, _empty, _strange, _whose_is_it, _apart):
        if (step := check(found)) is not None:
            return step
    if found.unknown:
        return Next("wait", "not everything could be asked: " + "; ".join(found.unknown))
    for check in (_not_ours, _bridge, _idle, _standing):
        if (step := check(found)) is not None:
            return step
    return Next("none", "readers hold a living token and nothing is unfinished")


def _at_work(found: Findings) -> Next | None:
    if not found.at_work:
        return None
    return Next("wait", f"{found.at_work} is at work on it; look again when that has ended")


def _unfinished(found: Findings) -> Next | None:
    one = found.unfinished
    if one is None:
        return None
    if found.outgoing_alive:
        return Next(
            "wait",
            f"a person has to revoke the outgoing token ({one.old_fingerprint}) in the Lettermint dashboard; "
            "the next `rotator run` sees it",
        )
    reversible = overlaps(one) and one.promoted is not None and not (past_no_return(one) or one.abandoned)
    if reversible and (away := _left_behind(found, one)):
        return away
    if one.minted and found.lives is False and not overlaps(one):
        return None  # what it published is dead: to resume it would be in vain
    stuck = [entry for entry in found.attentions if entry.code in (STUCK, BEHIND)]
    if stuck and one.state is State.NEEDS_ATTENTION:
        return Next("wait", " ".join(f"{entry.message}. {entry.next}" for entry in stuck))
    return Next("resume", f"rotation {one.id} has its step {one.step} still to do")


def _left_behind(found: Findings, one: Rotation) -> Next | None:
    """Readers hold what cannot stay, while the outgoing token still lives."""
    back = f"`rotator rollback {found.policy.name}` makes the outgoing token current again"
    if found.lives is False:
        return Next("rollback", f"readers hold a dead token and the outgoing one is not retired yet; {back}")
    held = found.fingerprint
    if held == one.old_fingerprint and one.old_fingerprint is not None:
        return Next("rollback", f"somebody put the outgoing token back under readers; {back} everywhere")
    return _sync(found) if held == one.new_fingerprint else None


def _gone(found: Findings) -> Next | None:
    if not found.gone:
        return None
    return Next(
        "wait",
        f"project {' and '.join(found.gone)} is not visible: if it was deleted, make another one in the Lettermint "
        "dashboard and correct the policy; else look at the team token",
    )


def _dead(found: Findings) -> Next | None:
    if found.lives is not False:
        return None
    return _renew(found, "readers hold a dead token; a new one repairs that")


def _renew(found: Findings, why: str) -> Next:
    """A new token, where nothing stands in its way."""
    policy = found.policy
    if found.not_ours:
        left = "; ".join(found.not_ours)
        return Next(
            "wait",
            f"{why}, but what is not ours to write stands in its way ({left}): take it out, or say `overwrite: true` "
            f"there, then `{policy.renewal}`",
        )
    if policy.form is Form.BRIDGE and found.bridge_alive is False:
        return Next(
            "wait",
            f"{why}, but the bridge is dead: make a token in the Lettermint dashboard (New token) and put it there, "
            f"then `{policy.renewal}`",
        )
    if policy.form is Form.ASSISTED:
        return Next(
            "stage",
            f"{why}: make one in the Lettermint dashboard (New token), then `{policy.renewal}` takes it",
        )
    return Next("rotate", why)


def _empty(found: Findings) -> Next | None:
    reading = found.reading
    if reading is None or reading.value_if_token is not None:
        return None
    if reading.content is Content.FOREIGN and not found.policy.authoritative.overwrite:
        return Next(
            "wait",
            "the authoritative destination holds something that is no project token, and it is not ours: take it out, "
            f"or say `overwrite: true` there, then `{found.policy.renewal}`",
        )
    if found.minted:
        return _renew(found, "the token that we wrote is not there any more; a new one repairs that")
    return _renew(found, "no token is stored yet; a rotation issues the first")


def _strange(found: Findings) -> Next | None:
    problem = found.agreement.problem if found.agreement is not None else None
    if problem is not None:
        return Next("wait", sentences(problem.happened, problem.remedy))
    if found.proved is not None and found.proved not in found.policy.projects:
        return Next(
            "wait",
            f"the stored token belongs to project {found.proved}, which this policy does not name: put the right token "
            "back, or correct the policy",
        )
    return None


def _whose_is_it(found: Findings) -> Next | None:
    """A living token that no rotation of ours wrote."""
    policy = found.policy
    if not found.lives or found.known is not None:
        return None
    if policy.form is Form.STANDBY and found.proved is None:
        return Next(
            "wait",
            "nothing shows to which of the two projects the stored token belongs: find out, then "
            f"`rotator reconcile {policy.name} --active PROJECT` says it",
        )
    if policy.form is not Form.STANDBY and (not found.minted or _sync(found) is not None):
        return None
    return Next(
        "adopt",
        f"readers hold a living token that no rotation of ours wrote; if it is the right one, it is written down as "
        f"that of project {_whose(found)}. Else put the right one back, or `{policy.renewal}` makes another",
    )


def _whose(found: Findings) -> str | None:
    """The project for which an unknown token is adopted."""
    if not found.lives or found.known is not None:
        return None
    return found.proved or (found.policy.project if found.policy.form is not Form.STANDBY else None)


def _apart(found: Findings) -> Next | None:
    return _sync(found) if found.lives else None


def _sync(found: Findings) -> Next | None:
    agreement = found.agreement
    if agreement is None or agreement.problem is not None:
        return None
    if not any(one.ownership.ours for one in agreement.differences):
        return None
    return Next(
        "sync",
        "the authoritative destination holds a living token; writing it to those that differ needs no mint",
    )


def _not_ours(found: Findings) -> Next | None:
    differing = found.agreement.differences if found.agreement is not None else ()
    if not differing:
        return None
    why = "; ".join(f"{one.where}: {one.ownership.reason}" for one in differing)
    return Next("wait", f"a destination differs and is not ours to write ({why})")


def _bridge(found: Findings) -> Next | None:
    if found.bridge_alive is not False:
        return None
    return Next(
        "wait",
        "the bridge is dead, so the next rotation would be refused: make a token in the Lettermint dashboard (New "
        "token) and put it there",
    )


def _idle(found: Findings) -> Next | None:
    if not found.idle:
        return None
    return Next(
        "adopt",
        "somebody else made the token of the idle project anew; taking note of it ends this, and the next rotation "
        "mints there once nobody uses that token",
    )


def _standing(found: Findings) -> Next | None:
    for entry in found.attentions:
        if entry.code not in _LOOKED_AT:
            return Next("wait", sentences(f"{entry.code}: {entry.message}", entry.next))
    return None
