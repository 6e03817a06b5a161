"""What one rotation writes down: the journal's record, the audit's events, what needs attention.

Before the mint every write must succeed, or the rotation stops (no audit, no rotation). After it,
readers may hold a dead token: then no error of journal or audit may delay the publish. `forgiving`
switches from the one to the other; what could not be written is kept here, tried again at every
later write, and reported by `unwritten`. An event that the audit log does not take is told at once to whoever
collects standard error: the process may die before the log takes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from rotator.audit.base import Audit, AuditEvent
from rotator.clock import Clock
from rotator.errors import AuditUnavailable, JournalUnavailable
from rotator.journal.base import Journal, KnownToken, Lease
from rotator.model import Attention, ProjectFacts, Rotation

log = logging.getLogger(__name__)

LASTING: Final = "bridge-old"
"""An alarm about a policy, not about a rotation of it: it neither stops one nor ends with one."""


class Ledger:
    """Journal and audit as one rotation sees them. Used by one thread."""

    def __init__(
        self,
        journal: Journal,
        audit: Audit,
        lease: Lease,
        clock: Clock,
        untaken: Callable[[AuditEvent, datetime], None],
    ) -> None:
        """`untaken` tells an audit event that no log takes for now."""
        self._journal = journal
        self._audit = audit
        self._lease = lease
        self._clock = clock
        self.forgiving = False
        self.audit_optional = False
        """A leaked token dies whether or not the audit takes a line: what it does not take is kept."""
        self._spooled: list[tuple[AuditEvent, datetime]] = []
        self._untaken = untaken
        self._told = 0
        """So many of the spooled events, from the first on, were told."""
        self._warned = ""
        self._unsaved: Rotation | None = None
        self._attention: dict[str, Attention] = {}
        self._raised: set[str] = set()
        self._tokens: list[KnownToken] = []
        self._settling: list[tuple[Rotation, tuple[str, ...] | None]] = []

    def fence(self) -> None:
        """Right before a destructive call: the record is written down and the lease is ours, whatever
        else is forgiven. Raises JournalUnavailable, LeaseLost."""
        self._flush_journal()
        self._journal.check(self._lease)

    def check_lease(self) -> None:
        """The fence. Raises LeaseLost when somebody else may act, or our lease has run out.

        A journal that cannot be asked is forgiven only after the mint: the stores' compare-and-set
        is the fence that remains.
        """
        try:
            self._journal.check(self._lease)
        except JournalUnavailable as error:
            if not self.forgiving:
                raise
            log.warning("lease not checked: %s", error)

    def check_writable(self) -> None:
        """Raises AuditUnavailable if the audit could not take an event now. (The lease is a proof
        that the journal could be written.)"""
        self._audit.check_writable()

    def save(self, rotation: Rotation) -> None:
        """Journals the record as it now stands."""
        self._unsaved = rotation
        self._write(self._flush_journal)

    def remember(self, token: KnownToken) -> None:
        """Adds a fingerprint to those the journal knows, or its death."""
        self._tokens.append(token)
        self._write(self._flush_journal)

    def remember_project(self, facts: ProjectFacts) -> None:
        """Keeps what the provider last said, for commands that do not ask it. Never worth a failure."""
        try:
            self._journal.remember_project(facts, self._clock.now())
        except JournalUnavailable as error:
            log.warning("project metadata not kept: %s", error)

    def known(self, fingerprint: str) -> KnownToken | None:
        """What the journal knows of a token."""
        return self._journal.known_token(fingerprint)

    def known_project(self, fingerprint: str) -> str | None:
        """The project for which the journal knows a token."""
        known = self.known(fingerprint)
        return known.project if known else None

    def record(self, event: str, rotation: Rotation, data: Mapping[str, Any] | None = None) -> None:
        """Audits one event."""
        self._spooled.append(
            (
                AuditEvent(
                    event=event,
                    policy=rotation.policy,
                    project=rotation.project,
                    rotation=rotation.id,
                    trigger=rotation.trigger,
                    data=data or {},
                ),
                self._clock.now(),
            )
        )
        self._write(self.flush_audit)

    def attend(self, rotation: Rotation, code: str, message: str, then: str) -> None:
        """Raises something that a person must look at."""
        self._raised.add(code)
        self.warn(rotation, code, message, then)

    def warn(self, rotation: Rotation, code: str, message: str, then: str) -> None:
        """Raises something about the policy that does not concern how the rotation ends."""
        attention = Attention(
            policy=rotation.policy,
            code=code,
            since=self._clock.now(),
            message=message,
            next=then,
            rotation=rotation.id,
        )
        self._attention[code] = attention
        self._write(self._flush_journal)

    def settle(self, rotation: Rotation, codes: tuple[str, ...] | None = None) -> None:
        """Clears attention of the policy that no longer holds: these codes, or all. What another
        unfinished rotation raised is that rotation's to clear."""
        for code in codes or tuple(self._raised):
            self._attention.pop(code, None)
            self._raised.discard(code)
        self._settling.append((rotation, codes))
        self._write(self._flush_journal)

    @property
    def raised(self) -> frozenset[str]:
        """Codes of what this rotation found that needs attention and that has not been cleared since."""
        return frozenset(self._raised)

    def unwritten(self) -> tuple[str, ...]:
        """Tries once more, then names what still is not written down ("journal", "audit")."""
        missing = []
        for name, flush in (("journal", self._flush_journal), ("audit", self.flush_audit)):
            try:
                flush()
            except (JournalUnavailable, AuditUnavailable) as error:
                log.error("%s not written: %s", name, error)  # noqa: TRY400  # the message says it all
                missing.append(name)
        self._tell()
        return tuple(missing)

    def _write(self, flush: Callable[[], None]) -> None:
        try:
            flush()
        except (JournalUnavailable, AuditUnavailable) as error:
            optional = self.audit_optional and isinstance(error, AuditUnavailable)
            if not (self.forgiving or optional):
                # The caller stops here; what it could not write is void, not late.
                self._unsaved = None
                self._spooled.clear()
                self._told = 0
                self._tokens.clear()
                self._settling.clear()
                raise
            # Once: what cannot be written now can mostly not be written a moment later.
            level = logging.DEBUG if str(error) == self._warned else logging.WARNING
            self._warned = str(error)
            log.log(level, "kept for later: %s", error)
            if isinstance(error, AuditUnavailable):
                self._tell()

    def _flush_journal(self) -> None:
        # The record first: it is what the next process goes by, and nothing else may keep it from being written.
        if self._unsaved is not None:
            self._journal.save(self._lease, self._unsaved)
            self._unsaved = None
        while self._settling:
            self._clear(*self._settling[0])
            self._settling.pop(0)
        for code in tuple(self._attention):
            self._journal.raise_attention(self._attention[code], self._lease)
            del self._attention[code]
        while self._tokens:
            self._journal.remember_token(self._lease, self._tokens[0])
            self._tokens.pop(0)

    def _clear(self, rotation: Rotation, codes: tuple[str, ...] | None) -> None:
        standing = self._journal.attentions(rotation.policy)
        if not standing:
            return
        others = {other.id for other in self._journal.unfinished(rotation.project)} - {rotation.id}
        gone = tuple(
            entry.code
            for entry in standing
            if (entry.code != LASTING if codes is None else entry.code in codes)
            and entry.rotation not in others
        )
        if gone:
            self._journal.clear_attention(rotation.policy, gone, self._lease)

    def flush_audit(self) -> None:
        """Audits what could not be audited when it happened. Raises AuditUnavailable."""
        while self._spooled:
            event, at = self._spooled[0]
            self._audit.record(event, at=at)
            self._spooled.pop(0)
            self._told = max(0, self._told - 1)

    def leave_audit(self) -> None:
        """The last try where the journal is not ours to write any more."""
        try:
            self.flush_audit()
        except AuditUnavailable as error:
            log.warning("audit not written: %s", error)
            self._tell()

    def _tell(self) -> None:
        """Tells each event once that no log has taken."""
        while self._told < len(self._spooled):
            event, at = self._spooled[self._told]
            self._told += 1
            self._untaken(event, at)
