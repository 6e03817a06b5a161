"""The journal on a PostgreSQL server, for processes of several machines."""

from __future__ import annotations

from rotator.clock import Clock
from rotator.journal.migrations import MIGRATIONS, Migration
from rotator.journal.postgresql_server import CONNECTIONS, PostgresqlServer
from rotator.journal.tables import TableJournal
from rotator.secret import Secret


class PostgresqlJournal(TableJournal):
    """Implements `journal.base.Journal`. Safe to use from several threads, processes and machines."""

    @classmethod
    def open(
        cls,
        url: Secret,
        shown: str,
        clock: Clock,
        *,
        audit_log: str,
        create: bool = True,
        connections: int = CONNECTIONS,
        migrations: tuple[Migration, ...] = MIGRATIONS,
    ) -> PostgresqlJournal:
        """Opens a journal, made new where none is if `create`. `shown` is the address without its password.

        `audit_log` tells one audit log from those of other machines (host and path): each is a chain of its
        own, whose head is kept apart. Raises JournalMisconfigured (exit 2) for what settings or rights can
        mend, NoJournal when there is none and none is to be made, and JournalUnavailable (exit 6) otherwise.
        """
        server = PostgresqlServer(
            url, shown, clock, create=create, connections=connections, migrations=migrations
        )
        return cls(server, clock, audit_head=f"audit-head {audit_log}")
