"""The strategies as data: which steps, in which order, and which of them can be taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rotator.model import Form, Policy, Rotation


@dataclass(frozen=True)
class Step:
    """One step of a strategy."""

    name: str
    reversible: bool
    """Whether what the step does can be taken back; what changes nothing for readers can."""
    does: str
    """For people, in `plan`."""
    mints: int = 0
    """Calls of rotate-token that the step makes when nothing goes wrong."""


PREFLIGHT: Final = Step("preflight", reversible=True, does="prove that everything after it can succeed")
MINT_PUBLISH: Final = Step(
    "mint+publish", reversible=False, does="mint; the old token dies; write the new one at once", mints=1
)
MINT_STAGE: Final = Step(
    "mint+stage", reversible=True, does="mint in the idle project; stage where readers do not look", mints=1
)
REPLACE_STAGE: Final = Step(
    "mint+stage",
    reversible=False,
    does="mint; the project's former token dies, which nobody uses; stage the new one",
    mints=1,
)
TAKE_STAGE: Final = Step("take+stage", reversible=True, does="stage the token that a person made")
VERIFY_STAGED: Final = Step("verify-staged", reversible=True, does="use the staged token as consumers will")
KILL: Final = Step(
    "kill", reversible=False, does="mint and throw the answer away; readers' token dies", mints=1
)
BRIDGE: Final = Step("promote-bridge", reversible=True, does="make the bridge token the current one")
VERIFY_BRIDGE: Final = Step("verify-bridge", reversible=True, does="use the bridge token as consumers do")
PROMOTE: Final = Step("promote", reversible=True, does="make the staged token the current one")
VERIFY: Final = Step("verify", reversible=True, does="use the new token as consumers do")
DRAIN: Final = Step("drain", reversible=True, does="wait until the outgoing token is not used any more")
DRAIN_BRIDGE: Final = Step("drain-bridge", reversible=True, does="wait until consumers have left the bridge")
RETIRE: Final = Step(
    "retire", reversible=False, does="rotate-token on the outgoing project; its token dies", mints=1
)
REVOKE: Final = Step(
    "revoke", reversible=False, does="a person revokes the outgoing token; watch until it is dead"
)
TELL: Final = Step("tell-consumers", reversible=True, does="have consumers read their token again")
TELL_BRIDGE: Final = Step(
    "tell-consumers-bridge", reversible=True, does="have consumers read the bridge token"
)
AWAIT: Final = Step(
    "await-consumers", reversible=True, does="watch until every consumer that was told has the new token"
)
PROVE_DEAD: Final = Step("prove-dead", reversible=True, does="present the old token and be refused")
CLOSE: Final = Step("close", reversible=True, does="measure, record, give the lease back")

ROLLBACK: Final = Step("rollback", reversible=True, does="make the outgoing token the current one again")
DRAIN_INCOMING: Final = Step(
    "drain-incoming", reversible=True, does="wait until consumers have left the token that is given up"
)
DISCARD: Final = Step("discard", reversible=True, does="remove what was staged")

DISCARD_MINTED: Final = Step(
    "discard", reversible=False, does="remove what was staged; rotate-token kills the token in it", mints=1
)

DRAINS: Final = frozenset({DRAIN.name, DRAIN_BRIDGE.name, DRAIN_INCOMING.name})
"""Steps that are looked at again and again."""
WATCHED: Final = DRAINS | {REVOKE.name, AWAIT.name}
"""Steps at which a rotation rests while something outside goes on; one record and no event for each look."""

_OF_CONSUMERS: Final = frozenset({TELL, TELL_BRIDGE, AWAIT})
"""Steps that only a policy with consumers has."""

_STEPS: Final[Mapping[Form, tuple[Step, ...]]] = {
    # What readers held before is dead: they are told before anything is verified.
    Form.IN_PLACE: (PREFLIGHT, MINT_PUBLISH, TELL, VERIFY, PROVE_DEAD, AWAIT, CLOSE),
    Form.STANDBY: (
        PREFLIGHT,
        MINT_STAGE,
        VERIFY_STAGED,
        PROMOTE,
        VERIFY,
        TELL,
        DRAIN,
        RETIRE,
        PROVE_DEAD,
        AWAIT,
        CLOSE,
    ),
    Form.BRIDGE: (
        PREFLIGHT,
        BRIDGE,
        VERIFY_BRIDGE,
        TELL_BRIDGE,
        DRAIN,
        REPLACE_STAGE,
        PROVE_DEAD,
        VERIFY_STAGED,
        PROMOTE,
        VERIFY,
        TELL,
        DRAIN_BRIDGE,
        AWAIT,
        CLOSE,
    ),
    Form.ASSISTED: (
        PREFLIGHT,
        TAKE_STAGE,
        VERIFY_STAGED,
        PROMOTE,
        VERIFY,
        TELL,
        DRAIN,
        REVOKE,
        PROVE_DEAD,
        AWAIT,
        CLOSE,
    ),
}
_ABANDONING: Final = (ROLLBACK, TELL, DISCARD, AWAIT, CLOSE)
"""What a rotation that is given up goes through instead of the rest of its list."""
_ABANDONING_MINTED: Final = (ROLLBACK, TELL, DRAIN_INCOMING, DISCARD_MINTED, AWAIT, CLOSE)
"""The same where it has made a token of its own, which must not be left behind."""


_KILL_ONLY: Final = (KILL, *_STEPS[Form.IN_PLACE][1:])
"""Of an emergency in which no store can be reached; a later command goes on after the first step."""


def steps_of(subject: Policy | Rotation) -> tuple[Step, ...]:
    """The steps in order. Those of a rotation may be others than its policy's: an emergency that kills first
    goes through `in-place`, whatever the strategy."""
    if isinstance(subject, Rotation) and subject.emergency is not None and subject.emergency.kill_only:
        return _for(subject, _KILL_ONLY)
    return _for(subject, _STEPS[subject.form])


def _for(subject: Policy | Rotation, steps: Sequence[Step]) -> tuple[Step, ...]:
    """Those of a list that the subject goes through."""
    if tells_consumers(subject):
        return tuple(steps)
    return tuple(step for step in steps if step not in _OF_CONSUMERS)


def tells_consumers(subject: Policy | Rotation) -> bool:
    """Whether it has consumers to tell."""
    return bool(subject.consumers if isinstance(subject, Policy) else subject.snapshot.get("consumers"))


def way_of(rotation: Rotation) -> tuple[Step, ...]:
    """The steps that the rotation goes through as it stands: others once it was given up."""
    if not rotation.abandoned:
        return steps_of(rotation)
    kills = rotation.form is Form.STANDBY and rotation.intent is not None
    return _for(rotation, _ABANDONING_MINTED if kills else _ABANDONING)


def steps_left(rotation: Rotation) -> tuple[Step, ...]:
    """The steps from the one to go on with; all of them where nothing was changed yet."""
    steps = way_of(rotation)
    if not changed(rotation):
        return steps
    return steps[[step.name for step in steps].index(rotation.step) :]


def step_after(rotation: Rotation, name: str) -> str:
    """The name of the step that follows; empty after the last."""
    steps = way_of(rotation)
    names = [step.name for step in steps]
    place = names.index(name) + 1
    return names[place] if place < len(names) else ""


def overlaps(subject: Policy | Rotation) -> bool:
    """Whether old and new token live side by side for a while."""
    return subject.form is not Form.IN_PLACE


def kills_first(rotation: Rotation) -> bool:
    """Whether a leaked token dies before readers have another: then only the authoritative destination is
    waited for."""
    return rotation.emergency is not None and not overlaps(rotation)


def changed(rotation: Rotation) -> bool:
    """Whether something was changed that a later command has to finish or to undo."""
    if not overlaps(rotation):
        return past_no_return(rotation)
    begun = rotation.step not in (PREFLIGHT.name, MINT_STAGE.name if rotation.form is Form.STANDBY else "")
    return begun or rotation.intent is not None or rotation.minted


def only_awaits_consumers(rotation: Rotation) -> bool:
    """Whether all is done but that consumers have not come to their end: a newer token may be made all the same."""
    return rotation.step == AWAIT.name


def past_no_return(rotation: Rotation) -> bool:
    """Whether readers' old token may be dead by our doing: from here on only forward."""
    if rotation.form in (Form.IN_PLACE, Form.BRIDGE):
        return rotation.intent is not None or rotation.minted
    return bool(rotation.retiring) and not rotation.abandoned


def can_be_thrown_away(rotation: Rotation) -> bool:
    """Whether giving up costs consumers nothing: whatever was done can be taken back, and nobody read it.

    That nobody did is the record's word only; the rollback that comes first asks the world.
    """
    return (
        overlaps(rotation)
        and changed(rotation)
        and not past_no_return(rotation)
        and rotation.promoted is None
        and not rotation.abandoned
    )
