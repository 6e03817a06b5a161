"""The daemon's loop. A tick is cheap: it asks the journal what is open, and gives out the work whose time has come.

Invariants:
- a policy has at most one job at a time, whatever kind it is;
- when a policy is due is computed from the provider's metadata by `operations.rotate.look`, never remembered: what
  is kept in memory is only when to look next, so a restart or a missed tick changes nothing but that moment;
- looks, rotations that are due, and those that are open have threads of their own, so that a long queue at the
  rate limit delays no look, no drain, and no rescue of readers that hold a dead token; so have rehearsals, and none
  begins while a rotation waits.
"""

from __future__ import annotations

import logging
import math
import uuid
import zlib
from collections.abc import Callable
from functools import partial
from typing import Final

from rotator.clock import rfc3339
from rotator.daemon.agenda import Agenda
from rotator.daemon.backoff import seconds_until_ready
from rotator.daemon.rehearsing import Rehearsing
from rotator.daemon.reload import PolicyFiles
from rotator.daemon.workers import Workers
from rotator.engine.drain import next_look
from rotator.engine.ports import Ports
from rotator.engine.recovery import open_of
from rotator.engine.resting import claim_of
from rotator.engine.runner import Runner
from rotator.engine.states import past_no_return
from rotator.errors import Busy, Held, Interrupted, JournalUnavailable, RateLimited, RotatorError
from rotator.interrupt import Stop
from rotator.model import Decision, Policy, Rotation, State, as_written
from rotator.operations import rotate as operation
from rotator.operations.forecast import MintTimes
from rotator.operations.outcome import Outcome
from rotator.operations.rotate import Look
from rotator.policies.schedule import NextCron
from rotator.rehearsal import rehearsal_name

log = logging.getLogger(__name__)

MINTERS: Final = 8
RESUMERS: Final = 8
LOOKERS: Final = 4
REHEARSERS: Final = 2
LOOKS_A_MINUTE: Final = 60
"""Looks that all policies together cost at most; each is one to three of the 300 reads a minute."""
SOONEST: Final = 60.0
"""Seconds between two looks at a policy that is not due."""
RECENT: Final = 30.0
"""Seconds for which what another process, or a rotation, has read of a project need not be read again."""
RETRY_DEAD: Final = 30.0
"""Seconds between two tries at what readers wait for."""
HANDED_ON: Final = object()
"""What a job returns that has given its policy to the next one."""
ORPHANS: Final = 60.0
"""Seconds between two looks for rotations whose policy is gone."""
RELOAD: Final = 2.0
"""Seconds between two looks at the policy files."""


class Daemon:
    """One process's loop over all policies. `tick` is called by one thread; jobs run in others."""

    def __init__(
        self,
        runner: Runner,
        ports: Ports,
        files: PolicyFiles,
        next_cron: NextCron,
        stop: Stop,
        *,
        lease: float,
        rotate_limit: int,
        ended: Callable[[Rotation], None] = lambda _: None,
        loaded: Callable[[bool], None] = lambda _: None,
        rehearsed: Callable[[str, str], None] = lambda _policy, _outcome: None,
        workers: Callable[[int, str], Workers] = Workers,
        looks_a_minute: float = LOOKS_A_MINUTE,
    ) -> None:
        self._runner = runner
        self._ports = ports
        self._files = files
        self._next_cron = next_cron
        self._stop = stop
        self._lease = lease
        self._rotate_limit = rotate_limit
        self._looks_a_minute = looks_a_minute
        self._ended = ended
        """Told of every rotation that a job of ours brought to rest."""
        self._loaded = loaded
        """Told whether the policy files could be read, when they were."""
        self._minters = workers(MINTERS, "mint")
        self._resumers = workers(RESUMERS, "resume")
        self._lookers = workers(LOOKERS, "look")
        self._rehearsers = workers(REHEARSERS, "rehearse")
        self._salt = uuid.uuid4().hex
        self._agenda = Agenda(ports.clock)
        self._rehearsing = Rehearsing(
            runner,
            ports,
            next_cron,
            stop,
            self._agenda,
            lease=lease,
            waiting=lambda: self._minters.waiting,
            tell=self._tell,
            rehearsed=rehearsed,
        )
        self._reload_asked = False
        self._reload_at = 0.0
        self._orphans_at = 0.0
        self._queue_said_at = -math.inf
        self._journal_away = False
        self._noted: dict[str, str] = {}

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The last good set."""
        return self._files.policies

    def ask_to_reload(self) -> None:
        """Reads the policy files at the next tick (SIGHUP). May be called from a signal handler."""
        self._reload_asked = True  # by a signal handler, which may interrupt itself: no lock

    def wake(self, policy: str) -> None:
        """Looks at a policy at the next tick, whatever was planned."""
        self._agenda.wake(policy)

    def stop(self, seconds: float) -> bool:
        """Takes no further work and returns when what is at work has come to rest, or after so many seconds:
        whether it has. May be called again. `Stop` was requested before."""
        give_up_at = self._ports.clock.boot() + seconds
        rested = True
        for workers in (self._rehearsers, self._lookers, self._minters, self._resumers):
            rested &= workers.stop(max(0.0, give_up_at - self._ports.clock.boot()))
        return rested

    # one tick

    def tick(self) -> None:
        """Gives out the work whose time has come. Never raises."""
        if self._stop.requested.is_set():
            return
        try:
            self._reload()
            self._give_out()
            if self._journal_away:
                self._journal_away = False
                log.info("the journal is back")
        except JournalUnavailable as error:
            if not self._journal_away:
                log.error("%s", error)  # noqa: TRY400  # the message says it all
            self._journal_away = True
        except Exception:
            log.exception("unexpected error in a tick; the next one goes on")

    def _reload(self) -> None:
        asked = self._reload_asked
        now = self._ports.clock.boot()
        if not asked and now < self._reload_at:
            return
        if asked:
            self._reload_asked = False
        self._reload_at = now + RELOAD
        before = {policy.name: policy for policy in self.policies}
        if not self._files.changed(look_closely=asked):
            return
        self._loaded(self._files.problem is None)
        if self._files.problem is not None:
            log.error("the former policies stay in use: %s", self._files.problem)
            return
        after = {policy.name: policy for policy in self.policies}
        changed = [
            name
            for name, policy in after.items()
            if name not in before or as_written(before[name].snapshot) != as_written(policy.snapshot)
        ]
        gone = before.keys() - after.keys()
        log.info(
            "policies read again: %d, of which %d are new or changed; %d gone",
            len(after),
            len(changed),
            len(gone),
        )
        self._orphans_at = 0.0
        names = (*changed, *gone)
        self._agenda.forget((*names, *map(rehearsal_name, names)))

    def _give_out(self) -> None:
        journal, now = self._ports.journal, self._ports.clock.boot()
        unfinished: dict[str, list[Rotation]] = {}
        for rotation in reversed(journal.unfinished()):  # newest first, as `run` takes them up
            unfinished.setdefault(rotation.policy, []).append(rotation)
        held = journal.holds()
        if now >= self._orphans_at:
            self._orphans_at = now + ORPHANS
            self._note("orphans", "; ".join(operation.note_orphans(self._ports, self.policies)))
        ready = self._agenda.free(policy.name for policy in self.policies)
        free = [policy for policy in self.policies if policy.name in ready]
        # Every process in an order of its own, so that several look at different policies and share what they read.
        for policy in sorted(free, key=lambda one: zlib.crc32(f"{self._salt} {one.name}".encode())):
            mine = [one for one in unfinished.get(policy.name, ()) if one.project in policy.projects]
            if policy.name in held and not any(past_no_return(one) for one in mine):
                continue
            if mine:
                self._submit(
                    self._resumers,
                    (claim_of(mine[0]).rank, 0.0),
                    policy.name,
                    partial(self._go_on, policy, mine),
                )
            else:
                self._submit(self._lookers, (0.0, now), policy.name, partial(self._look, policy))
        self._give_out_rehearsals(now)
        self._say_how_long()

    def _give_out_rehearsals(self, now: float) -> None:
        """After all that is for production."""
        rehearsable = {rehearsal_name(one.name): one for one in self.policies if one.rehearsal is not None}
        ready = self._agenda.free(rehearsable)
        for name, policy in rehearsable.items():
            if name in ready:
                self._submit(self._rehearsers, (0.0, now), name, partial(self._rehearsing.look, policy))

    def _submit(
        self, workers: Workers, key: tuple[float, float], name: str, job: Callable[[], object]
    ) -> None:
        self._agenda.take(name)

        def guarded() -> None:
            handed_on = False
            try:
                if not self._stop.requested.is_set():
                    handed_on = job() is HANDED_ON
            except Interrupted:
                pass
            except RotatorError as error:
                self._missed(name, error)
            except Exception:
                # A defect met at one policy must not keep the others waiting, nor be met every second.
                log.exception("unexpected error in the work on %s", name)
                self._agenda.later(name, self._agenda.pause(name))
            finally:
                if not handed_on:
                    self._agenda.give_back(name)

        workers.submit(key, guarded)

    # jobs; each says when to look next

    def _go_on(self, policy: Policy, unfinished: list[Rotation]) -> None:
        """Takes up what is unfinished, the newest first: an older one has less left to do afterwards."""
        lease = self._ports.journal.lease_of(policy.project)
        if lease is not None and lease.holder is not None and lease.expires_in > 0:
            # Somebody is at work on it, perhaps a person who waits for it.
            self._agenda.later(policy.name, self._lease / 3)
            return
        for rotation in unfinished:
            outcome = operation.take_up(self._runner, rotation)
            self._tell(policy, outcome)
            if self._stop.requested.is_set():
                return
        left = [one for one in open_of(self._ports.journal, policy) if one.policy == policy.name]
        if not left:
            self._agenda.later(policy.name, 0.0)
            self._agenda.went_well(policy.name)
            return
        newest = left[-1]
        if newest.state is State.DRAINING:
            self._agenda.later(policy.name, next_look(newest))
        elif claim_of(newest).rank == 0:
            self._agenda.later(policy.name, RETRY_DEAD)
        else:
            self._agenda.later(policy.name, self._agenda.pause(policy.name))

    def _look(self, policy: Policy) -> object:
        """Finds out whether it is due, and hands it on to be rotated if it is."""
        seen = operation.look(self._ports, policy, self._next_cron, self._stop, recent=RECENT)
        if seen.due is not None:
            self._tell(policy, seen.outcome)
            wait = seconds_until_ready(self._ports, policy)
            if wait > 0 and not seen.dead:
                self._agenda.later(policy.name, wait)
                return None
            due_at = seen.decision.due_at
            rank = 0.0 if seen.dead else 2.0
            self._submit(
                self._minters,
                (rank, due_at.timestamp() if due_at else 0.0),
                policy.name,
                partial(self._act, policy, seen),
            )
            return HANDED_ON
        acted = operation.act(self._runner, self._ports, seen, self._next_cron)
        self._tell(policy, seen.outcome, acted)
        self._agenda.went_well(policy.name)
        self._agenda.later(policy.name, self._until(policy, seen.decision))
        return None

    def _act(self, policy: Policy, seen: Look) -> None:
        outcome = operation.act(self._runner, self._ports, seen, self._next_cron)
        self._tell(policy, outcome)
        failed = bool(outcome.errors) or any(one.exit_code for one in outcome.rotations)
        self._agenda.later(policy.name, self._agenda.pause(policy.name) if failed else RELOAD)

    # when to look next

    def _until(self, policy: Policy, decision: Decision) -> float:
        """Seconds to the next look: the due date, or sooner, because the token may be changed by somebody else."""
        usual = max(SOONEST, 60.0 * len(self.policies) / self._looks_a_minute)
        # Spread, so that thousands of policies are not looked at all at once for ever.
        usual *= 0.9 + 0.2 * (zlib.crc32(policy.name.encode()) % 1000) / 1000
        if decision.due_at is None:
            return usual
        left = (decision.due_at - self._ports.clock.now()).total_seconds()
        if left <= 0:
            # What became due while it was looked at has its turn at once; what stays due is a person's to do.
            return usual if decision.due else 0.0
        return min(usual, left)

    # what is said

    def _missed(self, name: str, error: RotatorError) -> None:
        if isinstance(error, Busy):
            self._agenda.later(name, self._lease)
        elif isinstance(error, Held):
            self._agenda.later(name, SOONEST)
        elif isinstance(error, RateLimited):
            # Of thousands of policies most wait for this at the start: it is no trouble of theirs, and said once.
            self._note("looks", "the rate limit for reading has no room; they go on as it lets them")
            self._agenda.later(name, error.retry_after + SOONEST * (zlib.crc32(name.encode()) % 1000) / 1000)
        else:
            self._note(name, str(error))
            self._agenda.later(name, self._agenda.pause(name))

    def _tell(self, policy: Policy, *outcomes: Outcome) -> None:
        """What one job did. That all is well is not said, and lets the next trouble be said again."""
        troubles = [note for one in outcomes for note in one.notes]
        troubles += [str(error) for one in outcomes for _, error in one.errors]
        self._note(policy.name, " ".join(troubles))
        for synced in (synced for one in outcomes for synced in one.synced):
            log.info("%s: %s", policy.name, synced.message)
        for rotation in (rotation for one in outcomes for rotation in one.rotations):
            drains = rotation.state is State.DRAINING
            level = logging.INFO if rotation.exit_code == 0 else logging.WARNING
            text = f"{rotation.state}: {rotation.message}"
            # What rests is looked at again and again: said, and counted, when it has come to another state.
            stands = f"{rotation.state}, given up" if rotation.abandoned else str(rotation.state)
            if self._noted.get(rotation.id) == stands:
                continue
            self._noted[rotation.id] = stands
            log.log(level, "%s: rotation %s %s", policy.name, rotation.id, text)
            if not drains and rotation.state is not State.RUNNING:
                self._ended(rotation)
            if not rotation.unfinished:
                self._noted.pop(rotation.id)

    def _note(self, about: str, text: str) -> None:
        """Says something once, until it is something else."""
        if text and self._noted.get(about) != text:
            log.warning("%s", text if text.startswith(about) or about == "orphans" else f"{about}: {text}")
        self._noted[about] = text

    def _say_how_long(self) -> None:
        """How many wait, and when the last of them may start; once a minute while that is a while off."""
        now, boot, waiting = self._ports.clock.now(), self._ports.clock.boot(), self._minters.waiting
        if not waiting or boot < self._queue_said_at + SOONEST:
            return
        times = MintTimes(self._ports.journal, self._rotate_limit, now)
        last = [times.next(now) for _ in range(waiting)][-1]
        if (last - now).total_seconds() > SOONEST:
            self._queue_said_at = boot
            log.info(
                "%d rotations wait for the rate limit; the last of them may start at %s",
                waiting,
                rfc3339(last),
            )
