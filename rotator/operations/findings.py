"""What provider, stores and journal tell about one policy, for `reconcile`: asked once, and put into words."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from rotator.destinations.base import Destination, Ownership, Reading, may_write
from rotator.engine.ports import Ports
from rotator.engine.recovery import open_of
from rotator.engine.sides import remembered_side
from rotator.engine.states import PROVE_DEAD, REVOKE
from rotator.engine.sync import Agreement, compare
from rotator.errors import RotatorError
from rotator.journal.base import KnownToken
from rotator.model import Attention, DestinationSpec, Form, Policy, ProjectFacts, Rotation
from rotator.operations.outside import idle_strangers
from rotator.operations.verify import tried
from rotator.provider.base import PingAnswer, ProjectNotVisible
from rotator.secret import Secret


@dataclass
class Findings:
    """The answers; `facts` and `unknown` say them to a person."""

    policy: Policy
    facts: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unfinished: Rotation | None = None
    told: dict[str, ProjectFacts] = field(default_factory=dict)
    """What the provider says, by project; without those that could not be read."""
    gone: list[str] = field(default_factory=list)
    """Projects that are not visible."""
    readings: dict[str, Reading] = field(default_factory=dict)
    alive: dict[str, bool | None] = field(default_factory=dict)
    """Whether each destination's token answers; None where it could not be found out or holds none."""
    known: KnownToken | None = None
    """What the journal knows of the authoritative destination's token."""
    proved: str | None = None
    """The project to which a test send has shown that token to belong."""
    agreement: Agreement | None = None
    """None where it could not be compared."""
    bridge_alive: bool | None = None
    outgoing_alive: bool | None = None
    """Of a token that a person has to revoke; None where it could not be presented."""
    not_ours: tuple[str, ...] = ()
    """Destinations that a rotation would refuse to write over, and why."""
    minted: bool = False
    """A rotation of ours has put a token into the stores."""
    idle: list[ProjectFacts] = field(default_factory=list)
    """Idle projects whose token somebody else made anew."""
    fingerprint: str | None = None
    """Of what readers hold."""
    attentions: tuple[Attention, ...] = ()
    held: bool = False
    at_work: str = ""
    """Who has the lease, in words."""

    @property
    def reading(self) -> Reading | None:
        return self.readings.get(self.policy.authoritative.ref)

    @property
    def token(self) -> Secret | None:
        """What readers hold, by the authoritative destination."""
        return self.reading.value_if_token if self.reading is not None else None

    @property
    def lives(self) -> bool | None:
        """Whether that token answers."""
        return self.alive.get(self.policy.authoritative.ref)


def find(ports: Ports, policy: Policy) -> Findings:
    """Asks everybody. What cannot be asked is among the unknown; raises JournalUnavailable, AuditUnavailable."""
    found = Findings(policy)
    found.unfinished = next((r for r in open_of(ports.journal, policy) if r.policy == policy.name), None)
    found.attentions = tuple(ports.journal.attentions(policy.name))
    for project in policy.projects:
        lease = ports.journal.lease_of(project)
        if lease is not None and lease.holder is not None and lease.expires_in > 0:
            found.at_work = lease.holder.label
    found.minted = any(one.minted and not one.abandoned for one in ports.journal.rotations(policy.name))
    for spec in policy.destinations:
        _ask_destination(ports, ports.destination(spec), found)
    if found.token is not None:
        found.fingerprint = ports.fingerprints.of(found.token)
        found.known = ports.journal.known_token(found.fingerprint)
        _prove(ports, found)
    side = _side(ports, found)
    for project in policy.projects:
        _ask_provider(ports, project, found, side)
    strangers = idle_strangers(ports.journal, policy, found.told, side)
    found.facts += [one.happened for one in strangers]
    found.idle = [facts for facts in found.told.values() if facts.id != side] if strangers else []
    try:
        found.agreement = compare(ports, policy, adopt=True)
        found.not_ours = _not_ours(ports, found)
    except RotatorError:
        pass  # what could not be asked stands among the unknown already
    _ask_bridge(ports, found)
    _ask_outgoing(ports, found)
    if (one := found.unfinished) is not None:
        found.facts.append(f"rotation {one.id} is unfinished: {one.state}, next step {one.step}")
    if (hold := ports.journal.holds().get(policy.name)) is not None:
        found.held = True
        found.facts.append(f"{policy.name} is held since {hold.since:%Y-%m-%d %H:%M} UTC by {hold.by}")
    return found


def _ask_destination(ports: Ports, destination: Destination, found: Findings) -> None:
    where, ref = destination.describe(), destination.spec.ref
    found.alive[ref] = None
    try:
        reading = found.readings[ref] = destination.read()
    except RotatorError as error:
        found.unknown.append(f"what {where} holds: {error.happened}")
        return
    token = reading.value_if_token
    if token is None:
        found.facts.append(f"{where} holds no project token ({reading.content})")
        return
    known = ports.journal.known_token(ports.fingerprints.of(token))
    whose = f"known since {known.first_seen:%Y-%m-%d %H:%M} UTC" if known else "unknown to the journal"
    try:
        answer = ports.provider.ping(token)
    except RotatorError as error:
        found.unknown.append(f"whether the token in {where} lives: {error.happened}")
        return
    found.alive[ref] = answer is not PingAnswer.DEAD
    found.facts.append(f"{where} holds a token that is {answer} and {whose}")
    if found.token is not None and token != found.token:
        found.facts.append(f"{where} does not hold the authoritative destination's token")


def _prove(ports: Ports, found: Findings) -> None:
    """A test send tells whose a living token is that the journal does not know."""
    policy, token = found.policy, found.token
    if token is None or not found.lives or found.known is not None:
        return
    if not (found.minted or policy.form is Form.STANDBY):
        return
    for spec in policy.verify:
        if spec.type != "send":
            continue
        key = f"rotator-{uuid.uuid4().hex}-whose-{found.fingerprint}"
        _, project = tried(ports, policy, spec, token, key=key, tries=1)
        if project is not None:
            found.proved = project
            found.facts.append(f"a test send shows that this token belongs to project {project}")
            return
    found.unknown.append("to which project that token belongs")


def _side(ports: Ports, found: Findings) -> str:
    """The project whose token readers hold, by evidence where there is any."""
    shown = found.known.project if found.known is not None else found.proved
    if shown is not None and shown in found.policy.projects:
        return shown
    return remembered_side(ports.journal, found.policy)


def _ask_provider(ports: Ports, project: str, found: Findings, side: str) -> None:
    policy = found.policy
    which = "the project's token"
    if policy.form is Form.STANDBY:
        which = f"the token of the {'active' if project == side else 'idle'} project {project}"
    try:
        facts = found.told[project] = ports.provider.project(project)
    except ProjectNotVisible as error:
        found.gone.append(project)
        found.facts.append(error.happened)
        return
    except RotatorError as error:
        found.unknown.append(f"what the provider says about project {project}: {error.happened}")
        return
    found.facts.append(f"the provider made {which} at {facts.token_generated_at}")
    recent = ports.journal.rotations(policy.name)
    last = next((r for r in recent if r.generated_at_after and r.minting == project), None)
    if last is None:
        words = "the journal knows no rotation of this policy, so not when we last minted"
        found.facts.append(words if not recent else f"the journal knows no mint of ours for {which}")
    elif last.generated_at_after == facts.token_generated_at:
        found.facts.append(f"that is the mint of our rotation {last.id}")
    elif any(r.retired and r.retiring is not None and r.retiring.project == project for r in recent):
        found.facts.append(f"we have retired {which} since")
    else:
        found.facts.append(f"our last mint, of rotation {last.id}, was at {last.generated_at_after}")


def _not_ours(ports: Ports, found: Findings) -> tuple[str, ...]:
    """As preflight will judge it."""
    refusals = []
    for spec in found.policy.destinations:
        ownership = _ownership(ports, found, spec)
        if ownership is not None and not ownership.ours:
            refusals.append(f"{ports.destination(spec).describe()}: {ownership.reason}")
    return tuple(refusals)


def _ownership(ports: Ports, found: Findings, spec: DestinationSpec) -> Ownership | None:
    reading = found.readings.get(spec.ref)
    if reading is None:
        return None
    value = reading.value
    known = ports.journal.known_token(ports.fingerprints.of(value)) if value is not None else None
    return may_write(
        reading,
        overwrite=spec.overwrite,
        known_project=known.project if known else None,
        project_ids=found.policy.projects,
        alive=lambda: found.alive[spec.ref] is not False,
        authoritative=None if spec is found.policy.authoritative else found.token or Secret(""),
    )


def _ask_bridge(ports: Ports, found: Findings) -> None:
    if found.policy.standby_token is None:
        return
    bridge = ports.destination(found.policy.standby_token)
    try:
        token = bridge.read().value_if_token
        if token is None:
            found.bridge_alive = False
            found.facts.append(f"the bridge, {bridge.describe()}, holds no project token")
            return
        answer = ports.provider.ping(token)
    except RotatorError as error:
        found.unknown.append(f"whether the bridge token lives: {error.happened}")
        return
    found.bridge_alive = answer is not PingAnswer.DEAD
    found.facts.append(f"the bridge, {bridge.describe()}, holds a token that is {answer}")


def _ask_outgoing(ports: Ports, found: Findings) -> None:
    """Whether a person has revoked the token that a rotation cannot kill."""
    waiting = found.unfinished
    asked = any(entry.code == "old-token-alive" for entry in found.attentions)
    if not (asked and waiting is not None and waiting.step in (REVOKE.name, PROVE_DEAD.name)):
        return
    try:
        for spec in found.policy.destinations:
            old = ports.destination(spec).recall(
                lambda one: ports.fingerprints.of(one) == waiting.old_fingerprint
            )
            if old is not None:
                found.outgoing_alive = ports.provider.ping(old) is not PingAnswer.DEAD
                found.facts.append(
                    f"the outgoing token ({waiting.old_fingerprint}) is {'alive' if found.outgoing_alive else 'dead'}"
                )
                return
    except RotatorError as error:
        found.unknown.append(f"whether the outgoing token lives: {error.happened}")
