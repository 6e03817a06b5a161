"""`rotator doctor --prepare-standby`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from rotator import words
from rotator.cli import ask, pick, signals
from rotator.cli.output import emit, emit_json, say, say_error
from rotator.cli.session import Session, say_unwritten
from rotator.errors import Interrupted, InvalidInput

if TYPE_CHECKING:
    from rotator.operations.prepare_standby import Prepared
    from rotator.operations.standby_plan import ByHand, Plan
    from rotator.secret import Secret
    from rotator.wiring import Wiring

_SAID = {"not-tried": "not tried"}


def prepare(session: Session, name: str, *, yes: bool) -> int:
    """Shows the plan, and carries it out if `yes` or the person on the terminal says so."""
    wiring = session.wiring("team_token")
    policy = pick.one(wiring.policies, name)
    from rotator.operations.prepare_standby import Record, apply  # noqa: PLC0415
    from rotator.operations.standby_plan import Readers, compare  # noqa: PLC0415

    readers = Readers(wiring.journal_to_read, partial(_known_project, wiring), wiring.destination)
    plan = compare(policy, wiring.preparer, readers)
    if not session.as_json:
        emit(_card(plan))
    if not (plan.changes and (yes or _agreed(session, plan))):
        if session.as_json:
            emit_json(_view(plan))
        if plan.changes:
            say("Nothing was changed; `--yes` does it.")
        return plan.exit_code
    record = Record(wiring.audit, wiring.clock, wiring.person, say_unwritten)
    with signals.stopping(wiring.stop, lambda _: say("Stopping after the change at hand.")):
        done = apply(
            plan,
            wiring.preparer,
            record,
            wiring.journal,
            wiring.leasing,
            lambda: compare(policy, wiring.preparer, readers),
            lambda text: say(f"{policy.name}: {text}"),
        )
    _tell(session, plan, done)
    return done.exit_code


def _known_project(wiring: Wiring, token: Secret) -> str | None:
    """What the journal knows; nothing where none was begun, or it began with another key."""
    from rotator.secret import Fingerprinter  # noqa: PLC0415

    try:
        fingerprint = Fingerprinter(wiring.audit_key_to_read).of(token)
    except InvalidInput:
        return None
    known = wiring.journal_to_read.known_token(fingerprint)
    return known.project if known else None


def _agreed(session: Session, plan: Plan) -> bool:
    if not ask.someone_answers():
        return False
    if session.as_json:
        say("\n".join(f"{name:<8}  {text}" for name, text in _lines(plan)))
    return ask.confirmed(
        f"Make {words.count(len(plan.changes), 'change')} to the standby project of {plan.policy}?"
    )


def _tell(session: Session, plan: Plan, done: Prepared) -> None:
    if session.as_json:
        emit_json(_view(plan, done))
    for error in done.errors:
        if isinstance(error, Interrupted):  # its own words are about rotations
            say(f"{plan.policy}: Stopped by a signal. Repeating the command does what is left.")
        else:
            say_error(error, about=plan.policy)
    counts = Counter(one.outcome for one in done.made)
    say(f"{plan.policy}: {', '.join(f'{count} {_SAID.get(one, one)}' for one, count in counts.items())}.")
    if done.left is not None and done.left.exit_code:
        left = [*(one.text for one in done.left.changes), *(one.text for one in _blocking(done.left.by_hand))]
        say("\n".join([f"{plan.policy}: the projects still differ:", *(f"  {text}" for text in left)]))


def _view(plan: Plan, done: Prepared | None = None) -> dict[str, Any]:
    outcomes = [one.outcome for one in done.made] if done else [None] * len(plan.changes)
    last = done.left if done and done.left else plan
    return {
        "policy": plan.policy,
        "project": plan.project,
        "standby": plan.standby,
        "changes": [
            {**change.view(), "outcome": outcome}
            for change, outcome in zip(plan.changes, outcomes, strict=True)
        ],
        "by_hand": [one.view() for one in last.by_hand],
        "left": [change.view() for change in last.changes] if done and done.left else None,
        "errors": [{"code": one.code, "message": str(one)} for one in done.errors] if done else [],
    }


def _card(plan: Plan) -> str:
    from rotator.cli.render import card  # noqa: PLC0415

    return card(plan.policy, "", _lines(plan))


def _lines(plan: Plan) -> list[tuple[str, str]]:
    reminders = [one for one in plan.by_hand if not one.blocks]
    return [
        ("project", plan.project),
        ("standby", plan.standby),
        *_group("changes", [change.text for change in plan.changes] or ["none"]),
        *_group("by hand", [one.text for one in _blocking(plan.by_hand)]),
        *_group("remember", [f"{one.subject}: {one.text}" for one in reminders]),
    ]


def _group(name: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    return [("" if number else name, text) for number, text in enumerate(texts)]


def _blocking(by_hand: Iterable[ByHand]) -> list[ByHand]:
    return [one for one in by_hand if one.blocks]
