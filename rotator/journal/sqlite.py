"""The journal in one SQLite file, for processes of one machine."""

from __future__ import annotations

from pathlib import Path

from rotator.clock import Clock
from rotator.journal.migrations import MIGRATIONS, Migration
from rotator.journal.sqlite_file import BUSY_SECONDS, SqliteFile
from rotator.journal.tables import TableJournal


class SqliteJournal(TableJournal):
    """Implements `journal.base.Journal`. Safe to use from several threads and processes."""

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        super().__init__(file, clock)

    @classmethod
    def open(
        cls,
        path: Path | str,
        clock: Clock,
        *,
        create: bool = True,
        busy_seconds: float = BUSY_SECONDS,
        migrations: tuple[Migration, ...] = MIGRATIONS,
    ) -> SqliteJournal:
        """Opens a journal, made new (file mode 0600, folders 0700) where none is if `create`.

        Raises JournalMisconfigured (exit 2) for what the settings can mend, such as a missing journal
        when not `create`, and JournalUnavailable (exit 6) otherwise.
        """
        file = SqliteFile(Path(path), clock, create=create, busy_seconds=busy_seconds, migrations=migrations)
        return cls(file, clock)

    @classmethod
    def in_memory(cls, clock: Clock) -> SqliteJournal:
        """An empty one of this process alone, for commands that only read where there is none yet."""
        return cls(SqliteFile(None, clock, create=True), clock)
