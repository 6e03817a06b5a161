"""What the engine needs of the journal: rotations, leases with epochs, known tokens, holds,
attention, the shared limiter, and the audit chain's head.

Invariants, kept by every implementation:
- a project's epoch only rises, and every `acquire` raises it;
- a write that carries a lease succeeds only while that lease's epochs are the present ones;
- a token is never stored, only its fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from rotator.audit.base import Anchor
from rotator.errors import InvalidInput, JournalUnavailable
from rotator.model import Attention, Claim, ProjectFacts, Rotation

CLAIM_SECONDS: Final = 15.0
"""How long a claim on a slot counts; whoever still waits asks again well before."""


class JournalMisconfigured(InvalidInput, JournalUnavailable):
    """The journal cannot be opened as the settings name it: no permission, a folder, not a journal, made
    by a newer rotator. Exit code 2; raised while opening only, so nothing was changed."""

    retryable = False
    code = "journal-settings"


class NoJournal(JournalMisconfigured):
    """There is no journal where the settings name one, and none was to be made."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: enough to tell whether that process still lives, if it is of this host."""

    id: str
    """Unique per process start."""
    host: str
    boot_id: str
    pid: int
    pid_started: str
    """Start time of the process as the kernel tells it, so that a reused pid is not taken for it."""
    pid_namespace: str
    """Pids of different containers on one node are not comparable."""
    label: str
    """For people: the command and the host."""


@dataclass(frozen=True)
class Lease:
    """The right to act on some projects until it expires or somebody raises the epoch."""

    holder: Holder
    epochs: Mapping[str, int]
    """Epoch by project."""

    @property
    def projects(self) -> tuple[str, ...]:
        return tuple(sorted(self.epochs))


@dataclass(frozen=True)
class LeaseView:
    """A lease as others see it."""

    project: str
    epoch: int
    holder: Holder | None
    """None when it was given back."""
    expires_in: float
    """Seconds; zero or less when it has expired. A dead holder's lease has expired."""


@dataclass(frozen=True)
class KnownToken:
    """A token that was ours at some time."""

    fingerprint: str
    project: str
    policy: str
    rotation: str | None
    origin: str
    """`minted`, `staged` (handed in by a person), `adopted` (met in a destination) or `bridge`."""
    first_seen: datetime
    dead_since: datetime | None = None

    def met_again(self, token: KnownToken) -> KnownToken:
        """What is known after the same token was met once more: how it came about stays, and one that was seen
        dead does not come back to life. Whose it is may be corrected where it was only met."""
        corrected = self.origin == token.origin == "adopted"
        return replace(
            self,
            project=token.project if corrected else self.project,
            dead_since=self.dead_since or token.dead_since,
        )


@dataclass(frozen=True)
class Hold:
    """A policy that a person froze."""

    policy: str
    since: datetime
    by: str
    reason: str


class SpoolState(StrEnum):
    """What is left to do about one notice for one notifier."""

    WAITING = "waiting"
    """To be sent, now or later."""
    SENT = "sent"
    """Told; what it is about has not been told to be over."""
    OVER = "over"
    """Nothing is left to tell."""
    GIVEN_UP = "given-up"
    """It was tried for too long."""


@dataclass(frozen=True)
class SpoolEntry:
    """One notice for one notifier."""

    notifier: str
    """Names the notifier without naming its address, which is a secret."""
    notice: str
    """The same for the same event, whoever notices it."""
    policy: str
    document: str
    state: SpoolState = SpoolState.WAITING
    tries: int = 0
    """Claims so far."""
    error: str = ""
    """Why the last try failed, in words."""


class Spool(Protocol):
    """Notices that wait to be sent. Safe to use from several threads and processes.

    Every method raises JournalUnavailable.
    """

    def known_since(self, notifier: str, now: datetime) -> datetime:
        """Since when this notifier, or one event of it, is known: what happened before is not told to it. `now` for
        a new one."""
        ...

    def put(self, entries: Sequence[SpoolEntry]) -> int:
        """Adds those that are not there yet, to be sent at once; how many they were."""
        ...

    def known(self, notifier: str, notices: Sequence[str]) -> set[str]:
        """Those of these that were ever put. One is forgotten 90 days after nothing was left to do."""
        ...

    def entries(self, *states: SpoolState, policy: str | None = None) -> list[SpoolEntry]:
        """Those in one of these states, in the order in which they were put."""
        ...

    def claim(self, notifiers: Sequence[str], seconds: float) -> SpoolEntry | None:
        """The first one that one of these notifiers is to be sent now; nobody else gets it for so many seconds.
        The entry is as it was before this try."""
        ...

    def settle(self, entry: SpoolEntry, state: SpoolState, *, error: str = "", again_in: float = 0.0) -> None:
        """What came of a try. One that still waits is not claimed before so many seconds have passed."""
        ...


class Journal(Anchor, Protocol):
    """The durable record. Safe to use from several threads and processes.

    Every method raises JournalUnavailable; every method with a `lease` raises LeaseLost when the
    lease is no longer the present one, in the same transaction as the write it guards.
    """

    id: str
    """Made with the journal; tells one journal from another."""
    created: bool
    """This process made the journal, so everything before is unknown to it."""

    @property
    def spool(self) -> Spool:
        """Notices that wait to be sent."""
        ...

    def close(self) -> None: ...

    # the audit key it was made with

    def key_check(self) -> str | None:
        """What `secret.key_check` gave for the audit key of this journal; None if nobody said yet."""
        ...

    def set_key_check(self, value: str) -> None:
        """Set once. The same value again changes nothing; another one raises JournalMisconfigured."""
        ...

    # leases

    def acquire(
        self, projects: tuple[str, ...], holder: Holder, *, ttl: float, preempt: bool = False
    ) -> Lease:
        """Takes the lease of all projects (in sorted order) or of none. `ttl` in seconds.

        An expired lease, one given back, and one whose holder is a dead process of this host and boot
        are free at once. Raises Busy, naming the holder, otherwise; with `preempt` it takes the lease
        from a living holder too, who finds out before its next write (LeaseLost).
        """
        ...

    def renew(self, lease: Lease, *, ttl: float) -> None:
        """Heartbeat."""
        ...

    def check(self, lease: Lease) -> None:
        """Raises LeaseLost unless the lease is still ours and has not expired."""
        ...

    def release(self, lease: Lease) -> None:
        """Gives it back; harmless when it was lost."""
        ...

    def lease_of(self, project: str) -> LeaseView | None: ...

    # rotations

    def save(self, lease: Lease, rotation: Rotation) -> None:
        """Writes the whole record, new or changed."""
        ...

    def rotation(self, rotation_id: str) -> Rotation | None: ...

    def rotations(self, policy: str | None = None, limit: int | None = None) -> list[Rotation]:
        """Newest first."""
        ...

    def unfinished(self, project: str | None = None) -> list[Rotation]:
        """Rotations with a step left to do, oldest first."""
        ...

    # tokens

    def remember_token(self, lease: Lease, token: KnownToken) -> None:
        """Adds a fingerprint, or says of a known one what `KnownToken.met_again` tells."""
        ...

    def known_token(self, fingerprint: str) -> KnownToken | None: ...

    # attention and holds

    def raise_attention(self, attention: Attention, lease: Lease | None = None) -> None:
        """One entry per policy and code: a second one changes the words and keeps `since`."""
        ...

    def clear_attention(
        self, policy: str, codes: tuple[str, ...] | None = None, lease: Lease | None = None
    ) -> None:
        """Removes the entries of these codes; all of the policy's when None."""
        ...

    def attentions(self, policy: str | None = None) -> list[Attention]: ...

    def hold(self, hold: Hold) -> None: ...

    def release_hold(self, policy: str) -> bool:
        """False when it was not held."""
        ...

    def holds(self) -> dict[str, Hold]: ...

    # the shared limiter: at most `limit` slots of a kind in any `window` seconds

    def take_slot(
        self, kind: str, *, limit: int, window: float, take: bool = True, claim: Claim | None = None
    ) -> float:
        """0.0 and the slot is taken (unless `take` is false); otherwise seconds until one may be free.

        A kind is always asked for with one and the same window: older slots are forgotten.
        Whoever asks with a `claim` and takes none (because none is free, or with `take` false) has a place
        kept for CLAIM_SECONDS: others of a higher rank, and those without a claim, leave it one slot.
        """
        ...

    def date_slot(self, kind: str, claim: Claim) -> None:
        """The latest slot that this claimant took counts from now: its call is about to be sent. Harmless where
        it has left the window already."""
        ...

    def postpone_slots(self, kind: str, seconds: float) -> None:
        """Nobody takes a slot of this kind for so long: the provider said so."""
        ...

    # what the provider last said about a project, for `status` without a network

    def remember_project(self, facts: ProjectFacts, seen_at: datetime) -> None:
        """Writes only when something changed besides the time."""
        ...

    def project_facts(self, project: str) -> tuple[ProjectFacts, datetime] | None: ...

    # of a pair, the project whose token was found current other than by a promote of ours

    def note_active(self, policy: str, project: str, at: datetime) -> None:
        """Replaces what was noted before."""
        ...

    def noted_active(self, policy: str) -> tuple[str, datetime] | None: ...
