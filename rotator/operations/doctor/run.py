"""Puts the checks together: what all policies share first, then the policies side by side."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from rotator.clock import Clock
from rotator.errors import RotatorError, sentences
from rotator.interrupt import leave_signals_to_main
from rotator.model import DestinationSpec, Policy
from rotator.operations.doctor.here import examine_orphans, examine_records, examine_settings
from rotator.operations.doctor.parts import Parts, Setup
from rotator.operations.doctor.policy import examine_policy
from rotator.operations.doctor.provider import examine_provider
from rotator.operations.doctor.report import Check, Findings, Identity, Report
from rotator.rehearsal import with_rehearsals

log = logging.getLogger(__name__)

PATIENCE: Final = 120.0
"""Seconds for one policy, or for one store to say who we are; what answers later is not waited for."""
_SIDE_BY_SIDE: Final = 8
_TICK: Final = 0.25
"""Seconds between looks at the time while checks are waited for."""
_UNREACHABLE: Final = 6


def examine(setup: Setup, parts: Parts, *, patience: float = PATIENCE) -> Report:
    """Everything a rotation of these policies will need. Raises nothing on purpose.

    Writes where a rotation proves that it may write, and nowhere a reader looks: the journal's slots, a probe
    at each destination, a test message where a policy verifies by one. Each of the latter two is audited.
    """
    shared = Findings()
    examine_settings(setup, shared)
    records = examine_records(setup, parts, shared)
    examine_orphans(setup, records.journal, shared)
    reached = examine_provider(setup, parts, shared)
    stores = _stores(with_rehearsals(setup.policies))
    known: dict[str, Identity] = {}
    jobs = [
        _Job(store, Findings(), partial(_identify, store, spec, parts, known))
        for store, spec in stores.items()
    ]
    for policy in setup.policies:
        do = partial(examine_policy, policy, parts, records, reached)
        jobs.append(_Job(policy.name, Findings(policy.name), do))
    _run(jobs, parts.clock, patience)
    checks = [*shared.checks, *(check for job in jobs for check in job.result(patience))]
    identities = [reached.team, *(known.get(store) for store in stores)]
    return Report(tuple(one for one in identities if one is not None), tuple(checks))


def _identify(
    store: str, spec: DestinationSpec, parts: Parts, known: dict[str, Identity], found: Findings
) -> None:
    """No rotation needs to know it, so what keeps it from us fails nothing: reading the place tells."""
    try:
        known[store] = Identity(store, parts.destination(spec).identity())
    except RotatorError as error:
        hint = sentences(error.remedy) or "The checks of the destinations tell what is wrong."
        found.unknown("identity", sentences(error.happened), hint, subject=store)


@dataclass
class _Job:
    """Some checks that run in a thread of their own, and what they have found so far."""

    name: str
    """For people: the policy, or the store."""
    found: Findings
    do: Callable[[Findings], None]
    began: float = 0.0
    done: bool = False

    def result(self, patience: float) -> list[Check]:
        """A copy: a thread that is not waited for any more may still be writing."""
        checks = list(self.found.checks)
        if not self.done:
            ended = Findings(self.found.policy, checks)
            ended.failed(
                "time",
                f"The checks of {self.name} did not end within {patience:g} s.",
                "Look at what is missing above: something accepts connections and does not answer.",
                code=_UNREACHABLE,
            )
        return checks


def _run(jobs: Sequence[_Job], clock: Clock, patience: float) -> None:
    """A few at a time, in threads that the end of the process does not wait for: Ctrl-C ends it at once."""
    waiting = list(jobs)
    running: list[_Job] = []
    ended: queue.SimpleQueue[_Job] = queue.SimpleQueue()
    while waiting or running:
        while waiting and len(running) < _SIDE_BY_SIDE:
            job = waiting.pop(0)
            job.began = clock.boot()
            running.append(job)
            threading.Thread(target=_work, args=(job, ended), name="doctor", daemon=True).start()
        try:
            job = ended.get(timeout=_TICK)
        except queue.Empty:
            running = [one for one in running if clock.boot() - one.began < patience]
            continue
        if job in running:
            job.done = True
            running.remove(job)


def _work(job: _Job, ended: queue.SimpleQueue[_Job]) -> None:
    leave_signals_to_main()
    try:
        job.do(job.found)
    except Exception as error:  # a check that breaks must not take the others with it
        log.exception("a check ended in an error that nobody expected")
        job.found.failed(
            "unexpected",
            f"A check stopped at an unexpected {type(error).__name__}; the log has the traceback.",
            "Please report it.",
            code=1,
        )
    ended.put(job)


def _stores(policies: Iterable[Policy]) -> Mapping[str, DestinationSpec]:
    """One destination for each store in which somebody has to know us."""
    found: dict[str, DestinationSpec] = {}
    for policy in policies:
        for spec in policy.destinations:
            region = spec.options.get("region")
            found.setdefault(f"{spec.type} ({region})" if region else spec.type, spec)
    return found
