"""`rotator rotate --emergency`: says what will die and what both orders cost, asks once, acts, reports."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rotator import words
from rotator.cli import ask, notices, pick, signals
from rotator.cli.output import say, say_drawn, say_error, say_errors
from rotator.cli.session import Session
from rotator.errors import InvalidInput, JournalUnavailable, RotatorError, combine_exit_codes, sentences

if TYPE_CHECKING:
    from rotator.cli.progress import Watcher
    from rotator.clock import Instant
    from rotator.model import Order, Policy, Rotation
    from rotator.operations.emergency import Report, Target
    from rotator.operations.foresight import Foresight
    from rotator.operations.leaked import Leaked
    from rotator.operations.outcome import Outcome
    from rotator.secret import Secret
    from rotator.wiring import Wiring

DRAIN: Final = "5m"


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line, not looked at yet."""

    names: Sequence[str]
    labels: Sequence[str]
    everything: bool
    reason: str | None
    order: str | None
    drain: str | None
    leaked_stdin: bool
    kill_only: bool
    no_journal: bool
    yes: bool
    dry_run: bool

    def check(self) -> None:
        """Refuses options that contradict one another. Raises InvalidInput."""
        if self.kill_only and self.order == "replace-first":
            raise _usage(
                "--kill-only and --order replace-first contradict one another", "--kill-only replaces nothing"
            )
        if self.drain is not None and (self.kill_only or self.order == "kill-first"):
            other = "--kill-only" if self.kill_only else "--order kill-first"
            raise _usage(
                f"--drain goes with replace-first, and {other} was given", f"Leave --drain or {other} out"
            )

    def why(self, reason_of_settings: str | None) -> str:
        """The reason. Raises InvalidInput without one."""
        why = (self.reason or reason_of_settings or "").strip()
        if not why:
            raise _usage(
                "An emergency needs a reason, for whoever reads the audit trail later",
                'Say --reason "token in a public repository", or set ROTATOR_REASON',
            )
        return why

    @property
    def seconds(self) -> float:
        """Of the drain. Raises InvalidInput."""
        from rotator.settings_values import duration  # noqa: PLC0415

        try:
            return duration(self.drain or DRAIN)
        except ValueError as error:
            raise _usage(f"--drain {error}", "Say for example --drain 5m") from error


def _usage(happened: str, remedy: str) -> InvalidInput:
    return InvalidInput(happened, then="Nothing was done", remedy=remedy)


def emergency(session: Session, asked: Asked) -> int:
    """Carries an emergency through, from the command line to the report; the exit code."""
    asked.check()
    wiring = session.wiring("team_token", urgent=True, without_journal=asked.no_journal)
    from rotator.clock import Instant  # noqa: PLC0415

    reported = Instant.read(wiring.clock)
    why, drain = asked.why(wiring.settings.reason), asked.seconds
    chosen = pick.chosen(
        wiring.settings,
        wiring.policies,
        asked.names,
        asked.labels,
        everything=asked.everything,
        otherwise_all=asked.leaked_stdin,
    )
    with _questions(asked) as question:
        if question is None and not (asked.yes or asked.dry_run):
            raise InvalidInput(
                f"This would kill the tokens of {words.count(len(chosen), 'policy')} in an emergency, and nobody can "
                "be asked: there is no terminal",
                then="Nothing was changed",
                remedy="Say --yes to do it without a question, or --dry-run to see what it would do",
            )
        if asked.no_journal:
            _say_what_is_missing(wiring)
        with _remedied(asked):
            token, found, targets = _targets(wiring, asked, chosen, reported, drain)
            if found is not None and found.settled:
                return _nothing_left(session, reported, found)
            foresight = _foresee(wiring, targets)
        _show(session, foresight, dry_run=asked.dry_run)
        if asked.dry_run:
            return 0
        if not _agreed(asked, foresight, question):
            say("Nothing was changed.")
            return 1
    with _remedied(asked):
        wiring.ports  # noqa: B018  # opens journal and audit, before anything is begun
    return _act(session, wiring, foresight, why, token)


@contextmanager
def _questions(asked: Asked) -> Iterator[Callable[[str], bool] | None]:
    """How to ask; None where nobody can be asked."""
    if not asked.leaked_stdin or sys.stdin.isatty():
        yield ask.confirmed if ask.someone_answers() else None
        return
    with ask.on_terminal() as on_terminal:
        yield on_terminal


@contextmanager
def _remedied(asked: Asked) -> Iterator[None]:
    """Whatever is wrong with the journal or its key: an emergency may do without."""
    try:
        yield
    except (JournalUnavailable, InvalidInput) as error:
        without = "An emergency can go without a journal: say --no-journal too"
        if asked.no_journal or not _about_the_journal(error):
            raise
        raise type(error)(error.happened, then=error.then, remedy=sentences(error.remedy, without)) from error


def _about_the_journal(error: RotatorError) -> bool:
    # A wrong, lost or unreadable key is a trouble of the journal that it belongs to.
    return isinstance(error, JournalUnavailable) or "ROTATOR_AUDIT_KEY" in error.happened + error.remedy


def _say_what_is_missing(wiring: Wiring) -> None:
    say(
        f"Without a journal (--no-journal): nothing is read from {wiring.settings.journal.shown} and nothing is "
        "written to it. What this run does is known to this run alone: a daemon or a cron job at work on the same "
        "policies is not kept off, the rate limit is not shared with them, and what is interrupted is not taken up."
    )


def _targets(
    wiring: Wiring, asked: Asked, chosen: Sequence[Policy], reported: Instant, drain: float
) -> tuple[Secret | None, Leaked | None, list[Target]]:
    from rotator.model import Emergency, Order, Slot  # noqa: PLC0415
    from rotator.operations import emergency as operation  # noqa: PLC0415

    wanted: Order | None = Order(asked.order) if asked.order else None

    def target(policy: Policy, slot: Slot, fingerprint: str | None = None) -> Target:
        order = operation.order_for(policy, wanted, slot, kill_only=asked.kill_only)
        begun = operation.Target(policy, Emergency(reported, order, drain, slot, asked.kill_only))
        former = operation.interrupted(wiring.journal_to_read, policy, fingerprint)
        return operation.going_on(begun, former, wanted) if former is not None else begun

    if not asked.leaked_stdin:
        targets = [target(policy, Slot.ACTIVE) for policy in chosen]
        token = found = None
    else:
        token, found = _find(wiring, chosen)
        if found.policy is None:
            targets = []
        else:
            one = target(found.policy, found.slot, found.fingerprint)
            targets = [replace(one, leaked=True, dead=found.alive is False)]
    if asked.drain is not None and targets and all(t.emergency.order is Order.KILL_FIRST for t in targets):
        raise _usage(
            "--drain goes with replace-first, and none of these policies can replace first",
            "Leave --drain out",
        )
    return token, found, targets


def _find(wiring: Wiring, chosen: Sequence[Policy]) -> tuple[Secret, Leaked]:
    from rotator.model import Slot  # noqa: PLC0415
    from rotator.operations import leaked  # noqa: PLC0415

    token = ask.read_token()
    leaked.check_shape(token)
    found = leaked.find(
        token,
        chosen,
        provider=wiring.provider_to_read,
        destination=wiring.destination,
        journal=wiring.journal_to_read,
        fingerprints=wiring.fingerprints_to_read,
    )
    for where, error in found.unread:
        say_error(error, about=f"{where} could not be searched")
    if found.policy is None:
        raise leaked.unknown(found)
    say(f"The token is the {found.slot.value} one of {found.policy.name}: {found.shown_by}.")
    if found.alive is not False and not found.stored and found.slot is Slot.ACTIVE:
        say(
            "No store holds it now, so what is rotated may be another token of that project. The report says whether "
            "this one works afterwards."
        )
    if found.alive is False:
        since = f" It was first seen dead {found.dead_since:%Y-%m-%d %H:%M} UTC." if found.dead_since else ""
        more = (
            " Readers still get it, so it is replaced."
            if found.stored
            else " No reader gets it: nothing is left to do."
        )
        say(f"It is dead already: Lettermint refuses it (401).{since}{more}")
    return token, found


def _foresee(wiring: Wiring, targets: Sequence[Target]) -> Foresight:
    from rotator.operations.foresight import foresee  # noqa: PLC0415

    return foresee(
        targets,
        facts=wiring.provider_to_read.project,
        journal=wiring.journal_to_read,
        now=wiring.clock.now(),
        rotate_limit=wiring.settings.rotate_limit,
    )


def _show(session: Session, foresight: Foresight, *, dry_run: bool) -> None:
    from rotator.cli import tables_of_emergency  # noqa: PLC0415  # rich loads only where something is drawn

    if dry_run:
        session.emit(foresight.view(), lambda: tables_of_emergency.preview(foresight, sys.stdout))
        say("Nothing was changed (--dry-run).")
        return
    say_drawn(tables_of_emergency.preview(foresight, sys.stderr))
    say("")


def _agreed(asked: Asked, foresight: Foresight, question: Callable[[str], bool] | None) -> bool:
    count = len(foresight.entries)
    what = "this token" if count == 1 else f"these {count} tokens"
    stops = (
        f"Only kill: mail of {', '.join(one.policy.name for one in foresight.entries)} stops when the token is dead, "
        "until `rotator run` publishes another one."
    )
    if asked.yes:
        if asked.kill_only:
            say(stops)
        return True
    assert question is not None
    replaced = "" if asked.kill_only else " and replace it" if count == 1 else " and replace them"
    if not question(f"Kill {what}{replaced} now?"):
        return False
    return not asked.kill_only or question(f"{stops} Really only kill?")


def _act(
    session: Session,
    wiring: Wiring,
    foresight: Foresight,
    why: str,
    token: Secret | None,
) -> int:
    from rotator.cli.progress import watching  # noqa: PLC0415
    from rotator.engine.context import Progress  # noqa: PLC0415
    from rotator.operations import emergency as operation  # noqa: PLC0415

    expected = {one.policy.name: one.cost.ends_at for one in foresight.entries}
    with watching(expected) as watcher, signals.stopping(session.stop, watcher.tell):
        session.observer = watcher
        outcome = operation.carry_out(
            wiring.runner,
            foresight.targets,
            why,
            clock=wiring.clock,
            stop=session.stop,
            leaked=token,
            looked=lambda rotation: watcher(
                Progress(rotation.policy, rotation.id, rotation.step, rotation.message or rotation.state)
            ),
            ended=lambda name, result: _tell(watcher, name, result),
        )
    if wiring.audit_is_spoken:
        note = "The audit of this emergency is on standard error only (audit-event:). Keep it."
        outcome = replace(outcome, notes=(*outcome.notes, note), codes=(*outcome.codes, 4))
    lives = token is not None and operation.still_works(wiring.provider, token)
    report = operation.report(foresight.targets, outcome, leaked_lives=lives)
    code = _report(session, report, outcome)
    notices.tell(session, wiring)
    return code


def _tell(watcher: Watcher, name: str, result: Sequence[Rotation] | RotatorError) -> None:
    if isinstance(result, RotatorError):
        watcher.ended(name, "failed", result.happened)
        return
    for rotation in result[-1:]:
        if rotation.state.value != "draining":
            dead = {
                True: "leaked token dead",
                False: "leaked token ALIVE",
                None: "not proved dead",
            }
            watcher.ended(name, rotation.state.value, dead[rotation.leaked_token_dead])


def _report(session: Session, report: Report, outcome: Outcome) -> int:
    from rotator.cli import tables_of_emergency  # noqa: PLC0415
    from rotator.views import rotations_view  # noqa: PLC0415

    for note in outcome.notes:
        say(note)
    say_errors(outcome.errors)
    session.emit(
        {**rotations_view(outcome.rotations), "report": report.view()},
        lambda: tables_of_emergency.report(report, outcome.rotations),
    )
    return combine_exit_codes([*outcome.codes, *([report.exit_code] if report.exit_code else [])])


def _nothing_left(session: Session, reported: Instant, found: Leaked) -> int:
    """The leaked token is dead, and nobody reads it."""
    from rotator.operations.emergency import Report  # noqa: PLC0415

    report = Report(reported.wall, (), {}, ())
    data = {
        **report.view(),
        "policy": found.policy.name if found.policy else None,
        "fingerprint": found.fingerprint,
        "dead_since": f"{found.dead_since:%Y-%m-%dT%H:%M:%S}Z" if found.dead_since else None,
    }
    session.emit({"rotations": [], "report": data}, str)
    return 0
