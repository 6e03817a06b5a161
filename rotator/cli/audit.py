"""`rotator audit verify`, `search`, `tail` and `export`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rotator import words
from rotator.cli import ask
from rotator.cli.output import clean, emit, say, scrubbed
from rotator.cli.session import Session

if TYPE_CHECKING:
    from rotator.audit.chain import ChainReport
    from rotator.audit.search import TokenHistory
    from rotator.journal.base import KnownToken

_BATCH = 200
"""Lines that are written at once."""


def verify(session: Session) -> int:
    """Check the audit log from its first line to its last.

    Exit 4 if a line was changed, taken out, put in, or cut off.
    """
    wiring = session.wiring()
    from rotator.audit import chain  # noqa: PLC0415

    key = wiring.audit_key_to_read
    report = chain.verify(wiring.settings.audit_log, key, wiring.journal_to_read.audit_head())
    session.emit(report.as_json(), lambda: _report(report))
    return 0 if report.ok else 4


def search(session: Session) -> int:
    """Read a token from stdin; tell whether it was ours.

    Tells when, for which project, and whether it is dead. Exit 1 if it never was ours. The token is
    not shown, kept or sent anywhere.
    """
    wiring = session.wiring()
    from rotator.audit import search as operation  # noqa: PLC0415
    from rotator.secret import Fingerprinter  # noqa: PLC0415

    fingerprint = Fingerprinter(wiring.audit_key_to_read).of(ask.read_token())
    found = operation.search(wiring.settings.audit_log, fingerprint)
    data = _answer(found, wiring.journal_to_read.known_token(fingerprint))
    if found.unreadable:
        say(f"warning: {words.count(found.unreadable, 'line')} of the audit log could not be read.")
    session.emit(data, lambda: _found(data))
    return 0 if data["known"] else 1


def tail(
    session: Session,
    lines: Annotated[int, typer.Option("-n", "--lines", metavar="N", min=1, help="how many")] = 20,
) -> int:
    """Show the last events of the audit log."""
    settings = session.settings()
    from rotator.audit import search as operation  # noqa: PLC0415

    events = operation.tail(settings.audit_log, lines)
    session.emit({"events": [dict(event) for event in events]}, lambda: _events(events))
    if not events:
        say(f"The audit log {settings.audit_log} has no events.")
    return 0


def export(
    session: Session,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="only what happened since: RFC 3339, a date, or e.g. 2h"
        ),
    ] = None,
    after: Annotated[
        int, typer.Option("--after", metavar="N", min=0, help="only events with a higher number")
    ] = 0,
) -> int:
    """Write audit events for a SIEM, one JSON object a line.

    CloudEvents 1.0, with an OCSF Entity Management event in each; always JSON lines, whatever -o says. The chain
    is checked first: exit 4, and nothing is written, if it is broken.
    """
    wiring = session.wiring()
    from rotator import __version__  # noqa: PLC0415
    from rotator.audit import chain  # noqa: PLC0415
    from rotator.audit import export as operation  # noqa: PLC0415
    from rotator.errors import NeedsAttention  # noqa: PLC0415

    start = _moment(since, wiring.clock.now()) if since is not None else None
    path, key = wiring.settings.audit_log, wiring.audit_key_to_read
    report = chain.verify(path, key, wiring.journal_to_read.audit_head())
    if not report.ok:
        raise NeedsAttention(
            "audit",
            f"The audit log {path} is not as it was written: {report.problem}",
            then="Nothing was exported",
            remedy="`rotator audit verify` checks it again; keep the file as it is",
        )
    count = 0
    try:
        if report.head is not None:
            events = operation.exported(path, key, report.head, __version__, since=start, after=after)
            for batch in _batches(json.dumps(scrubbed(event), ensure_ascii=False) for event in events):
                emit("\n".join(batch))
                count += len(batch)
    except operation.ChangedMeanwhile as error:
        raise NeedsAttention(
            "audit",
            f"The audit log {path} was changed while it was exported: {error}",
            then=f"{words.count(count, 'event')} had been written",
            remedy="`rotator audit verify` checks it",
        ) from None
    say(f"{words.count(count, 'event')} of {report.events} exported, up to number {report.events}.")
    return 0


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    """A few hundred lines at a time: flushing each takes longer than making it."""
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _moment(text: str, now: datetime) -> datetime:
    """A time, the start of a day in UTC, or a while ago."""
    from rotator.clock import parse_rfc3339  # noqa: PLC0415
    from rotator.errors import InvalidInput  # noqa: PLC0415
    from rotator.settings_values import duration  # noqa: PLC0415

    with suppress(ValueError):
        return parse_rfc3339(text)
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    with suppress(ValueError, OverflowError):
        return now - timedelta(seconds=duration(text))
    raise InvalidInput(
        f"--since is no time: {clean(text)}",
        then="Nothing was done",
        remedy="Accepted: 2026-11-21T09:00:00Z, 2026-11-21, or a while ago such as 90s, 15m, 2h, 7d",
    )


def _answer(found: TokenHistory, known: KnownToken | None) -> dict[str, Any]:
    """What log and journal know together: either may have been lost."""
    first = [str(event["at"]) for event in found.events[:1]]
    dead = found.dead_at
    if known is not None:
        from rotator.clock import rfc3339  # noqa: PLC0415

        first.append(rfc3339(known.first_seen))
        dead = rfc3339(known.dead_since) if known.dead_since else dead
    return {
        "fingerprint": found.fingerprint,
        "known": found.ours or known is not None,
        "project": known.project if known else next(iter(found.projects), None),
        "policy": known.policy if known else next(iter(found.policies), None),
        "first_seen": min(first, default=None),
        "minted_at": found.minted_at,
        "published_at": found.published_at,
        "dead_since": dead,
        "events": [dict(event) for event in found.events],
    }


def _report(report: ChainReport) -> str:
    from rotator.cli.render import card  # noqa: PLC0415

    anchored = (
        "yes: the journal remembers the same end"
        if report.anchored
        else "no: the journal remembers no event of it, so a cut end would not show"
    )
    return card(
        "audit log",
        "ok" if report.ok else "failed",
        (
            ("events", str(report.events)),
            ("head", report.head.mac if report.head else ""),
            ("anchored", anchored),
            ("problem", report.problem or ""),
        ),
    )


def _found(data: Mapping[str, Any]) -> str:
    from rotator.cli.render import card  # noqa: PLC0415

    if not data["known"]:
        return card(data["fingerprint"], "", [("answer", "never ours, as far as log and journal reach")])
    lines = [
        (name.replace("_", " "), data[name] or "")
        for name in ("policy", "project", "first_seen", "minted_at", "published_at")
    ]
    shown = card(
        data["fingerprint"], "", [*lines, ("dead since", data["dead_since"] or "not known to be dead")]
    )
    return f"{shown}\n\n{_events(data['events'])}" if data["events"] else shown


def _events(events: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(_event(event) for event in events)


def _event(event: Mapping[str, Any]) -> str:
    """One line, for `grep`; as long as it is, because cutting it would hide the end."""
    if "unreadable" in event:
        return clean(f"(no event)  {event['unreadable']}")
    data = json.dumps(scrubbed(event["data"]), ensure_ascii=False) if event["data"] else ""
    about = (str(event.get(name) or "") for name in ("policy", "rotation"))
    return clean("  ".join(part for part in (event["at"], event["event"], *about, data) if part))
