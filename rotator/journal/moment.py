"""A moment as the journal's tables keep it, and how old it is.

On SQLite ages are by the boot clock, so a jump of the wall clock makes nothing older or younger. A moment of
another boot has only a wall time, whose age is believed within what is possible.
"""

from __future__ import annotations

from dataclasses import dataclass

from rotator.journal.database import Database, Statements


@dataclass(frozen=True)
class Moment:
    """Seconds since 1970, seconds since the boot, and which boot."""

    wall: float
    boot: float
    boot_id: str

    def age(self, now: Moment, limit: float) -> float:
        """Seconds from this moment to `now`, within 0 and `limit`."""
        same_boot = self.boot_id == now.boot_id
        return min(max(now.boot - self.boot if same_boot else now.wall - self.wall, 0.0), limit)

    def before(self, seconds: float) -> Moment:
        return Moment(self.wall - seconds, self.boot - seconds, self.boot_id)


def moment_now(database: Database, statements: Statements) -> Moment:
    """The time that counts in this transaction; ask after its locks, which may have waited."""
    now = database.now(statements)
    return Moment(now.wall.timestamp(), now.boot, now.boot_id)
