"""`rotator reconcile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from rotator.cli import ask, notices, pick, signals
from rotator.cli.output import emit, emit_json, say
from rotator.cli.session import Session

if TYPE_CHECKING:
    from rotator.model import Policy
    from rotator.operations.reconcile import Acted, Reconciliation
    from rotator.wiring import Wiring

_QUESTIONS = {
    "resume": "Finish rotation {rotation} of {policy}?",
    "rotate": "Rotate {policy} now? The old token of project {project} dies at once.",
    "sync": "Write the authoritative token of {policy} to the destinations that differ?",
    "rollback": "Make the outgoing token of {policy} current again?",
    "adopt": "Write down what was found of {policy} as right?",
}


def reconcile(
    session: Session,
    policy: Annotated[str, typer.Argument(metavar="POLICY", hidden=True)],
    active: Annotated[
        str | None,
        typer.Option("--active", metavar="PROJECT", help="say which project's token readers hold"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do the safe next thing without a question")] = False,
) -> int:
    """Say what is true, and do the one safe next thing.

    Compares Lettermint, the stores and the journal. Asks before it changes anything; exit 4 while
    something is left to do.
    """
    wiring = session.wiring("team_token")
    chosen = _chosen(wiring, policy)
    from rotator.operations import reconcile as operation  # noqa: PLC0415
    from rotator.operations import status  # noqa: PLC0415

    if active is not None:
        operation.name_active(wiring.ports, wiring.runner, chosen, active)
        say(f"{chosen.name}: the token that readers hold is that of project {active}.")
    finding = operation.reconcile(wiring.ports, chosen)
    if not session.as_json:
        emit(_card(finding))
    possible = finding.action in _QUESTIONS
    if not (possible and (yes or _agreed(session, chosen, finding))):
        status.refresh(wiring.ports, [chosen])
        if session.as_json:
            emit_json(finding.view())
        if possible:
            say("Nothing was changed; `--yes` does it.")
        return 0 if finding.action == "none" else 4
    done = _act(session, wiring, lambda: operation.act(wiring.ports, wiring.runner, chosen, finding))
    status.refresh(wiring.ports, [chosen])  # attention ends with its state
    from rotator.cli import tables  # noqa: PLC0415
    from rotator.views import rotations_view, synced_view  # noqa: PLC0415

    if session.as_json:
        synced = [synced_view(done.synced)] if done.synced else []
        emit_json({**finding.view(), **rotations_view(done.rotations), "synced": synced})
    elif done.rotations:
        emit(f"\n{tables.rotations(done.rotations)}")
    if done.synced:
        say(f"{chosen.name}: {done.synced.message}.")
    notices.tell(session, wiring)
    return done.exit_code


def _chosen(wiring: Wiring, name: str) -> Policy:
    """From the files; else, where its rotation is unfinished, as it was when that began."""
    if name not in {one.name for one in wiring.policies}:
        for rotation in wiring.journal_to_read.unfinished():
            if rotation.policy == name:
                say(f"{name} is in no policy file any more; its unfinished rotation remembers it.")
                return wiring.ports.from_snapshot(rotation.snapshot)
    return pick.one(wiring.policies, name)


def _agreed(session: Session, policy: Policy, finding: Reconciliation) -> bool:
    if not ask.someone_answers():
        return False
    if session.as_json:
        say(_plain(finding))
    rotation = finding.unfinished.id if finding.unfinished else ""
    question = _QUESTIONS[finding.action]
    if finding.action == "rotate" and policy.standby_project:
        question = "Rotate {policy} now?"  # which of its two projects, the rotation finds out
    return ask.confirmed(question.format(policy=policy.name, project=policy.project, rotation=rotation))


def _act(session: Session, wiring: Wiring, act: Callable[[], Acted]) -> Acted:
    from rotator.cli.progress import watching  # noqa: PLC0415

    with watching() as watcher, signals.stopping(wiring.stop, watcher.tell):
        session.observer = watcher
        return act()


def _card(finding: Reconciliation) -> str:
    from rotator.cli.render import card  # noqa: PLC0415

    return card(finding.policy, "", _lines(finding))


def _plain(finding: Reconciliation) -> str:
    return "\n".join(f"{name:<8}  {text}" for name, text in _lines(finding))


def _lines(finding: Reconciliation) -> list[tuple[str, str]]:
    return [
        *(("" if n else "true", text) for n, text in enumerate(finding.facts)),
        *(("" if n else "unknown", text) for n, text in enumerate(finding.unknown)),
        ("next", f"{finding.action}: {finding.why}"),
    ]
