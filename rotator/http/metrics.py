"""The metrics of `serve`, in a registry of their own (names: design 3.4).

Counters and histograms are told what happened; gauges are drawn from the board at each scrape, so that
they vanish with their policy and show what other processes did to the same journal.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotator import __version__
from rotator.errors import RotatorError
from rotator.http.base import Board
from rotator.model import Rotation, State, Trigger
from rotator.secret import scrub
from rotator.views import PolicyStatus

log = logging.getLogger(__name__)

_OUTCOMES: Final = (State.COMPLETED, State.FAILED, State.REFUSED, State.NEEDS_ATTENTION)
_LOOKED_BACK: Final = 20
"""Rotations of a policy among which its last success is looked for."""

# In place: milliseconds to minutes; a lost answer waits for its deadline, a store may be away for longer.
_OUTAGE_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
# In place takes seconds; a drain takes hours, up to a week and more.
_ROTATION_BUCKETS: Final = (1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 10800, 21600, 86400, 259200, 604800)
_REQUEST_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)


class Metrics:
    """Counts what the daemon does. Safe to use from several threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._last_success: dict[str, tuple[object, float | None]] = {}
        self._known: set[tuple[str, str, bool]] = set()
        registry = self._registry
        ProcessCollector(registry=registry)
        self._rotations = Counter(
            "rotator_rotations",
            "Rotations that came to an end, by their outcome. Rehearsals are not counted.",
            ("policy", "strategy", "outcome"),
            registry=registry,
        )
        self._rehearsals = Counter(
            "rotator_rehearsals",
            "Rehearsals that this process brought to their end, by their outcome.",
            ("policy", "outcome"),
            registry=registry,
        )
        self._rotation_seconds = Histogram(
            "rotator_rotation_seconds",
            "From the start of a rotation to its end, drains included.",
            buckets=_ROTATION_BUCKETS,
            registry=registry,
        )
        self._outage_seconds = Histogram(
            "rotator_outage_seconds",
            "Upper bound of the measured outage of a rotation: no store served a living token.",
            buckets=_OUTAGE_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "rotator_provider_requests",
            "Calls of Lettermint, by call and HTTP status, or not-sent or no-answer.",
            ("call", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "rotator_provider_request_seconds",
            "How long calls of Lettermint took.",
            ("call",),
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._audit_failures = Counter(
            "rotator_audit_failures",
            "Lines that the audit log did not take.",
            registry=registry,
        )
        self._notifications = Counter(
            "rotator_notifications",
            "Tries to tell a notifier something, by its type; outcome sent or failed.",
            ("type", "outcome"),
            registry=registry,
        )
        self._reload_failed = Gauge(
            "rotator_policies_reload_failed",
            "1 while the policy files are wrong and the last good set is in use.",
            registry=registry,
        )
        Gauge(
            "rotator_build_info",
            "Always 1; the labels say what runs.",
            ("version", "python"),
            registry=registry,
        ).labels(__version__, platform.python_version()).set(1)

    def rotation_ended(self, rotation: Rotation) -> None:
        """Called once for a rotation that has come to an end."""
        if rotation.trigger is Trigger.REHEARSAL:
            return
        self._rotations.labels(
            _label(rotation.policy), rotation.strategy.value, _label(rotation.state.value)
        ).inc()
        if rotation.finished_at is not None:
            took = (rotation.finished_at - rotation.started_at).total_seconds()
            self._rotation_seconds.observe(max(0.0, took))
        if rotation.outage is not None:
            self._outage_seconds.observe(rotation.outage.max)

    def rehearsed(self, policy: str, outcome: str) -> None:
        """Called once for a rehearsal that has come to its end."""
        self._rehearsals.labels(_label(policy), _label(outcome)).inc()

    def provider_called(self, call: str, status: str, seconds: float) -> None:
        """The provider's observer."""
        self._requests.labels(_label(call), _label(status)).inc()
        self._request_seconds.labels(_label(call)).observe(seconds)

    def notified(self, kind: str, outcome: str) -> None:
        """A notifier was told something (`sent`), or could not be (`failed`)."""
        self._notifications.labels(_label(kind), outcome).inc()

    def audit_failed(self) -> None:
        """The audit log did not take a line."""
        self._audit_failures.inc()

    def policies_loaded(self, ok: bool) -> None:
        """The policy files were read; `ok` is false where the last good set stays in use."""
        self._reload_failed.set(0 if ok else 1)

    def look(self, board: Board) -> Scene | None:
        """What the gauges are drawn from; None, and a warning, where the board cannot tell."""
        try:
            statuses = board.statuses()
            return Scene(tuple(statuses), self._successes(board, statuses))
        except RotatorError as error:
            log.warning("metrics without the policies: %s", error)
            return None

    def exposition(self, scene: Scene | None) -> bytes:
        """The text format 0.0.4. Without a scene the policies' gauges are absent, not stale."""
        if scene is not None:
            self._begin_at_zero(scene.statuses)
        scrape = CollectorRegistry()
        scrape.register(_Kept(self._registry))
        scrape.register(_Drawn(scene))
        return generate_latest(scrape)

    def _begin_at_zero(self, statuses: Iterable[PolicyStatus]) -> None:
        """`increase()` does not see a counter that appears with its first event already counted."""
        for one in statuses:
            known = (one.name, one.strategy, one.rehearsal is not None)
            if known not in self._known:
                self._known.add(known)
                for outcome in _OUTCOMES:
                    self._rotations.labels(_label(one.name), one.strategy, outcome.value)
                    if one.rehearsal is not None:
                        self._rehearsals.labels(_label(one.name), outcome.value)

    def _successes(self, board: Board, statuses: Sequence[PolicyStatus]) -> dict[str, float]:
        """When each policy last completed a rotation. The journal is asked again only where a policy has moved."""
        moved: dict[str, tuple[object, float | None]] = {}
        for one in statuses:
            mark = (one.token_generated_at, one.last_outcome, one.rotation and one.rotation.id)
            former = self._last_success.get(one.name)
            moved[one.name] = (
                former
                if former is not None and former[0] == mark
                else (mark, _last_success(board.rotations(one.name, _LOOKED_BACK, rehearsals=False), former))
            )
        # One assignment, so that a scrape at the same time sees the old or the new, and no policy that is gone.
        self._last_success = moved
        return {name: at for name, (_, at) in moved.items() if at is not None}


@dataclass(frozen=True)
class Scene:
    """What one scrape saw of the board."""

    statuses: tuple[PolicyStatus, ...]
    last_success: dict[str, float]
    """By policy, in seconds since the epoch."""


def _last_success(rotations: Iterable[Rotation], former: tuple[object, float | None] | None) -> float | None:
    found = [
        one.finished_at.timestamp()
        for one in rotations
        if one.state is State.COMPLETED
        and one.finished_at is not None
        and one.trigger is not Trigger.REHEARSAL
    ]
    # Many failures may have pushed the last success out of sight since.
    return max(found, default=former[1] if former else None)


class _Kept(Collector):
    """The registry of what was counted, as a part of a scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for family in self._registry.collect():
            # This text format has no creation times: the library would tell each as one more gauge.
            family.samples = [one for one in family.samples if not one.name.endswith("_created")]
            yield family


class _Drawn(Collector):
    """The gauges of one scene."""

    def __init__(self, scene: Scene | None) -> None:
        self._scene = scene

    def collect(self) -> Iterable[Metric]:
        readable = GaugeMetricFamily(
            "rotator_status_readable", "0 where the journal could not tell how the policies stand."
        )
        readable.add_metric((), 0 if self._scene is None else 1)
        yield readable
        if self._scene is None:
            return
        generated = _by_policy(
            "rotator_token_generated_timestamp_seconds",
            "When the token that readers hold was made; absent where nobody has asked Lettermint yet.",
        )
        due = _by_policy(
            "rotator_next_due_timestamp_seconds", "When the policy is due next; absent without a date."
        )
        success = _by_policy(
            "rotator_last_success_timestamp_seconds",
            "When a rotation last completed, by the journal; absent where none did.",
        )
        attention = _by_policy("rotator_needs_attention", "How many things a person must look at.")
        matters = GaugeMetricFamily(
            "rotator_attention",
            "1 for each matter that a person must look at, by its code; absent once it is settled.",
            labels=("policy", "code"),
        )
        untold = _by_policy("rotator_notices_untold", "How many notices no notifier has taken so far.")
        started = _by_policy(
            "rotator_unfinished_rotation_started_timestamp_seconds",
            "When the rotation that is not finished began; absent where there is none.",
        )
        state = GaugeMetricFamily(
            "rotator_policy_state", "1 for the state that the policy is in.", labels=("policy", "state")
        )
        rehearsed = _by_policy(
            "rotator_rehearsal_last_success_timestamp_seconds",
            "When a rehearsal last succeeded; 0 where none has, absent where the policy names nothing to rehearse on.",
        )
        rehearsal_seconds = _by_policy(
            "rotator_rehearsal_seconds",
            "How long the last rehearsal that succeeded took in all its steps; absent where none has.",
        )
        rehearsal_attention = _by_policy(
            "rotator_rehearsal_needs_attention",
            "How many things about its rehearsals a person must look at; none of them concerns the policy's token.",
        )
        for one in self._scene.statuses:
            labels = (_label(one.name),)
            _add(generated, labels, one.token_generated_at)
            _add(due, labels, one.next_due_at)
            if one.name in self._scene.last_success:
                success.add_metric(labels, self._scene.last_success[one.name])
            attention.add_metric(labels, len(one.attention))
            for code in sorted({matter.code for matter in one.attention}):
                matters.add_metric((*labels, code), 1)
            untold.add_metric(labels, sum(missing.waiting + missing.given_up for missing in one.untold))
            _add(started, labels, one.rotation.started_at if one.rotation else None)
            state.add_metric((*labels, one.state), 1)
            if one.rehearsal is not None:
                at = one.rehearsal.last_success_at
                # An alert on its age must also fire where there never was one.
                rehearsed.add_metric(labels, at.timestamp() if at else 0)
                rehearsal_attention.add_metric(labels, len(one.rehearsal.attention))
                if one.rehearsal.seconds is not None:
                    rehearsal_seconds.add_metric(labels, one.rehearsal.seconds)
        yield from (generated, due, success, attention, matters, untold, started, state)
        yield from (rehearsed, rehearsal_seconds, rehearsal_attention)


def _by_policy(name: str, about: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=("policy",))


def _add(family: GaugeMetricFamily, labels: Sequence[str], moment: datetime | None) -> None:
    if moment is not None:
        family.add_metric(labels, moment.timestamp())


def _label(text: str) -> str:
    return scrub(text)
