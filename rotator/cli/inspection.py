"""The parts of rotator for a look that leaves nothing behind: no journal and no key is made, and no slot
of the limits that processes share is taken."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from rotator.cli.output import say
from rotator.cli.session import Session, say_unwritten
from rotator.clock import SystemClock
from rotator.journal.base import Journal
from rotator.provider.base import Limiter
from rotator.secret import Secret
from rotator.wiring import Wiring

if TYPE_CHECKING:
    from rotator.audit.chain import ChainReport
    from rotator.operations.doctor.parts import Parts
    from rotator.settings import Settings


class Inspection(Wiring):
    """As the parts it is made of; each is asked for by one thread, or guarded by the base class."""

    def __init__(self, settings: Settings, session: Session) -> None:
        super().__init__(
            settings,
            SystemClock(),
            stop=session.stop,
            observer=lambda _: None,
            announce=say,
            unwritten=say_unwritten,
            command=session.command,
        )

    @cached_property
    def journal(self) -> Journal:
        """Opened as a rotation opens it, so that it fails as that does. A file is asked for only where there is
        one; on a server none is made (NoJournal)."""
        return self._open_journal(create=self.settings.journal.sqlite_path is not None)

    @cached_property
    def limiter(self) -> Limiter:
        """Of this process alone: what is asked here must work without the journal, which may be what is broken."""
        from rotator.provider.limits import RateLimits  # noqa: PLC0415

        return RateLimits(self._empty_journal(), self.clock, rotate_limit=self.settings.rotate_limit)

    def parts(self) -> Parts:
        """What `doctor` examines."""
        from rotator.operations.doctor.parts import Parts  # noqa: PLC0415

        return Parts(
            clock=self.clock,
            provider=lambda: self.provider,
            destination=self.destination,
            verifier=self.verifier,
            consumer=self.consumer,
            read_key=lambda: self.audit_key,
            open_journal=lambda: self.journal,
            check_key=self._check_key,
            open_audit=lambda: self.audit,
            check_chain=self._check_chain,
        )

    def _check_chain(self, key: Secret, journal: Journal | None) -> ChainReport:
        from rotator.audit import chain  # noqa: PLC0415

        head = journal.audit_head() if journal is not None else None
        return chain.verify(self.settings.audit_log, key, head)
