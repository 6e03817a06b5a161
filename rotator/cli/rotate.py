"""`rotator rotate`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rotator import words
from rotator.cli import ask, notices, options, pick, signals
from rotator.cli.output import say
from rotator.cli.session import Session
from rotator.errors import InvalidInput
from rotator.model import Order

if TYPE_CHECKING:
    from rotator.model import Policy
    from rotator.operations.plan import Plan
    from rotator.wiring import Wiring

_FATE: Final = {
    "in-place": "dies at once, when the new one is minted; this cannot be undone",
    "standby-project": "lives until the new one serves everywhere and it is not used any more",
    "bridge-token": "dies once consumers stand on the bridge token; this cannot be undone",
    "assisted": "a person makes the new one: `rotator stage` takes it",
}
"""Of the token that readers hold, by the form of the strategy."""


def rotate(
    session: Session,
    policies: options.Policies = None,
    label: options.Label = None,
    everything: Annotated[bool, typer.Option("--all", help="every policy")] = False,
    reason: options.Reason = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan and change nothing")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="return when a rotation rests in its drain")
    ] = False,
    canary: Annotated[
        str | None, typer.Option("--canary", metavar="N/s", help="send meanwhile as a consumer would; count")
    ] = None,
    emergency: Annotated[
        bool,
        typer.Option("--emergency", help="a token leaked: kill it, whatever holds or runs; needs --reason"),
    ] = False,
    order: Annotated[
        Order | None,
        typer.Option("--order", help="emergency: what comes first [replace-first where tokens can overlap]"),
    ] = None,
    drain: Annotated[
        str | None,
        typer.Option("--drain", metavar="TIME", help="emergency: how long replace-first waits [5m]"),
    ] = None,
    leaked_stdin: Annotated[
        bool, typer.Option("--leaked-stdin", help="emergency: read the leaked token, find whose it is")
    ] = False,
    kill_only: Annotated[
        bool, typer.Option("--kill-only", help="emergency: publish nothing; mail stops. Asks twice")
    ] = False,
    no_journal: Annotated[
        bool, typer.Option("--no-journal", help="emergency: go without a journal that cannot be opened")
    ] = False,
) -> int:
    """Rotate policies now, due or not.

    Names them, or selects with -l or --all; without any of these ROTATOR_SELECT says which. Asks
    first, unless --yes is given. With --emergency it first shows what dies, in which order, what that
    costs, and ends with a report of how long each token was exposed.
    """
    only = {
        "--order": order,
        "--drain": drain,
        "--leaked-stdin": leaked_stdin,
        "--kill-only": kill_only,
        "--no-journal": no_journal,
    }
    never = {"--no-wait": no_wait, "--canary": canary}
    _check_together(emergency, [name for name, given in (never if emergency else only).items() if given])
    if emergency:
        from rotator.cli import emergency as urgent  # noqa: PLC0415

        asked = urgent.Asked(
            names=policies or [],
            labels=label or [],
            everything=everything,
            reason=reason,
            order=order.value if order else None,
            drain=drain,
            leaked_stdin=leaked_stdin,
            kill_only=kill_only,
            no_journal=no_journal,
            yes=yes,
            dry_run=dry_run,
        )
        return urgent.emergency(session, asked)
    wiring = session.wiring("team_token")
    chosen = pick.chosen(wiring.settings, wiring.policies, policies or [], label or [], everything=everything)
    from rotator.cli.plan import planned, show_plan  # noqa: PLC0415

    rate = _rate(canary)
    if dry_run:
        return show_plan(session, planned(wiring, chosen, asked_for=True))
    if not yes:
        _may_ask(chosen)
        _explain(planned(wiring, chosen, asked_for=True))
        if not ask.confirmed("Rotate now?"):
            say("Nothing was changed.")
            return 1
    why = reason or wiring.settings.reason or ""
    return _carry_out(session, wiring, chosen, why, wait=not no_wait, rate=rate)


def _check_together(emergency: bool, wrong: Sequence[str]) -> None:
    if wrong:
        plural = "go" if len(wrong) > 1 else "goes"
        raise InvalidInput(
            f"{' and '.join(wrong)} {plural} {'not together' if emergency else 'only together'} with --emergency",
            then="Nothing was done",
            remedy="An emergency waits until the leaked token is dead, and sends nothing meanwhile"
            if emergency
            else "Say --emergency too, or leave that out; `rotator rotate --help` tells more",
        )


def _rate(canary: str | None) -> float | None:
    """Sends per second. Raises InvalidInput."""
    if canary is None:
        return None
    from rotator.canary import parse_rate  # noqa: PLC0415

    return parse_rate(canary)


def _carry_out(
    session: Session,
    wiring: Wiring,
    chosen: Sequence[Policy],
    reason: str,
    *,
    wait: bool,
    rate: float | None,
) -> int:
    from rotator.cli.progress import watching  # noqa: PLC0415
    from rotator.cli.run import show  # noqa: PLC0415
    from rotator.cli.waiting import waited  # noqa: PLC0415
    from rotator.model import Trigger  # noqa: PLC0415
    from rotator.operations import rotate as operation  # noqa: PLC0415
    from rotator.operations.canaries import Canaries  # noqa: PLC0415

    runner = wiring.runner
    with watching() as watcher, signals.stopping(session.stop, watcher.tell):
        session.observer = watcher
        flock = Canaries(wiring.ports, chosen, rate, session.stop) if rate is not None else None
        with flock or nullcontext():
            outcome = operation.rotate(runner, chosen, Trigger.MANUAL, reason)
            if wait:
                outcome = waited(session, wiring, outcome)
        if flock is not None:
            outcome = replace(outcome, rotations=flock.noted(runner, outcome.rotations))
    code = show(session, outcome, nothing="Nothing was rotated.")
    notices.tell(session, wiring)
    return code


def _may_ask(chosen: Sequence[Policy]) -> None:
    if not ask.someone_answers():
        raise InvalidInput(
            f"This would rotate {words.count(len(chosen), 'policy')}, and nobody can be asked: "
            "there is no terminal",
            then="Nothing was changed",
            remedy="Say --yes to rotate without a question, or --dry-run to see what it would do",
        )


def _explain(plan: Plan) -> None:
    """What the question is about: everything that cannot be taken back, by name."""
    from rotator.cli import tables  # noqa: PLC0415  # rich loads only where something is drawn

    say(f"This rotates {words.count(len(plan.entries), 'policy')} now:\n")
    for one in plan.entries:
        say(f"  {one.policy.name}")
        say(f"    project      {one.policy.project}")
        for number, destination in enumerate(one.policy.destinations):
            say(f"    {'' if number else 'writes to':<11}  {destination.ref}")
        say(f"    old token    {_FATE[one.policy.form]}")
        say(f"    outage       {tables.expected_outage(one)}")
        if one.error is not None:
            say(f"    warning      {one.error.happened}")
        say("")
    if plan.summary.count > 1:
        say(f"{tables.summary(plan)}\n")
