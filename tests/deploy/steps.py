"""The tables of deploy/README.md that say what happens if rotator dies at a step, made from the engine's own lists."""

from __future__ import annotations

import re
from typing import Final

from rotator.engine import states
from rotator.engine.states import Step
from rotator.model import Form
from tests.deploy.tools import DEPLOY

README = DEPLOY / "README.md"
MARKED: Final = re.compile(r"(?<=<!-- steps -->\n).*(?=<!-- /steps -->)", re.DOTALL)

TITLES: Final = {
    Form.IN_PLACE: "`in-place`",
    Form.STANDBY: "`create-before-revoke` with two projects",
    Form.BRIDGE: "`create-before-revoke` with a bridge token",
    Form.ASSISTED: "`assisted`",
}
_LOOKS: Final = (
    "It waits until the call cannot be executed any more, then looks. A store holds an unknown, living token: it is "
    "ours, and kept. The project's token is as old as before, and the old one answers: nothing happened, it is minted "
    "now. Else the new token is lost, and it mints again"
)
_TOLD: Final = (
    "Whoever is not recorded as told is told again. The call has one id for each rotation and token, so a workload that "
    "took it already is not restarted a second time."
)
DIED: Final = {
    states.PREFLIGHT: "Nothing was changed. It begins anew.",
    states.MINT_PUBLISH: f"{_LOOKS}; the outage is counted from the lost call.",
    states.MINT_STAGE: f"{_LOOKS}. Consumers never notice.",
    states.REPLACE_STAGE: f"{_LOOKS}. Consumers stand on the bridge token meanwhile.",
    states.TAKE_STAGE: (
        "The token was in memory only. Where it was staged it is found again; else it is handed in once more, by "
        "`rotator stage`."
    ),
    states.VERIFY_STAGED: "Verified again.",
    states.BRIDGE: "Made current in the stores that lack it; both tokens live.",
    states.VERIFY_BRIDGE: "Verified again.",
    states.PROMOTE: "Made current in the stores that lack it; both tokens live.",
    states.VERIFY: "Verified again.",
    states.DRAIN: "It goes on; its time counts from the last promote, not from the restart.",
    states.DRAIN_BRIDGE: "It goes on; its time counts from the last promote, not from the restart.",
    states.RETIRE: (
        "It waits until the call cannot be executed any more, and calls again. The answer is thrown away, so none can "
        "be lost."
    ),
    states.REVOKE: "Looked at again; the notice stays until the token is dead.",
    states.TELL: _TOLD,
    states.TELL_BRIDGE: _TOLD,
    states.AWAIT: "Looked at again; how each stood was recorded before it was told.",
    states.PROVE_DEAD: "Presented again, from the former versions that the stores keep.",
    states.CLOSE: "Closed again.",
}
"""By step, what the next process does. Kept to what tests/crash shows."""


def row(step: Step) -> str:
    back = "yes" if step.reversible else "**no**"
    return f"| {step.name} | {step.does} | {back} | {DIED[step]} |\n"


def tables() -> str:
    """All of it, as it stands between the marks."""
    found = []
    for form, title in TITLES.items():
        head = "| Step | Does | Can be taken back | If it dies there |\n| --- | --- | --- | --- |\n"
        steps = states._STEPS[form]
        found.append(f"\n{title}:\n\n{head}{''.join(row(step) for step in steps)}")
    return "".join(found) + "\n"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    README.write_text(MARKED.sub(lambda _: tables(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
