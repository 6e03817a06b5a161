"""Frozen facts that the parts of rotator hand to one another. No behaviour beyond small derivations.

Three families: what a person wrote (`Policy` and its parts), what was decided (`Decision`), and what
happened (`Rotation` and its parts, which are what the journal stores and `history` prints).
A token is never a field of anything here; a fingerprint is.
One module because the three families are made of one another, and every part of rotator speaks in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from rotator.clock import Instant


class Strategy(StrEnum):
    """The list of steps that a policy's rotations go through (`engine.states`)."""

    IN_PLACE = "in-place"
    CREATE_BEFORE_REVOKE = "create-before-revoke"
    ASSISTED = "assisted"


class Form(StrEnum):
    """The list of steps in detail: `create-before-revoke` has two."""

    IN_PLACE = "in-place"
    STANDBY = "standby-project"
    """Two projects, alternated."""
    BRIDGE = "bridge-token"
    """One project, and one token made by hand that covers the gap."""
    ASSISTED = "assisted"


class Trigger(StrEnum):
    """What started a rotation."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    EMERGENCY = "emergency"
    API = "api"
    REHEARSAL = "rehearsal"

    @property
    def by_a_person(self) -> bool:
        """A person asked for it, so a dead token in the store may be repaired in place."""
        return self in (Trigger.MANUAL, Trigger.EMERGENCY, Trigger.API)


class State(StrEnum):
    """Where a rotation stands."""

    RUNNING = "running"
    DRAINING = "draining"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    NEEDS_ATTENTION = "needs-attention"


class StepOutcome(StrEnum):
    """How one attempt at a step ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNCLEAR = "unclear"


class DestinationState(StrEnum):
    """What a destination holds, seen from one rotation."""

    UNCHANGED = "unchanged"
    STAGED = "staged"
    CURRENT = "current"
    BEHIND = "behind"
    FAILED = "failed"


class ConsumerState(StrEnum):
    """How far a consumer has come, seen from one rotation."""

    PENDING = "pending"
    """Not told yet."""
    TOLD = "told"
    """It took the call and is at it."""
    DONE = "done"
    FAILED = "failed"
    """It could not be told, or has not come to its end in time."""


ATTENTION_CODES: Final = frozenset(
    {
        "token-dead",
        "out-of-band",
        "unclear",
        "drain-stuck",
        "verification-failed",
        "destination-behind",
        "old-token-alive",
        "audit",
        "bridge-old",
        "endpoint-gone",
        "orphan",
        "consumer-behind",
    }
)


# --- what a person wrote ------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Local hours in which scheduled rotations may start. `end` before `start`: over midnight."""

    days: tuple[int, ...]
    """Monday is 0; the day on which the window starts."""
    start: int
    """Minutes after local midnight."""
    end: int


@dataclass(frozen=True)
class Schedule:
    """When rotations are due. Exactly one of `every` and `cron` is set."""

    every: timedelta | None = None
    cron: str | None = None
    timezone: str = "UTC"
    window: Window | None = None
    jitter: timedelta = timedelta(0)
    max_age: timedelta | None = None


@dataclass(frozen=True)
class DestinationSpec:
    """A place in a secret store, as written in a policy.

    `options` holds the fields that only this type knows (`secret_id` and `region`, `mount` and `path`,
    `path` and `format`), already checked; `place` is what makes two destinations the same place.
    """

    type: str
    place: str
    key: str | None = None
    create: bool = False
    overwrite: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """How people and JSON name this destination."""
        return f"{self.place}#{self.key}" if self.key else self.place


@dataclass(frozen=True)
class VerifySpec:
    """One way to use a token the way a consumer does."""

    type: str
    sender: str | None = None
    """`from` of a test send."""
    to: str | None = None


@dataclass(frozen=True)
class Drain:
    """How long an outgoing token is watched before it is retired."""

    min: timedelta = timedelta(hours=2)
    quiet: timedelta = timedelta(hours=1)
    max: timedelta = timedelta(days=7)
    on_max: str = "hold"


@dataclass(frozen=True)
class Rehearsal:
    """What a policy is rehearsed on: projects and destinations that nobody depends on."""

    project: str
    destinations: tuple[DestinationSpec, ...]
    """At least one; the first is the authoritative one."""
    verify: tuple[VerifySpec, ...] = ()
    """Empty: as the policy verifies."""
    schedule: Schedule | None = None
    """Counts from the last rehearsal that succeeded."""
    standby_project: str | None = None
    standby_token: DestinationSpec | None = None
    drain: Drain = Drain(timedelta(seconds=10), timedelta(seconds=5), timedelta(minutes=10))


def as_written(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A policy's snapshot without where it stood: what a person wrote, so that two can be compared."""
    return {key: value for key, value in snapshot.items() if key not in ("file", "line")}


@dataclass(frozen=True)
class Policy:
    """One policy. Everything checked; nothing here is read from the file again."""

    name: str
    project: str
    strategy: Strategy
    destinations: tuple[DestinationSpec, ...]
    """At least one; the first is the authoritative one."""
    verify: tuple[VerifySpec, ...] = (VerifySpec("ping"),)
    schedule: Schedule | None = None
    standby_project: str | None = None
    standby_token: DestinationSpec | None = None
    drain: Drain = Drain()
    on_out_of_band: str = "alarm"
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    consumers: tuple[Mapping[str, Any], ...] = ()
    notify: tuple[Mapping[str, Any], ...] = ()
    rehearsal: Rehearsal | None = None
    file: str = ""
    line: int = 0
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    """The policy as plain JSON with absolute paths: what the journal keeps, so that a rotation
    finishes by the policy it began with (`policies.load.from_snapshot`)."""
    rehearses: str = ""
    """The policy whose rehearsal this is (`rotator.rehearsal`); empty for one that a person wrote."""

    @property
    def authoritative(self) -> DestinationSpec:
        return self.destinations[0]

    @property
    def form(self) -> Form:
        """The list of steps that its rotations go through."""
        if self.strategy is Strategy.CREATE_BEFORE_REVOKE:
            return Form.STANDBY if self.standby_project else Form.BRIDGE
        return Form.IN_PLACE if self.strategy is Strategy.IN_PLACE else Form.ASSISTED

    @property
    def renewal(self) -> str:
        """The command with which a person replaces its token."""
        if self.rehearses:
            return f"rotator rehearse {self.rehearses}"
        return f"rotator {'stage' if self.form is Form.ASSISTED else 'rotate'} {self.name}"

    @property
    def repairs_itself(self) -> bool:
        """A dead token is replaced without a person."""
        return self.on_out_of_band == "rotate" and self.form is not Form.ASSISTED

    @property
    def projects(self) -> tuple[str, ...]:
        """Every project a rotation of this policy may touch, in the order in which they are leased."""
        return tuple(sorted({self.project} | ({self.standby_project} if self.standby_project else set())))


# --- what was decided ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """Whether a policy is due, when, and why, in words that every command repeats."""

    due: bool
    due_at: datetime | None
    reason: str
    overdue: bool = False
    """Due for longer than a window or a tick explains: past `max_age`, or a whole day late."""


REHEARSAL_RANK: Final = 3
"""Of a claim that gives way to every other, and leaves one slot free for what may still come."""


@dataclass(frozen=True)
class Claim:
    """Whose turn it is when the shared rate limit is short: a lower `rank` goes first."""

    rank: int
    """0: readers hold a dead token. 1: an emergency. 2: all others. 3: a rehearsal (`REHEARSAL_RANK`)."""
    by: str
    """Names the rotation that waits."""

    def share_of(self, limit: int) -> int:
        """How many of the calls that a rate limit allows it may take."""
        return max(1, limit - 1) if self.rank == REHEARSAL_RANK else limit


# --- what happened ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bounds:
    """A measured duration in seconds that lies between `min` and `max`."""

    min: float
    max: float


@dataclass(frozen=True)
class StepRecord:
    """One attempt at one step."""

    name: str
    at: datetime
    seconds: float
    outcome: StepOutcome
    detail: str = ""


@dataclass(frozen=True)
class Verified:
    """What one verifier found."""

    type: str
    ok: bool
    attempts: int
    detail: str = ""


@dataclass(frozen=True)
class DestinationRecord:
    """What a rotation did to one destination."""

    type: str
    ref: str
    state: DestinationState


@dataclass(frozen=True)
class ConsumerRecord:
    """What a rotation told one of the policy's consumers."""

    type: str
    ref: str
    fingerprint: str
    """Of the token that it was told of: a rotation over a bridge tells of two."""
    state: ConsumerState = ConsumerState.PENDING
    tries: int = 0
    mark: str = ""
    """How it stood before it was told (`consumers.base.Consumer.mark`)."""
    told: Instant | None = None
    """When it had taken the call."""
    detail: str = ""


@dataclass(frozen=True)
class Intent:
    """Written before a destructive call; what recovery needs in order to tell what became of it.

    Invariant: at most one intent of a project is open (no outcome known) at any time.
    """

    project: str
    sent: Instant
    """Just before the call; the token died no earlier than this."""
    deadline: Instant
    """Call time-out and settling time after `sent`: the call cannot start to execute later than this."""
    generated_at_before: str | None
    """The provider's `token_generated_at`, as the provider wrote it."""
    known_fingerprints: tuple[str, ...]
    """Of everything that was current or staged in any destination of the policy."""
    base_versions: Mapping[str, str | None] = field(default_factory=dict)
    """Version of each destination (by ref) when the intent was written."""


@dataclass(frozen=True)
class Death:
    """The old token died between `after` and `before` (on our clock)."""

    after: Instant
    before: Instant | None = None
    """None while nobody has seen it dead."""


class Order(StrEnum):
    """What an emergency does first."""

    KILL_FIRST = "kill-first"
    """The leaked token dies at once, and readers wait for the new one."""
    REPLACE_FIRST = "replace-first"
    """Readers get the new token before the leaked one dies."""


class Slot(StrEnum):
    """Which of a policy's tokens leaked."""

    ACTIVE = "active"
    """The one that readers hold."""
    OUTGOING = "outgoing"
    """The one that an open drain waits for."""
    BRIDGE = "bridge"
    """The one made by hand that covers a gap; only a person can revoke it."""
    STAGED = "staged"
    """The one that an open rotation has made and not promoted yet."""


@dataclass(frozen=True)
class Emergency:
    """What a person asked for when a token had leaked."""

    reported: Instant
    """When this process was told; what exposure counts from."""
    order: Order
    drain: float
    """Seconds that replace-first drains at most."""
    slot: Slot = Slot.ACTIVE
    kill_only: bool = False
    """No store can be reached: the token dies, and a later run publishes another one."""
    own: bool = False
    """What leaked is the token that this very rotation has made, which is therefore given up."""
    passing: bool = False
    """The rotation is only brought to its end on the way to the one that replaces the leaked token."""


class DrainResult(StrEnum):
    """How a drain stands."""

    WAITING = "waiting"
    QUIET = "quiet"
    """Not used any more."""
    MAX = "max"
    """Still used when the longest time had passed."""
    FORCED = "forced"
    """A person ended it."""


class DrainEvidence(StrEnum):
    """What a drain goes by."""

    LAST_USED = "last-used"
    """Its project's `token_last_used_at`."""
    TIME = "time"
    """Nothing tells whether this token is used: `drain.min` alone."""


@dataclass(frozen=True)
class Draining:
    """What the looks at a token that consumers are leaving have shown so far. Durations count on our clock."""

    since: Instant
    """The last promote; that of the outgoing token where the new one was given up."""
    evidence: DrainEvidence
    min_seconds: float
    quiet_seconds: float
    max_seconds: float
    looked: Instant | None = None
    """The latest look."""
    quiet_since: Instant | None = None
    """The first look at the present value of `last_used_at`."""
    last_used_at: str | None = None
    """As the provider wrote it."""
    last_used_ip: str | None = None
    result: DrainResult = DrainResult.WAITING

    @property
    def earliest_end(self) -> Instant:
        """When it may end, if the token is not used any more."""
        by_min = self.since.plus(self.min_seconds)
        if self.evidence is DrainEvidence.TIME or self.quiet_since is None:
            return by_min
        return max(by_min, self.quiet_since.plus(self.quiet_seconds), key=lambda moment: moment.wall)

    @property
    def latest_end(self) -> Instant:
        """When it has lasted as long as it may."""
        return self.since.plus(self.max_seconds)


@dataclass(frozen=True)
class CanaryCount:
    """Sends through the consumers' path while a rotation ran."""

    attempts: int
    failures: int
    longest_gap: float
    """Seconds, at most, between two sends that succeeded; a spell that is open at the start or the end counts."""


@dataclass(frozen=True)
class Rotation:
    """One run for one policy: the journal's record and the JSON of `history`."""

    id: str
    policy: str
    project: str
    strategy: Strategy
    trigger: Trigger
    state: State
    started_at: datetime
    snapshot: Mapping[str, Any]
    actor: str
    reason: str = ""
    step: str = ""
    """The step to go on with; empty when nothing is left to do, whatever the state."""
    finished_at: datetime | None = None
    exit_code: int = 0
    old_fingerprint: str | None = None
    new_fingerprint: str | None = None
    intent: Intent | None = None
    """The latest intent to mint; kept after its outcome is known, `minted` tells whether it is."""
    mints: int = 0
    """Calls of rotate-token sent by this rotation, whatever became of them."""
    loose: int = 0
    """Of these, the calls with an unclear answer that the evidence showed not executed: each of them may
    still be executed late, and then kills a token of ours."""
    minted: bool = False
    """The latest mint was answered and its token is, or is about to be, in the authoritative destination."""
    generated_at_after: str | None = None
    """`token_generated_at` that came with the token which was published."""
    death: Death | None = None
    served: Instant | None = None
    """When the last destination served the new token (its write was answered)."""
    served_after: Instant | None = None
    """When that write was sent."""
    outage: Bounds | None = None
    exposure: Bounds | None = None
    verified: tuple[Verified, ...] = ()
    old_token_dead: bool | None = None
    destinations: tuple[DestinationRecord, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    message: str = ""
    form: Form = Form.IN_PLACE
    incoming: str | None = None
    """The project whose token is to become the current one."""
    outgoing: str | None = None
    """The project whose token was current before."""
    bridge_fingerprint: str | None = None
    promoted: Instant | None = None
    """When the last destination got to serve the new token, or the bridge while that is current."""
    returned: Instant | None = None
    """Of a rotation that was given up after readers had its token: when the last destination got to serve the outgoing
    one again, or, until all do, when the first was about to."""
    drain: Draining | None = None
    retiring: Intent | None = None
    """The latest call of rotate-token whose answer nobody keeps: it kills the token of its project."""
    retired: bool = False
    """That call was answered, or shown to have been executed."""
    abandoned: str = ""
    """Why the rotation was given up, in words; what is left is to undo it."""
    canary: CanaryCount | None = None
    emergency: Emergency | None = None
    """Set where a leaked token started it, or made it hurry."""
    consumers: tuple[ConsumerRecord, ...] = ()
    """In the policy's order; empty until they are told."""

    @property
    def urgent(self) -> bool:
        """A leaked token started it or made it hurry: no hold, verifier or audit stands in its way."""
        return self.trigger is Trigger.EMERGENCY or self.emergency is not None

    @property
    def leaked_fingerprint(self) -> str | None:
        """Of the token that an emergency is about; that of the old one where there is none."""
        own = self.emergency is not None and self.emergency.own
        return self.new_fingerprint if own else self.old_fingerprint

    @property
    def leaked_token_dead(self) -> bool | None:
        """Whether that token was proved dead (True), or still worked when it was presented (False)."""
        if self.emergency is not None and self.emergency.own:
            return True if self.exposure is not None else None  # it is measured where the token was refused
        return self.old_token_dead

    @property
    def overlap(self) -> float | None:
        """For how many seconds, at least, the old token was held alive beside what readers got in its place; None
        where it was not, or where nobody measured it."""
        if self.form is Form.IN_PLACE:
            return None
        seconds: float | None = None
        if self.form is Form.BRIDGE:
            # Over the bridge nobody measures the death: it came by the mint. Of several any may have been executed.
            if self.bridged_at is not None and self.intent is not None and self.mints == 1:
                seconds = (self.intent.sent.wall - self.bridged_at).total_seconds()
        elif self.promoted is not None and self.death is not None:
            seconds = self.promoted.seconds_until(self.death.after)
        return seconds if seconds is not None and seconds > 0 else None

    @property
    def bridged_at(self) -> datetime | None:
        """When every destination had the bridge token."""
        done = [one for one in self.steps if one.name == "promote-bridge" and one.outcome is StepOutcome.DONE]
        return done[-1].at + timedelta(seconds=done[-1].seconds) if done else None

    @property
    def minting(self) -> str:
        """The project that a mint of this rotation calls."""
        return self.incoming or self.project

    @property
    def unfinished(self) -> bool:
        """Something is left that a later command must do."""
        return bool(self.step)

    def with_destination(self, ref: str, state: DestinationState) -> Rotation:
        """The same rotation with one destination's state changed."""
        changed = tuple(
            replace(record, state=state) if record.ref == ref else record for record in self.destinations
        )
        return replace(self, destinations=changed)


@dataclass(frozen=True)
class Synced:
    """What became of destinations that did not hold what the authoritative one holds."""

    policy: str
    id: str
    """Names the writes in the audit trail."""
    destinations: tuple[DestinationRecord, ...]
    message: str
    unread: tuple[int, ...] = ()
    """Exit codes of what kept destinations from being compared."""

    @property
    def exit_code(self) -> int:
        """4 where one is still behind, or cannot be read for good; 6 where one is only away for now."""
        behind = any(record.state is not DestinationState.CURRENT for record in self.destinations)
        return 4 if behind or 4 in self.unread else max(self.unread, default=0)


@dataclass(frozen=True)
class Attention:
    """One thing that a person must look at, until something clears it."""

    policy: str
    code: str
    since: datetime
    message: str
    next: str
    rotation: str | None = None


@dataclass(frozen=True)
class ProjectFacts:
    """What the provider tells about a project. Times as the provider wrote them are kept as text,
    because they are compared with one another and never with our clock."""

    id: str
    name: str
    smtp_enabled: bool
    delivery_mode: str
    default_route: str | None
    token_generated_at: str | None
    token_last_used_at: str | None
    token_last_used_ip: str | None


@dataclass(frozen=True)
class ProjectSetup:
    """Of a project, what its consumers feel when their token is another project's."""

    id: str
    smtp_enabled: bool
    delivery_mode: str
    default_route: str | None
    """The slug of the route that a message without one takes."""
    domains: frozenset[str]
    """Names of the sending domains it may use."""
    routes: frozenset[str]
    """Slugs of those that messages are sent through."""
