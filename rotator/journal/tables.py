"""The journal in tables, whatever the database.

Made of three parts: the database and its transactions (`database`), leases (`leases`) and the shared
limiter (`slots`). Here: the records, and the whole as the engine sees it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from rotator.audit.base import ChainHead
from rotator.clock import Clock
from rotator.errors import JournalUnavailable
from rotator.journal.base import Hold, Holder, JournalMisconfigured, KnownToken, Lease, LeaseView
from rotator.journal.database import Database, Statements
from rotator.journal.leases import Leases
from rotator.journal.records import Unreadable, dumps, loads
from rotator.journal.slots import Slots
from rotator.journal.spool import TableSpool
from rotator.model import Attention, Claim, ProjectFacts, Rotation

Record = TypeVar("Record")


class TableJournal:
    """Implements `journal.base.Journal` on a database. Safe to use from several threads and processes."""

    def __init__(self, database: Database, clock: Clock, *, audit_head: str = "audit-head") -> None:
        """`audit_head` names the head of the audit chain that is written here; one for each audit log."""
        self._database = database
        self._head_name = audit_head
        self._leases = Leases(database, clock)
        self._slots = Slots(database)
        self.spool = TableSpool(database)
        self.created = database.created
        found = self._meta("id")
        if found is None:
            database.close()
            raise self._unreadable("id", "it is missing")
        self.id = found

    def close(self) -> None:
        self._database.close()

    # the audit's key and chain

    def key_check(self) -> str | None:
        return self._meta("key-check")

    def set_key_check(self, value: str) -> None:
        with self._database.write() as database:
            database.execute(
                "INSERT INTO meta (name, value) VALUES ('key-check', ?) ON CONFLICT (name) DO NOTHING",
                (value,),
            )
            (kept,) = database.execute("SELECT value FROM meta WHERE name = 'key-check'").fetchone()
        if kept != value:
            raise JournalMisconfigured(
                f"{self._database.where} was made with another audit key",
                then="Nothing was changed",
                remedy="Give the key it was made with in ROTATOR_AUDIT_KEY or ROTATOR_AUDIT_KEY_FILE",
            )

    def audit_head(self) -> ChainHead | None:
        return self._one(
            ChainHead, "audit head", "SELECT value FROM meta WHERE name = :name", name=self._head_name
        )

    def set_audit_head(self, head: ChainHead) -> None:
        with self._database.write() as database, self._readable("audit head"):
            self._database.lock(database, self._head_name)
            found = database.execute("SELECT value FROM meta WHERE name = ?", (self._head_name,)).fetchone()
            # Of two heads with one number the first stays: a line cut off and written anew must show.
            if found is None or loads(ChainHead, found[0]).seq < head.seq:
                database.execute(
                    "INSERT INTO meta (name, value) VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (self._head_name, dumps(head)),
                )

    # leases

    def acquire(
        self, projects: tuple[str, ...], holder: Holder, *, ttl: float, preempt: bool = False
    ) -> Lease:
        with self._readable("a lease"):
            return self._leases.acquire(projects, holder, ttl=ttl, preempt=preempt)

    def renew(self, lease: Lease, *, ttl: float) -> None:
        with self._readable("a lease"):
            self._leases.renew(lease, ttl=ttl)

    def check(self, lease: Lease) -> None:
        with self._readable("a lease"):
            self._leases.check(lease)

    def release(self, lease: Lease) -> None:
        self._leases.release(lease)

    def lease_of(self, project: str) -> LeaseView | None:
        with self._readable(f"the lease of {project}"):
            return self._leases.view(project)

    # rotations

    def save(self, lease: Lease, rotation: Rotation) -> None:
        if rotation.project not in lease.epochs:
            raise ValueError(f"project {rotation.project} is not in the lease it is saved under")
        finished_at = None if rotation.finished_at is None else _sortable(rotation.finished_at)
        with self._guarded(lease) as database:
            database.execute(
                "INSERT INTO rotations (id, policy, project, state, step, started_at, finished_at, document)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET policy = excluded.policy, project = excluded.project,"
                " state = excluded.state, step = excluded.step, started_at = excluded.started_at,"
                " finished_at = excluded.finished_at, document = excluded.document",
                (
                    rotation.id,
                    rotation.policy,
                    rotation.project,
                    str(rotation.state),
                    rotation.step,
                    _sortable(rotation.started_at),
                    finished_at,
                    dumps(rotation),
                ),
            )

    def rotation(self, rotation_id: str) -> Rotation | None:
        return self._one(
            Rotation, "rotation", "SELECT document, id FROM rotations WHERE id = :id", id=rotation_id
        )

    def rotations(self, policy: str | None = None, limit: int | None = None) -> list[Rotation]:
        # Not one query for both: its plan would use neither index, and read every rotation there is.
        named = "" if policy is None else " WHERE policy = :policy"
        values: dict[str, str | int] = {} if policy is None else {"policy": policy}
        return self._many(
            Rotation,
            "rotation",
            f"SELECT document, id FROM rotations{named} ORDER BY started_at DESC, number DESC LIMIT :limit",  # noqa: S608
            **values,
            limit=sys.maxsize if limit is None else limit,
        )

    def unfinished(self, project: str | None = None) -> list[Rotation]:
        return self._many(
            Rotation,
            "rotation",
            "SELECT document, id FROM rotations WHERE step <> ''"
            " AND (CAST(:project AS TEXT) IS NULL OR project = :project) ORDER BY started_at, number",
            project=project,
        )

    # tokens

    def remember_token(self, lease: Lease, token: KnownToken) -> None:
        with self._guarded(lease) as database, self._readable(f"token {token.fingerprint}"):
            self._database.lock(database, f"token {token.fingerprint}")
            found = database.execute(
                "SELECT document FROM tokens WHERE fingerprint = ?", (token.fingerprint,)
            ).fetchone()
            if found is not None:
                token = loads(KnownToken, found[0]).met_again(token)
            database.execute(
                "INSERT INTO tokens (fingerprint, document) VALUES (?, ?)"
                " ON CONFLICT (fingerprint) DO UPDATE SET document = excluded.document",
                (token.fingerprint, dumps(token)),
            )

    def known_token(self, fingerprint: str) -> KnownToken | None:
        return self._one(
            KnownToken,
            "token",
            "SELECT document, fingerprint FROM tokens WHERE fingerprint = :fingerprint",
            fingerprint=fingerprint,
        )

    # attention and holds

    def raise_attention(self, attention: Attention, lease: Lease | None = None) -> None:
        key = (attention.policy, attention.code)
        with self._guarded(lease) as database, self._readable(f"attention {' '.join(key)}"):
            self._database.lock(database, f"attention {' '.join(key)}")
            found = database.execute(
                "SELECT document FROM attentions WHERE policy = ? AND code = ?", key
            ).fetchone()
            if found is not None:
                attention = replace(attention, since=loads(Attention, found[0]).since)
            database.execute(
                "INSERT INTO attentions (policy, code, document) VALUES (?, ?, ?)"
                " ON CONFLICT (policy, code) DO UPDATE SET document = excluded.document",
                (*key, dumps(attention)),
            )

    def clear_attention(
        self, policy: str, codes: tuple[str, ...] | None = None, lease: Lease | None = None
    ) -> None:
        with self._guarded(lease) as database:
            if codes is None:
                database.execute("DELETE FROM attentions WHERE policy = ?", (policy,))
            else:
                database.executemany(
                    "DELETE FROM attentions WHERE policy = ? AND code = ?",
                    [(policy, code) for code in codes],
                )

    def attentions(self, policy: str | None = None) -> list[Attention]:
        """Oldest first."""
        found = self._many(
            Attention,
            "attention",
            "SELECT document, policy, code FROM attentions WHERE CAST(:policy AS TEXT) IS NULL OR policy = :policy",
            policy=policy,
        )
        return sorted(found, key=lambda entry: (entry.since, entry.policy, entry.code))

    def hold(self, hold: Hold) -> None:
        with self._database.write() as database:
            database.execute(
                "INSERT INTO holds (policy, document) VALUES (?, ?)"
                " ON CONFLICT (policy) DO UPDATE SET document = excluded.document",
                (hold.policy, dumps(hold)),
            )

    def release_hold(self, policy: str) -> bool:
        with self._database.write() as database:
            return database.execute("DELETE FROM holds WHERE policy = ?", (policy,)).rowcount > 0

    def holds(self) -> dict[str, Hold]:
        found = self._many(Hold, "hold", "SELECT document, policy FROM holds ORDER BY policy")
        return {hold.policy: hold for hold in found}

    # the shared limiter

    def take_slot(
        self, kind: str, *, limit: int, window: float, take: bool = True, claim: Claim | None = None
    ) -> float:
        return self._slots.take(kind, limit=limit, window=window, take=take, claim=claim)

    def date_slot(self, kind: str, claim: Claim) -> None:
        self._slots.date(kind, claim)

    def postpone_slots(self, kind: str, seconds: float) -> None:
        self._slots.postpone(kind, seconds)

    # projects

    def remember_project(self, facts: ProjectFacts, seen_at: datetime) -> None:
        known = self.project_facts(facts.id)
        if known is not None and known[0] == facts:
            return
        with self._database.write() as database:
            database.execute(
                "INSERT INTO projects (id, seen_at, document) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, document = excluded.document",
                (facts.id, _sortable(seen_at), dumps(facts)),
            )

    def project_facts(self, project: str) -> tuple[ProjectFacts, datetime] | None:
        with self._database.read() as database:
            found = database.execute(
                "SELECT document, seen_at FROM projects WHERE id = ?", (project,)
            ).fetchone()
        if found is None:
            return None
        with self._readable(f"project {project}"):
            return loads(ProjectFacts, found[0]), datetime.fromisoformat(found[1])

    def note_active(self, policy: str, project: str, at: datetime) -> None:
        with self._database.write() as database:
            database.execute(
                "INSERT INTO meta (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (f"active {policy}", f"{_sortable(at)} {project}"),
            )

    def noted_active(self, policy: str) -> tuple[str, datetime] | None:
        found = self._meta(f"active {policy}")
        if found is None:
            return None
        at, project = found.split(" ", 1)
        return project, datetime.fromisoformat(at)

    # reading and writing

    @contextmanager
    def _guarded(self, lease: Lease | None) -> Iterator[Statements]:
        """A write that happens only while the lease is the present one."""
        with self._database.write() as database:
            if lease is not None:
                with self._readable("a lease"):
                    self._leases.guard(database, lease)
            yield database

    def _meta(self, name: str) -> str | None:
        with self._database.read() as database:
            found = database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def _one(self, kind: type[Record], what: str, query: str, **values: str) -> Record | None:
        found = self._many(kind, what, query, **values)
        return found[0] if found else None

    def _many(self, kind: type[Record], what: str, query: str, **values: str | int | None) -> list[Record]:
        """The records of a query for their documents, each followed by its name if it has one."""
        with self._database.read() as database:
            rows = database.execute(query, values).fetchall()
        records = []
        for document, *name in rows:
            with self._readable(" ".join((what, *name))):
                records.append(loads(kind, document))
        return records

    @contextmanager
    def _readable(self, what: str) -> Iterator[None]:
        try:
            yield
        except Unreadable as error:
            raise self._unreadable(what, str(error)) from error

    def _unreadable(self, what: str, why: str) -> JournalUnavailable:
        return JournalUnavailable(
            f"{self._database.where} holds a record that cannot be read, {what}: {why}",
            then="Nothing was done with it",
            remedy="If a newer rotator wrote it, use that version; otherwise put back a backup",
        )


def _sortable(moment: datetime) -> str:
    """UTC with microseconds: texts of this form sort as the moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
