"""The daemon as its HTTP port sees it."""

from __future__ import annotations

from rotator.clock import Clock
from rotator.daemon.loop import Daemon
from rotator.engine.runner import Runner
from rotator.errors import InvalidInput, JournalUnavailable
from rotator.journal.base import Journal
from rotator.model import Rotation, Trigger
from rotator.operations.rehearsals import with_rehearsals_of
from rotator.operations.status import statuses
from rotator.policies.schedule import NextCron
from rotator.views import PolicyStatus


class DaemonBoard:
    """Implements `http.base.Board`. Safe to use from several threads."""

    def __init__(
        self, daemon: Daemon, runner: Runner, journal: Journal, clock: Clock, next_cron: NextCron
    ) -> None:
        self._daemon = daemon
        self._runner = runner
        self._journal = journal
        self._clock = clock
        self._next_cron = next_cron

    def ready(self) -> tuple[str, ...]:
        # Files that went bad later are an alarm of their own: the last good set is at work.
        try:
            self._journal.holds()
        except JournalUnavailable as error:
            return (str(error),)
        return ()

    def statuses(self) -> list[PolicyStatus]:
        return statuses(self._journal, self._clock, self._daemon.policies, self._next_cron)

    def status(self, policy: str) -> PolicyStatus | None:
        wanted = [one for one in self._daemon.policies if one.name == policy]
        found = statuses(self._journal, self._clock, wanted, self._next_cron)
        return next((one for one in found if one.name == policy), None)

    def rotations(self, policy: str | None, limit: int, *, rehearsals: bool = True) -> list[Rotation]:
        if policy is not None and rehearsals:
            return with_rehearsals_of(self._journal, policy, limit)
        return self._journal.rotations(policy, limit=limit)

    def request(self, policy: str, reason: str, caller: str) -> str:
        wanted = next((one for one in self._daemon.policies if one.name == policy), None)
        if wanted is None:
            raise InvalidInput(
                f"There is no policy named {policy}",
                then="Nothing was begun",
                remedy="GET /api/v1/status lists the policies",
            )
        rotation = self._runner.enrol(wanted, Trigger.API, reason, caller=caller)
        self._daemon.wake(policy)
        return rotation
