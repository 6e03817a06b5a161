"""The audit trail as a file of JSON lines, each chained to the one before it (`line`).

Invariants:
- an event whose `record` returned is on disk, in one line, at the end of one unbroken chain;
- no state in memory is trusted: under the lock the end of the file says what comes next;
- only bytes after the last line end are ever cut off, and what was cut is chained as `audit.repaired`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog

from rotator.audit.append import AppendFile
from rotator.audit.base import Anchor, AuditBroken, AuditEvent, ChainHead
from rotator.audit.line import MAX_LINE, NO_MAC, VERSION, NotGenuine, Sealer, canonical, plain
from rotator.audit.tail import EndlessLine, Tail, read_tail
from rotator.clock import Clock, rfc3339
from rotator.errors import AuditUnavailable, RotatorError
from rotator.secret import Secret

log = structlog.get_logger(__name__)

_START: Final = ChainHead(seq=0, mac=NO_MAC)

_REMEDY: Final = (
    "Put the file back, or point ROTATOR_AUDIT_LOG at it; `rotator audit verify` tells what is wrong. "
    "To begin a new trail on purpose, move the audit log and the journal away together, and keep both"
)


@dataclass(frozen=True)
class _Anchored:
    """What the journal remembers of the chain's end; `unknown` when it could not be asked."""

    head: ChainHead | None
    unknown: bool = False


class JsonlAudit:
    """Implements `Audit`. Any number of threads and processes may write to one file.

    `actor` (host, user, pid, command) goes into every line. `lock_wait` is in seconds; `min_free` is
    in bytes of the file system, below which `check_writable` refuses.
    """

    def __init__(
        self,
        path: Path,
        key: Secret,
        anchor: Anchor,
        clock: Clock,
        actor: Mapping[str, str],
        *,
        lock_wait: float = 5.0,
        min_free: int = 256 * 1024,
    ) -> None:
        self._path = path
        self._sealer = Sealer(key)
        self._anchor = anchor
        self._clock = clock
        self._actor = dict(actor)
        self._file = AppendFile(path, clock, lock_wait=lock_wait, min_free=min_free)
        self._threads = threading.Lock()

    def record(self, event: AuditEvent, *, at: datetime | None = None) -> None:
        """Appends one event durably; see `Audit.record`.

        Raises AuditUnavailable (disk full, lock held), AuditMisconfigured (the path) or AuditBroken
        (the file is not the one the journal remembers); then nothing of the event is in the log.
        """
        anchored = self._anchored()
        with self._threads, self._file.open(lambda: self._must_be_new(anchored)) as fd:
            tail, before = self._end_of_chain(fd, anchored)
            head = self._append(fd, tail, before, event, at or self._clock.now())
        self._remember(head)

    def check_writable(self) -> None:
        """See `Audit.check_writable`; raises like `record`, and when the disk is nearly full."""
        anchored = self._anchored()
        with self._threads:
            self._file.check(
                before_making=lambda: self._must_be_new(anchored),
                existing=lambda fd: self._end_of_chain(fd, anchored),
            )

    # --- the chain --------------------------------------------------------------------------------

    def _anchored(self) -> _Anchored:
        """Read before the file is locked: the anchor only ever runs behind the file, and so no lock is
        held while another is waited for."""
        try:
            return _Anchored(head=self._anchor.audit_head())
        except RotatorError as error:
            log.warning("audit.anchor-unreadable", error=str(error))
            return _Anchored(head=None, unknown=True)

    def _must_be_new(self, anchored: _Anchored) -> None:
        """Called where the log is missing or empty: is it one that never had an event?"""
        if anchored.head is not None:
            raise AuditBroken(
                f"The audit log {self._path} is missing or empty, and the journal remembers "
                f"{anchored.head.seq} event{'' if anchored.head.seq == 1 else 's'} in it",
                then="Nothing is recorded, because a trail that begins anew proves nothing",
                remedy=_REMEDY,
            )
        if anchored.unknown:
            raise AuditUnavailable(
                f"There is no audit log at {self._path}, and the journal cannot be asked "
                "whether there was one",
                then="Nothing was recorded",
                remedy="Make the journal readable, or put the audit log back",
            )

    def _end_of_chain(self, fd: int, anchored: _Anchored) -> tuple[Tail, ChainHead]:
        try:
            tail = read_tail(fd, 1)
            if not tail.lines:
                self._must_be_new(anchored)
                return tail, _START
            head = self._sealer.open(tail.lines[0]).head
        except (EndlessLine, NotGenuine) as error:
            raise AuditBroken(
                f"The last line of the audit log {self._path} is not one that rotator wrote with this "
                f"key: {error}",
                then="Nothing is appended to it",
                remedy=f"Check ROTATOR_AUDIT_KEY. {_REMEDY}",
            ) from error
        known = anchored.head
        if known is not None and (head.seq < known.seq or (head.seq == known.seq and head != known)):
            raise AuditBroken(
                f"The audit log {self._path} ends with event {head.seq}, and the journal remembers "
                f"{'another' if head.seq == known.seq else 'event'} {known.seq}: its end was cut off or "
                "replaced",
                then="Nothing is appended to it",
                remedy=_REMEDY,
            )
        return tail, head

    def _append(self, fd: int, tail: Tail, head: ChainHead, event: AuditEvent, at: datetime) -> ChainHead:
        text = b""
        if tail.fragment:
            cut = {"bytes": len(tail.fragment), "sha256": hashlib.sha256(tail.fragment).hexdigest()}
            log.warning("audit.repaired", path=str(self._path), **cut)
            line, head = self._seal(AuditEvent("audit.repaired", data=cut), self._clock.now(), head)
            text += line
        line, head = self._seal(event, at, head)
        text += line
        self._file.append(fd, text, at=tail.end)
        return head

    def _seal(self, event: AuditEvent, at: datetime, before: ChainHead) -> tuple[bytes, ChainHead]:
        fields: dict[str, Any] = {
            "v": VERSION,
            "seq": before.seq + 1,
            "at": rfc3339(at),
            "event": event.event,
            "policy": event.policy,
            "project": event.project,
            "rotation": event.rotation,
            "trigger": event.trigger,
            "actor": self._actor,
            "data": event.data,
        }
        clean = {name: plain(value) for name, value in fields.items()} | {"prev": before.mac}
        line, mac = self._sealer.seal(clean)
        if len(line) > MAX_LINE:
            # A shortened event is better than one that blocks all that wait behind it.
            data = canonical(clean["data"])
            cut = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            log.error("audit.data-too-long", audited=event.event, **cut)
            line, mac = self._sealer.seal({**clean, "data": {"too_long": cut}})
        return line + b"\n", ChainHead(seq=before.seq + 1, mac=mac)

    def _remember(self, head: ChainHead) -> None:
        """The event is on disk whatever the journal says; an anchor that is behind still verifies."""
        try:
            self._anchor.set_audit_head(head)
        except Exception as error:  # noqa: BLE001  # no error of the anchor may unsay a recorded event
            log.warning("audit.anchor-behind", seq=head.seq, error=str(error))
