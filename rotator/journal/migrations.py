"""The journal's tables as numbered steps, in SQL that SQLite and PostgreSQL both understand.

A step that was released never changes; a change is a new step. `{serial}` stands for the database's own
way of numbering rows in the order in which they came.

Records are kept whole as JSON (`records`); a column stands beside the document only where a query
selects or sorts by it. Times in columns are seconds: since 1970 (`wall`) and since the boot (`boot`),
which is comparable within one `boot_id` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Migration:
    """One step forwards. Runs in one transaction with the raising of the number."""

    number: int
    statements: tuple[str, ...]


MIGRATIONS: Final = (
    Migration(
        1,
        (
            "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
            """CREATE TABLE rotations (
                number {serial},
                id TEXT NOT NULL UNIQUE,
                policy TEXT NOT NULL,
                project TEXT NOT NULL,
                state TEXT NOT NULL,
                step TEXT NOT NULL,
                started_at TEXT NOT NULL,
                finished_at TEXT,
                document TEXT NOT NULL
            )""",
            "CREATE INDEX rotations_by_start ON rotations (started_at, number)",
            "CREATE INDEX rotations_by_policy ON rotations (policy, started_at, number)",
            "CREATE INDEX rotations_unfinished ON rotations (started_at, number) WHERE step <> ''",
            # A row stays for ever: it carries the epoch, which must never fall. holder is null when
            # the lease was given back.
            """CREATE TABLE leases (
                project TEXT PRIMARY KEY,
                epoch BIGINT NOT NULL,
                holder TEXT,
                ttl DOUBLE PRECISION NOT NULL,
                expires_wall DOUBLE PRECISION NOT NULL,
                expires_boot DOUBLE PRECISION NOT NULL,
                boot_id TEXT NOT NULL
            )""",
            "CREATE TABLE tokens (fingerprint TEXT PRIMARY KEY, document TEXT NOT NULL)",
            """CREATE TABLE attentions (
                policy TEXT NOT NULL,
                code TEXT NOT NULL,
                document TEXT NOT NULL,
                PRIMARY KEY (policy, code)
            )""",
            "CREATE TABLE holds (policy TEXT PRIMARY KEY, document TEXT NOT NULL)",
            """CREATE TABLE slots (
                number {serial},
                kind TEXT NOT NULL,
                wall DOUBLE PRECISION NOT NULL,
                boot DOUBLE PRECISION NOT NULL,
                boot_id TEXT NOT NULL
            )""",
            "CREATE INDEX slots_by_kind ON slots (kind, number)",
            """CREATE TABLE pauses (
                kind TEXT PRIMARY KEY,
                seconds DOUBLE PRECISION NOT NULL,
                wall DOUBLE PRECISION NOT NULL,
                boot DOUBLE PRECISION NOT NULL,
                boot_id TEXT NOT NULL
            )""",
            "CREATE TABLE projects (id TEXT PRIMARY KEY, seen_at TEXT NOT NULL, document TEXT NOT NULL)",
        ),
    ),
    Migration(
        2,
        (
            # Who waits for a slot, and how urgently. Old rows are swept by whoever asks next.
            """CREATE TABLE claims (
                kind TEXT NOT NULL,
                claimant TEXT NOT NULL,
                urgency BIGINT NOT NULL,
                wall DOUBLE PRECISION NOT NULL,
                boot DOUBLE PRECISION NOT NULL,
                boot_id TEXT NOT NULL,
                PRIMARY KEY (kind, claimant)
            )""",
        ),
    ),
    # Whose slot it is, so that it can be dated anew when the call is sent.
    Migration(3, ("ALTER TABLE slots ADD COLUMN claimant TEXT",)),
    Migration(
        4,
        (
            """CREATE TABLE notices (
                number {serial},
                notifier TEXT NOT NULL,
                notice TEXT NOT NULL,
                policy TEXT NOT NULL,
                state TEXT NOT NULL,
                tries BIGINT NOT NULL,
                error TEXT NOT NULL,
                document TEXT NOT NULL,
                wait DOUBLE PRECISION NOT NULL,
                wall DOUBLE PRECISION NOT NULL,
                boot DOUBLE PRECISION NOT NULL,
                boot_id TEXT NOT NULL,
                UNIQUE (notifier, notice)
            )""",
            "CREATE INDEX notices_by_state ON notices (state, number)",
            "CREATE TABLE notifiers (notifier TEXT PRIMARY KEY, since TEXT NOT NULL)",
        ),
    ),
)
