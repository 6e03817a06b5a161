"""What the loop works with, small enough for a day of two hundred policies: a provider that only tells when tokens
were generated, and a runner that only mints. The journal is a real one, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from rotator.clock import rfc3339
from rotator.daemon.loop import Daemon
from rotator.daemon.workers import Workers
from rotator.destinations.base import Content, Reading
from rotator.errors import RotatorError
from rotator.interrupt import Stop
from rotator.journal.sqlite import SqliteJournal
from rotator.model import (
    DestinationSpec,
    Policy,
    ProjectFacts,
    Rotation,
    Schedule,
    State,
    Strategy,
    Trigger,
)
from rotator.policies.cron import next_after
from tests.conftest import FakeClock


class Inline(Workers):
    """Does each job at once, in the thread that hands it in."""

    def __init__(self, number: int, name: str) -> None:
        self.waiting_jobs: list[tuple[Any, Callable[[], None]]] = []
        self.held_back = False

    @property
    def waiting(self) -> int:
        return len(self.waiting_jobs)

    def submit(self, key: Any, job: Callable[[], None]) -> None:
        if self.held_back:
            self.waiting_jobs.append((key, job))
        else:
            job()

    def stop(self, seconds: float | None = None) -> bool:
        """Nothing runs between two calls."""
        return True


class Files:
    """Policies that a test changes."""

    def __init__(self, policies: tuple[Policy, ...]) -> None:
        self.policies = policies
        self.problem = None
        self.written: tuple[Policy, ...] | None = None
        """What a person has just written."""

    def changed(self, *, look_closely: bool = False) -> bool:
        if self.written is None:
            return look_closely
        self.policies, self.written = self.written, None
        return True


def policy(name: str, schedule: Schedule, project: str | None = None, **more: Any) -> Policy:
    place = DestinationSpec("file", f"file:/secrets/{name}")
    snapshot = {"name": name, "schedule": repr(schedule)}
    made = Policy(name, project or f"project-{name}", Strategy.IN_PLACE, (place,), schedule=schedule)
    return replace(made, snapshot=snapshot, **more)


class Town:
    """Projects, their mints, and the daemon that looks after them."""

    def __init__(self, clock: FakeClock, policies: tuple[Policy, ...], **options: Any) -> None:
        self.clock = clock
        self.journal = SqliteJournal.in_memory(clock)
        self.generated: dict[str, datetime] = {one.project: clock.now() for one in policies}
        self.mints: list[tuple[str, datetime]] = []
        self.failures: dict[str, State] = {}
        self.looks = 0
        self.resumed: list[str] = []
        self.away: RotatorError | None = None
        self.ended: list[Rotation] = []
        self.stop = Stop()
        self.files = Files(policies)
        self._numbers = 0
        provider = SimpleNamespace(project=self.facts)
        limiter = SimpleNamespace(peek=lambda _kind, _claim=None: 0.0)
        empty = SimpleNamespace(read=lambda: Reading(Content.MISSING, None))
        self.ports: Any = SimpleNamespace(
            provider=provider,
            journal=self.journal,
            clock=clock,
            limiter=limiter,
            destination=lambda _spec: empty,
        )
        self.lock = threading.Lock()
        self.daemon = self.new_daemon(**options)

    def new_daemon(self, **options: Any) -> Daemon:
        """As after a restart: what was in memory is gone."""
        self.daemon = Daemon(
            self,  # type: ignore[arg-type]  # the small runner
            self.ports,
            self.files,  # type: ignore[arg-type]
            next_after,
            self.stop,
            lease=15.0,
            ended=self.ended.append,
            workers=Inline,
            **{"rotate_limit": 30, **options},
        )
        return self.daemon

    def facts(self, project: str) -> ProjectFacts:
        self.looks += 1
        if self.away is not None:
            raise self.away
        return ProjectFacts(
            project, project, False, "live", None, rfc3339(self.generated[project]), None, None
        )

    def rotate(
        self, policy: Policy, trigger: Trigger, reason: str, *, wanted: Callable[[], bool]
    ) -> list[Rotation]:
        """The small runner: mints, or fails as a test wants it."""
        if not wanted():
            return []
        self._numbers += 1
        state = self.failures.get(policy.name, State.COMPLETED)
        if state is State.COMPLETED:
            self.generated[policy.project] = self.clock.now()
            self.mints.append((policy.name, self.clock.now()))
        rotation = Rotation(
            id=f"r-{self._numbers}",
            policy=policy.name,
            project=policy.project,
            strategy=policy.strategy,
            trigger=trigger,
            state=state,
            started_at=self.clock.now(),
            finished_at=self.clock.now(),
            snapshot=policy.snapshot,
            actor="test",
            reason=reason,
            exit_code=0 if state is State.COMPLETED else 1,
            message=f"it ended {state}",
        )
        self.save(rotation)
        return [rotation]

    def resume(self, rotation: Rotation) -> Rotation:
        """The small runner: whatever is open ends."""
        self.resumed.append(rotation.id)
        ended = replace(rotation, step="", state=State.COMPLETED, finished_at=self.clock.now())
        self.save(ended)
        return ended

    def save(self, rotation: Rotation) -> None:
        from rotator.journal.holder import this_process  # noqa: PLC0415

        lease = self.journal.acquire((rotation.project,), this_process(self.clock, "test"), ttl=15)
        self.journal.save(lease, rotation)
        self.journal.release(lease)

    def pass_time(self, seconds: float, *, step: float = 60.0) -> None:
        """Ticks as it passes; `step` seconds lie between two ticks."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.daemon.tick()


def of(town: Town, name: str) -> list[datetime]:
    """When a policy's token was minted."""
    return [at for who, at in town.mints if who == name]
