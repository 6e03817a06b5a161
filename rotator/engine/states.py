"""The strategies as data: which steps, in which order, and which of them can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rotator.errors import Refused
from rotator.model import Rotation, Strategy


@dataclass(frozen=True)
class Step:
    """One step of a strategy."""

    name: str
    reversible: bool
    """Whether what the step does can be taken back; what changes nothing for readers can."""
    does: str
    """For people, in `plan`."""
    mints: int = 0
    """Calls of rotate-token that it takes, of which the provider allows few a minute."""


PREFLIGHT: Final = Step("preflight", reversible=True, does="prove that everything after it can succeed")
MINT_PUBLISH: Final = Step(
    "mint+publish", reversible=False, does="mint; the old token dies; write the new one at once", mints=1
)
VERIFY: Final = Step("verify", reversible=True, does="use the new token as consumers do")
PROVE_DEAD: Final = Step("prove-dead", reversible=True, does="present the old token and be refused")
CLOSE: Final = Step("close", reversible=True, does="measure, record, give the lease back")

_STEPS: Final[Mapping[Strategy, tuple[Step, ...]]] = {
    Strategy.IN_PLACE: (PREFLIGHT, MINT_PUBLISH, VERIFY, PROVE_DEAD, CLOSE),
}


def steps_of(strategy: Strategy) -> tuple[Step, ...]:
    """The strategy's steps in order. Raises Refused for one that this version cannot carry out."""
    try:
        return _STEPS[strategy]
    except KeyError:
        able = ", ".join(sorted(_STEPS))
        raise Refused(
            f"The strategy {strategy} is not carried out by this version of rotator",
            then="Nothing was changed",
            remedy=f"Strategies it carries out: {able}",
        ) from None


def step_after(strategy: Strategy, name: str) -> str:
    """The name of the step that follows; empty after the last."""
    names = [step.name for step in steps_of(strategy)]
    place = names.index(name) + 1
    return names[place] if place < len(names) else ""


def past_no_return(rotation: Rotation) -> bool:
    """Whether a mint of this rotation may have been executed: from here on only forward."""
    return rotation.intent is not None or rotation.minted
