"""What a step gets to work with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rotator.clock import Clock, Instant
from rotator.consumers.base import Consumer
from rotator.destinations.base import Destination
from rotator.engine.ledger import Ledger
from rotator.errors import RotatorError
from rotator.interrupt import Stop
from rotator.journal.base import KnownToken
from rotator.model import Policy, ProjectFacts, Rotation, StepOutcome
from rotator.provider.base import Limiter, Provider
from rotator.secret import Fingerprinter, Secret
from rotator.verifiers.base import Verifier


@dataclass(frozen=True)
class Timings:
    """Every duration the engine waits or gives up by, in seconds."""

    call: float = 10.0
    """Time-out of one provider call; shorter than the lease."""
    lease: float = 15.0
    propagation: float = 60.0
    """How long a new token may be refused, or a dead one accepted, before that means something."""
    publish_budget: float = 600.0
    """How long one process tries to write a minted token before it rests and says so."""
    publish_on: bool = False
    """Whether a process that stays goes on trying after that budget, having raised the attention."""
    follower_budget: float = 60.0
    """The same for a destination that is not the authoritative one."""
    consumer_budget: float = 30.0
    """How long one process tries to tell consumers before it goes on; who was not told is told at a later look."""
    rollout: float = 600.0
    """How long a consumer that was told may take before a person is asked to look."""
    look_budget: float = 600.0
    """How long one process tries to find out what became of an unclear call."""
    ask_again: float = 5.0
    """How often one that waits for the rate limit asks again, so that its claim is kept."""
    prove_ahead: float = 2.0
    """How long before the rate limit has room the preflight may begin."""
    read_gap: float = 1.0
    """Between two readings that must agree."""
    first_pause: float = 0.5
    longest_pause: float = 15.0
    mints: int = 5
    """Calls of rotate-token that one process sends for one rotation before it rests."""

    @property
    def settle(self) -> float:
        """After the time-out: how much later the far side may still begin to execute a call."""
        return self.call / 2


@dataclass(frozen=True)
class Progress:
    """One line of progress, for whoever watches."""

    policy: str
    rotation: str
    step: str
    text: str


Observer = Callable[[Progress], None]


@dataclass(frozen=True)
class StepResult:
    """How a step ended. `go_to` names a step to continue with instead of the next."""

    outcome: StepOutcome
    detail: str = ""
    go_to: str | None = None
    rest: bool = False
    """The rotation rests here, and a later look goes on with this step."""


@dataclass
class Context:
    """One rotation in progress: the record, the ports, and the two tokens that live in memory only."""

    policy: Policy
    rotation: Rotation
    provider: Provider
    destinations: Mapping[str, Destination]
    """By ref, the authoritative one first."""
    verifiers: tuple[Verifier, ...]
    limiter: Limiter
    fingerprints: Fingerprinter
    ledger: Ledger
    clock: Clock
    timings: Timings
    stop: Stop
    observer: Observer
    old: Secret | None = None
    new: Secret | None = None
    bridge: Destination | None = None
    """The bridge token's own secret, which is only read."""
    consumers: tuple[tuple[Mapping[str, Any], Consumer], ...] = ()
    """With their entries in the policy, in its order."""
    resumed: bool = False
    """An earlier command began it, and this one takes it up."""
    looked_again: bool = False
    """It rested while something outside went on, and this command looks how far that has come."""
    told: dict[str, ProjectFacts] = field(default_factory=dict)
    """What the provider said of a project after its mint, for the journal, so that it is not asked twice."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the rotation's closing message."""

    @property
    def authoritative(self) -> Destination:
        return next(iter(self.destinations.values()))

    def instant(self) -> Instant:
        return Instant.read(self.clock)

    def change(self, **changes: Any) -> None:
        """Changes the record in memory; `save` writes it down."""
        self.rotation = replace(self.rotation, **changes)

    def save(self, **changes: Any) -> None:
        """Changes the record and journals it; a write that fails leaves the record as it was."""
        former = self.rotation
        self.change(**changes)
        try:
            self.ledger.save(self.rotation)
        except RotatorError:
            self.rotation = former
            raise

    def audit(self, event: str, **data: Any) -> None:
        self.ledger.record(event, self.rotation, data)

    def attend(self, code: str, message: str, then: str) -> None:
        """Something needs attention; the rotation goes on."""
        self.ledger.attend(self.rotation, code, message, then)
        self.notes.append(message)

    def remember_token(self, token: Secret, project: str, origin: str) -> None:
        """Adds a token's fingerprint to those the journal knows."""
        self.ledger.remember(
            KnownToken(
                fingerprint=self.fingerprints.of(token),
                project=project,
                policy=self.policy.name,
                rotation=self.rotation.id if origin in ("minted", "staged") else None,
                origin=origin,
                first_seen=self.clock.now(),
            )
        )

    def say(self, text: str) -> None:
        """Tells whoever watches."""
        self.observer(Progress(self.policy.name, self.rotation.id, self.rotation.step, text))

    def pause(self, seconds: float) -> None:
        """Waits where stopping is harmless. Raises Interrupted."""
        self.clock.wait(seconds, self.stop.requested)
        self.stop.check()

    def attempts(self, budget: float, *, stoppable: bool = True) -> Iterator[int]:
        """Numbers attempts from 1, with growing pauses between them, until `budget` seconds are spent.

        The last attempt starts when the budget ends, so that a short budget still gets two.
        Where stopping would lose a token (`stoppable` false) only a second signal ends the waiting.
        """
        started = self.clock.boot()
        pause = self.timings.first_pause
        number = 1
        while True:
            yield number
            left = budget - (self.clock.boot() - started)
            if left <= 0:
                return
            if stoppable:
                self.pause(min(pause, left))
            else:
                self.clock.wait(min(pause, left), self.stop.hurry)
                if self.stop.hurry.is_set():
                    return
            pause = min(pause * 2, self.timings.longest_pause)
            number += 1

    def key(self, purpose: str, token: Secret) -> str:
        """The idempotency key: one per rotation, token and purpose."""
        return f"rotator-{self.rotation.id}-{purpose}-{self.fingerprints.of(token)}"
