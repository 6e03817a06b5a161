"""`rotator doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rotator import words
from rotator.cli import pick
from rotator.cli.output import say
from rotator.cli.session import Session
from rotator.errors import InvalidInput, RotatorError

if TYPE_CHECKING:
    from rotator.cli.inspection import Inspection
    from rotator.model import Policy
    from rotator.operations.doctor.parts import Setup
    from rotator.operations.doctor.report import Check, Report
    from rotator.settings import Settings

_MARKS = {"ok": "ok", "warning": "warn", "failed": "FAIL", "skipped": "skip", "unknown": "?"}
_TITLE = "this rotator"
"""Heads what all policies share. No policy has a space in its name."""


def doctor(
    session: Session,
    policies: Annotated[list[str] | None, typer.Argument(metavar="POLICY", hidden=True)] = None,
    prepare_standby: Annotated[
        str | None,
        typer.Option(
            "--prepare-standby",
            metavar="POLICY",
            help="instead: make this policy's standby project like its main one; shows first what that takes",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="with --prepare-standby: do it without a question")
    ] = False,
) -> int:
    """Try everything a rotation will need.

    For the policies named, or all: settings, journal and audit log, Lettermint and the team token, each
    destination with a write that no reader sees, each verifier with the token that lives now (`send` sends
    its test message). Says who we are at each store, and for what is wrong the thing to change. Rotates
    nothing, and makes no journal.

    --prepare-standby compares the two projects of a policy and, when asked, changes the standby one; exit 4
    while something is left to do.

    Exit 0 if nothing failed; 2 if a setting, credential or permission is wrong, 6 if something could not be
    reached, 1 if something else would refuse a rotation, 3 if these differ; 4 if only attention stands.
    """
    if prepare_standby is not None or yes:
        return _prepare(session, policies, prepare_standby, yes=yes)
    from rotator.cli.inspection import Inspection  # noqa: PLC0415
    from rotator.operations.doctor.run import examine  # noqa: PLC0415

    settings = session.settings()
    with closing(Inspection(settings, session)) as inspection:
        setup = _setup(settings, inspection, policies or [])
        say(f"Checking {words.count(len(setup.policies), 'policy')}.")
        report = examine(setup, inspection.parts())
    session.emit(report.view(), lambda: _table(report, [policy.name for policy in setup.policies]))
    return report.exit_code


def _prepare(session: Session, others: Sequence[str] | None, policy: str | None, *, yes: bool) -> int:
    if policy is None:
        raise InvalidInput(
            "--yes was given without --prepare-standby; the checks change nothing and ask nothing",
            then="Nothing was done",
            remedy="Leave it out, or name a policy with --prepare-standby",
        )
    if others:
        raise InvalidInput(
            f"--prepare-standby {policy} was given together with policies to check",
            then="Nothing was done",
            remedy="Give one of the two; --prepare-standby takes one policy",
        )
    from rotator.cli.prepare_standby import prepare  # noqa: PLC0415

    return prepare(session, policy, yes=yes)


def _setup(settings: Settings, inspection: Inspection, names: Sequence[str]) -> Setup:
    """Policies that are wrong are a finding; a name that no policy has is a mistake of the caller's."""
    from rotator.operations.doctor.parts import Setup  # noqa: PLC0415

    chosen: Sequence[Policy] = ()
    every: Sequence[Policy] = ()
    warnings: tuple[str, ...] = ()
    problem: RotatorError | None = None
    try:
        every = inspection.policies
        warnings = tuple(str(one) for one in inspection.loaded.warnings)
    except RotatorError as error:
        problem = error
    else:
        chosen = pick.all_or_named(every, names)
    return Setup(
        warnings=settings.warnings,
        lease=settings.lease,
        call_timeout=settings.call_timeout,
        rotate_limit=settings.rotate_limit,
        api_url=settings.api_url,
        journal=settings.journal.sqlite_path,
        journal_shown=settings.journal.shown,
        audit_log=settings.audit_log,
        audit_key=_key_file(settings),
        key_is_set=settings.audit_key.configured,
        policies=chosen,
        every_policy=every,
        policy_warnings=warnings,
        policy_error=problem,
    )


def _key_file(settings: Settings) -> Path | None:
    journal = settings.journal.sqlite_path
    if settings.audit_key.configured or journal is None:
        return settings.audit_key.file
    return journal.parent / "audit.key"


def _table(report: Report, policies: Sequence[str]) -> str:
    """Who we are, then the checks in groups, then the counts."""
    from rotator.cli.render import card, checklist  # noqa: PLC0415

    parts = []
    if report.identities:
        parts.append(card("runs as", "", [(one.store, one.identity) for one in report.identities]))
    for policy in (None, *policies):
        checks = [check for check in report.checks if check.policy == policy]
        parts.append(checklist(policy or _TITLE, _rows(checks)))
    parts.append(_counts(report))
    return "\n\n".join(parts)


def _rows(checks: Sequence[Check]) -> list[tuple[str, str, str, str]]:
    """Mark, name, text and hint of each; a place that several checks are about stands above them once."""
    rows = []
    above = ""
    for check in checks:
        place = check.subject if check.name.removeprefix("rehearsal.").startswith("destination") else ""
        if place and place != above:
            rows.append(("", place, "", ""))
        above = place or above
        # What is skipped says what it waits for; that has its hint already.
        hint = check.hint if check.result.value != "skipped" else ""
        rows.append((_MARKS[check.result.value], check.name, check.detail, hint))
    return rows


def _counts(report: Report) -> str:
    found = [check.result.value for check in report.checks]
    counts = [f"{found.count(result)} {mark}" for result, mark in _MARKS.items() if result in found]
    return f"{words.count(len(found), 'check')}: {', '.join(counts)}"
