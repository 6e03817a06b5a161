"""What is on this machine: settings, policies, audit key, journal, audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rotator.audit.base import Audit
from rotator.engine.recovery import unfinished_of
from rotator.errors import RotatorError
from rotator.journal.base import Journal, NoJournal
from rotator.operations.doctor import disk
from rotator.operations.doctor.parts import Parts, Records, Setup
from rotator.operations.doctor.report import ATTENTION, Findings
from rotator.rehearsal import with_rehearsals
from rotator.secret import Fingerprinter, Secret

_DOCUMENTED_LIMIT: Final = 10
"""Calls of rotate-token in a minute, at most (Team API reference: 3 to 10)."""
_PROBE: Final = "doctor"
"""The kind of the slot that proves a write: nothing else ever asks for it."""
_WINDOW: Final = 60.0
_NO_PRESSURE: Final = 1000


def examine_settings(setup: Setup, found: Findings) -> None:
    """Settings and policies, which have been read by now."""
    for text in setup.warnings:
        found.warning("settings", text, "Change the setting or the file that it names.")
    if not setup.warnings:
        found.ok("settings", "Flags, environment and settings file are well-formed.")
    times = f"a lease of {setup.lease:g} s, calls of at most {setup.call_timeout:g} s"
    if setup.call_timeout > setup.lease * 2 / 3 + 0.001:
        found.warning(
            "settings.lease",
            f"ROTATOR_LEASE and ROTATOR_CALL_TIMEOUT are close together ({times}): if the journal is slow "
            "for a moment, the lease may end during a call.",
            "Set ROTATOR_CALL_TIMEOUT to two thirds of ROTATOR_LEASE at most.",
        )
    else:
        found.ok("settings.lease", f"{times[0].upper()}{times[1:]}.")
    if setup.rotate_limit > _DOCUMENTED_LIMIT:
        found.warning(
            "settings.rotate-limit",
            f"ROTATOR_ROTATE_LIMIT is {setup.rotate_limit}; Lettermint documents 3 to 10 mints a minute.",
            "Set ROTATOR_ROTATE_LIMIT to 10 at most, unless Lettermint allowed you more.",
        )
    if setup.policy_error is not None:
        found.error("policies", setup.policy_error)
        return
    for text in setup.policy_warnings:
        found.warning("policies", text, "Change it in that file, if it is not meant so.")
    count = len(setup.every_policy)
    if count == 0:
        found.warning("policies", "There are no policies.", "Name their file or folder in ROTATOR_POLICIES.")
    elif not setup.policy_warnings:
        found.ok("policies", f"{count} {'policy is' if count == 1 else 'policies are'} valid.")


def examine_records(setup: Setup, parts: Parts, found: Findings) -> Records:
    """Audit key, journal and audit log. Nothing is made where nothing is: then their places are proved."""
    if setup.journal is not None and not setup.begun:
        _not_begun(setup, setup.journal, parts, found)
        return Records()
    key = _key(setup, parts, found)
    journal = _journal(setup, parts, key, found)
    audit = _audit(setup, parts, key, journal, found)
    usable = journal is not None and key is not None
    return Records(journal, audit, Fingerprinter(key) if usable and key is not None else None)


def examine_orphans(setup: Setup, journal: Journal | None, found: Findings) -> None:
    """Unfinished rotations whose policy is gone; those of policies are told with these."""
    if journal is None or setup.policy_error is not None:
        return
    try:
        orphans = [
            one.rotation for one in unfinished_of(journal, with_rehearsals(setup.every_policy)) if one.orphan
        ]
    except RotatorError as error:
        found.error("rotation.orphan", error)
        return
    for rotation in orphans:
        found.failed(
            "rotation.orphan",
            f"Rotation {rotation.id} of {rotation.policy} is unfinished and its policy is gone.",
            f"Restore the policy and type `rotator run`, or `rotator reconcile {rotation.policy}`.",
            code=ATTENTION,
            subject=rotation.policy,
        )


def _not_begun(setup: Setup, journal: Path, parts: Parts, found: Findings) -> None:
    if setup.key_is_set or (setup.audit_key is not None and disk.exists(setup.audit_key)):
        _key(setup, parts, found)
    else:
        found.ok("audit.key", f"There is none yet; the first rotation makes {setup.audit_key}: back it up.")
    if disk.folder_takes_files(journal, found, "journal", variable="ROTATOR_JOURNAL"):
        found.ok("journal", f"There is none at {journal} yet; the first rotation makes it.")
        _place(journal, found)
    log = setup.audit_log
    if disk.exists(log):
        if disk.file_takes_lines(log, found, "audit.write", variable="ROTATOR_AUDIT_LOG"):
            found.warning(
                "audit.write",
                f"There is an audit log at {log} and no journal that remembers its end: if lines were cut "
                "off, that would not show.",
                "Check that ROTATOR_JOURNAL names the journal it belongs to; if there is none any more, go on.",
            )
    elif disk.folder_takes_files(log, found, "audit.write", variable="ROTATOR_AUDIT_LOG"):
        found.ok("audit.write", f"There is none at {log} yet; the first rotation makes it.")


def _key(setup: Setup, parts: Parts, found: Findings) -> Secret | None:
    try:
        key = parts.read_key()
    except RotatorError as error:
        found.error("audit.key", error)
        return None
    found.ok("audit.key", f"Readable: {setup.audit_key or 'ROTATOR_AUDIT_KEY'}.")
    if setup.audit_key is not None:
        disk.private(setup.audit_key, found, "audit.key", group=True)
    return key


def _journal(setup: Setup, parts: Parts, key: Secret | None, found: Findings) -> Journal | None:
    if setup.journal is not None:
        _place(setup.journal, found)
    try:
        journal = parts.open_journal()
        if key is not None:
            parts.check_key(journal, key)
    except NoJournal:
        found.ok("journal", f"There is none at {setup.journal_shown} yet; the first rotation makes it.")
        return None
    except RotatorError as error:
        found.error("journal", error)
        return None
    where = setup.journal or setup.journal_shown
    found.ok("journal", f"{where} opens{', and the audit key is its own' if key else ''}.")
    if setup.journal is not None:
        disk.private(setup.journal, found, "journal")
    try:
        journal.take_slot(_PROBE, limit=_NO_PRESSURE, window=_WINDOW)
    except RotatorError as error:
        found.error("journal.write", error)
        return None
    found.ok("journal.write", "It takes a write.")
    _room_for_a_mint(setup, journal, found)
    return journal


def _place(journal: Path, found: Findings) -> None:
    kind = disk.network_file_system(journal)
    if kind is not None:
        found.warning(
            "journal",
            f"The journal is on a file system of type {kind}; SQLite's locks do not hold between machines.",
            "Name a file on a local disk in ROTATOR_JOURNAL, or use PostgreSQL.",
        )
    disk.room(journal, found, "journal")


def _room_for_a_mint(setup: Setup, journal: Journal, found: Findings) -> None:
    try:
        wait = journal.take_slot("rotate", limit=setup.rotate_limit, window=_WINDOW, take=False)
    except RotatorError as error:
        found.error("settings.rotate-limit", error)
        return
    room = "there is room for one now" if wait <= 0 else f"there is room for the next in {wait:.0f} s"
    found.ok("settings.rotate-limit", f"At most {setup.rotate_limit} mints in any 60 s; {room}.")


def _audit(
    setup: Setup, parts: Parts, key: Secret | None, journal: Journal | None, found: Findings
) -> Audit | None:
    usable: Audit | None = None
    if key is None or journal is None:
        hint = "Mend what failed above, then try again."
        found.skipped("audit.write", "It needs the journal and the audit key.", hint)
    else:
        try:
            usable = parts.open_audit()
            usable.check_writable()
            found.ok("audit.write", f"{setup.audit_log} takes an event.")
        except RotatorError as error:
            usable = None
            found.error("audit.write", error)
        disk.private(setup.audit_log, found, "audit.write")
        disk.room(setup.audit_log, found, "audit.write")
    if key is None:
        found.skipped("audit.chain", "It needs the audit key.", "Give the key back, then try again.")
        return None
    try:
        report = parts.check_chain(key, journal)
    except RotatorError as error:
        found.error("audit.chain", error)
        return None
    if report.ok:
        events = f"{report.events} event{'' if report.events == 1 else 's'}"
        found.ok("audit.chain", f"Unbroken: {events}.")
        return usable
    found.failed(
        "audit.chain",
        f"The audit log {setup.audit_log} is not as it was written: {report.problem}.",
        "Put back a copy of the log; `rotator audit verify` checks it. To begin a new trail on purpose, move "
        "audit log and journal away together, and keep both.",
        code=ATTENTION,
    )
    return None
