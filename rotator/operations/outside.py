"""What somebody else changed: the token of a project, what a store holds, the idle project of a pair, the bridge.

A regenerated token makes its policy look young, so that nothing is due for a long time, while readers may hold a
dead one. Invariants: what is found is kept for the next look until a person, or the world, has ended it; a living
token is never replaced by a look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rotator.clock import parse_rfc3339
from rotator.engine.ports import Ports
from rotator.engine.recovery import open_of
from rotator.engine.sides import remembered_side
from rotator.engine.sync import Agreement, is_dead
from rotator.errors import NeedsAttention, RotatorError
from rotator.journal.base import Journal
from rotator.model import Attention, Form, Policy, ProjectFacts
from rotator.operations.agreement import agreement_of, note_agreement
from rotator.provider.base import ProjectNotVisible

_LOOKED_BACK = 20
"""Rotations of a policy among which our own calls and the last bridge are looked for."""


@dataclass(frozen=True)
class Seen:
    """What provider and stores tell about one policy."""

    agreement: Agreement | None
    """None while an open rotation has a say in what the destinations hold."""
    strangers: tuple[NeedsAttention, ...] = ()
    """What was changed besides."""
    errors: tuple[RotatorError, ...] = ()
    """What could not be asked."""

    @property
    def dead(self) -> bool:
        """Readers hold a dead token."""
        return self.agreement is not None and self.agreement.dead is True


def projects(ports: Ports, policy: Policy, *, recent: float = 0.0) -> dict[str, ProjectFacts]:
    """What the provider says about each project; from the journal where it learned it within the last `recent`
    seconds. Raises as `Provider.project`, and NeedsAttention for a project that was there once."""
    told = {}
    for project in policy.projects:
        known = ports.journal.project_facts(project)
        if known is not None and 0 <= (ports.clock.now() - known[1]).total_seconds() < recent:
            told[project] = known[0]
            continue
        try:
            told[project] = ports.provider.project(project)
        except ProjectNotVisible as error:
            if known is None:
                raise
            gone = _gone(policy, project)
            ports.journal.raise_attention(
                Attention(policy.name, gone.attention, ports.clock.now(), gone.happened, gone.remedy)
            )
            raise gone from error
    return told


def _gone(policy: Policy, project: str) -> NeedsAttention:
    return NeedsAttention(
        "out-of-band",
        f"Project {project} was there and is not visible any more: deleted, or not of this team token's team",
        then="Nothing was changed",
        remedy="If it was deleted, its tokens are dead: make another project in the Lettermint dashboard, correct the "
        f"policy, and `rotator reconcile {policy.name}` says how to go on",
    )


def side_of(ports: Ports, policy: Policy) -> str:
    """The project whose token readers hold, by the fingerprint of what is stored; as remembered where the journal
    does not know that. What is found is remembered. Raises as reading does."""
    remembered = remembered_side(ports.journal, policy)
    if policy.form is not Form.STANDBY:
        return remembered
    token = ports.destination(policy.authoritative).read().value_if_token
    known = ports.journal.known_token(ports.fingerprints.of(token)) if token is not None else None
    if known is None or known.project not in policy.projects or known.project == remembered:
        return remembered
    if not open_of(ports.journal, policy):
        ports.journal.note_active(policy.name, known.project, ports.clock.now())
    return known.project


def inspect(ports: Ports, policy: Policy, told: Mapping[str, ProjectFacts], side: str) -> Seen:
    """Compares what is stored with what the journal knows; writes nothing. The token itself is presented only where
    something speaks against it. Raises as reading the authoritative destination and `ping` do."""
    standing = any(entry.code == "token-dead" for entry in ports.journal.attentions(policy.name))
    agreement = agreement_of(ports, policy, doubted=standing or has_moved(ports.journal, told[side]))
    if open_of(ports.journal, policy):
        return Seen(agreement)
    strangers = idle_strangers(ports.journal, policy, told, side)
    errors = []
    try:
        strangers += _bridge_gone(ports, policy)
    except RotatorError as error:
        errors.append(error)
    return Seen(agreement, tuple(strangers), tuple(errors))


def note(ports: Ports, policy: Policy, told: Mapping[str, ProjectFacts], side: str, seen: Seen) -> list[str]:
    """Raises and clears attention. Returns what was raised, in words."""
    if seen.agreement is None:
        # Nothing was judged: whoever looks when the rotation is over must find what has moved.
        for facts in told.values():
            if ports.journal.project_facts(facts.id) is None:
                remember(ports, facts)
        return []
    words = note_agreement(ports, policy, seen.agreement, seen.strangers)
    # Not before: whoever looks next must find the moved time, until it was told what it means.
    emptied = seen.agreement.leading is None and bool(seen.agreement.problem)
    for facts in told.values():
        known = ports.journal.project_facts(facts.id)
        if facts.id == side:
            keep = not emptied
        else:
            lags = known is not None and not _later(facts.token_generated_at, known[0].token_generated_at)
            keep = not (lags or idle_strangers(ports.journal, policy, {facts.id: facts}, side))
        if keep:
            remember(ports, facts)
    return words


def remember(ports: Ports, facts: ProjectFacts) -> None:
    """Keeps a changed time of generation; what else changes with every send is not worth a write."""
    if has_moved(ports.journal, facts):
        ports.journal.remember_project(facts, ports.clock.now())


def has_moved(journal: Journal, facts: ProjectFacts) -> bool:
    """Whether the project's token was made at another time than when we last looked; True at the first look."""
    known = journal.project_facts(facts.id)
    return known is None or known[0].token_generated_at != facts.token_generated_at


def idle_strangers(
    journal: Journal, policy: Policy, told: Mapping[str, ProjectFacts], side: str
) -> list[NeedsAttention]:
    """Of a pair, the idle project whose token somebody else made anew: whoever did may be using it."""
    found = []
    for facts in told.values():
        known = journal.project_facts(facts.id)
        if policy.form is not Form.STANDBY or facts.id == side or known is None:
            continue
        before, now = known[0].token_generated_at, facts.token_generated_at
        if not _later(now, before) or before in _before_our_calls(journal, policy, facts.id):
            continue
        used = (
            f"last used at {facts.token_last_used_at} from {facts.token_last_used_ip or 'an unknown address'}"
            if facts.token_last_used_at
            else "not used since"
        )
        found.append(
            NeedsAttention(
                "out-of-band",
                f"Somebody made the token of the idle project {facts.id} anew at {facts.token_generated_at}; {used}",
                then="The next rotation mints there, and refuses to while that token is in use",
                remedy=f"Find out who needs it; `rotator reconcile {policy.name}` then takes note of it",
            )
        )
    return found


def _later(one: str | None, other: str | None) -> bool:
    """Whether a time of the provider's is past another one of it. A reading that lags shows an earlier one, which
    proves nothing."""
    if one is None or other is None:
        return one is not None
    try:
        return parse_rfc3339(one) > parse_rfc3339(other)
    except ValueError:
        return one != other


def _before_our_calls(journal: Journal, policy: Policy, project: str) -> set[str | None]:
    """The times from which our own calls of rotate-token moved this project on; what we last saw may be as old."""
    return {
        intent.generated_at_before
        for rotation in journal.rotations(policy.name, limit=_LOOKED_BACK)
        for intent in (rotation.intent, rotation.retiring)
        if intent is not None and intent.project == project
    }


def _bridge_gone(ports: Ports, policy: Policy) -> list[NeedsAttention]:
    """The bridge served a rotation before, and would not serve the next one."""
    recent = ports.journal.rotations(policy.name, limit=_LOOKED_BACK)
    if policy.standby_token is None or not any(one.bridge_fingerprint for one in recent):
        return []
    bridge = ports.destination(policy.standby_token)
    token = bridge.read().value_if_token
    if token is not None and not is_dead(ports, token):
        return []
    what = "holds no project token any more" if token is None else "holds a token that is dead (401)"
    return [
        NeedsAttention(
            "out-of-band",
            f"The bridge of {policy.name} is gone: {bridge.describe()} {what}",
            then="Readers are served; the next rotation is refused, because nothing would cover its gap",
            remedy="Make a token in the Lettermint dashboard (New token) and put it there",
        )
    ]
