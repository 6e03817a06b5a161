"""Our wall clock jumps by an hour, either way, while the provider's goes on: in mid-rotation, in mid-drain, under a
lease, and around a due time. Time spans are of the boot clock; the wall clock decides nothing that cannot wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from rotator.engine.carrier import Carrier
from rotator.errors import Busy
from rotator.journal.base import Holder
from rotator.model import State, Trigger
from rotator.operations import rotate as operation
from rotator.policies.cron import next_after
from tests.conftest import FakeClock
from tests.faults.world import PHASES, check_afterwards, check_while_it_lasts, history_at, strike
from tests.properties.history import FORMS, HOUR, History

JUMPS = {"ahead": HOUR, "behind": -HOUR}
CASES = {
    f"clock an hour {way} {where}"
    for way in JUMPS
    for where in ("in mid-rotation", "in mid-drain", "in mid-lease")
} | {"clock an hour ahead of due times", "clock an hour behind due times"}
BOTH_WAYS = pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)


class OwnClock:
    """The clock of our machine: it goes as all do, and its wall time may be set."""

    def __init__(self, true: FakeClock) -> None:
        self._true = true
        self._set_by = timedelta(0)

    def set(self, seconds: float) -> None:
        self._set_by += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self._true.now() + self._set_by

    def boot(self) -> float:
        return self._true.boot()

    @property
    def boot_id(self) -> str:
        return self._true.boot_id

    def wait(self, seconds: float, stop: threading.Event | None = None) -> bool:
        return self._true.wait(seconds, stop)

    def advance(self, seconds: float) -> None:
        self._true.advance(seconds)


def with_own_clock(history: History) -> OwnClock:
    own = OwnClock(history.clock)
    history.bench.clock = own  # type: ignore[assignment]
    history.next_process()
    return own


def total_mints(history: History) -> int:
    bench = history.bench
    return bench.mints + len(bench.simulator.mints(bench.other_project))


@pytest.mark.one_in(5, 5)
@pytest.mark.parametrize("step", [0, 1, 2, 4, 6])
@pytest.mark.parametrize(("form", "phase"), PHASES)
@BOTH_WAYS
def test_in_mid_rotation(
    monkeypatch: pytest.MonkeyPatch, form: str, phase: int, step: int, jump: float
) -> None:
    """Set before any step of a rotation: it ends as it would have, with one mint, and no outage is invented."""
    with history_at(form, phase) as history:
        own = with_own_clock(history)
        real, left = Carrier._one_step, [step]

        def one_step(self: Carrier, context: Any) -> bool:
            left[0] -= 1
            if left[0] == -1:
                own.set(jump)
            return real(self, context)

        monkeypatch.setattr(Carrier, "_one_step", one_step)
        strike(history, phase)
        rotation = history.bench.wiring.journal.rotations("billing")[-1]
        assert rotation.state in (State.COMPLETED, State.DRAINING), rotation.message
        assert total_mints(history) <= 1 + (form == "standby" and phase == 1)
        if rotation.outage is not None:
            assert 0 <= rotation.outage.min <= rotation.outage.max < 60
        check_while_it_lasts(history)
        check_afterwards(history)


@pytest.mark.parametrize("form", ["standby", "bridge"])
@BOTH_WAYS
def test_in_mid_drain(form: str, jump: float) -> None:
    """A drain of two hours takes two hours, by whatever the clock on the wall says."""
    with history_at(form, 0) as history:
        own = with_own_clock(history)
        strike(history, 0)
        outgoing = history.bench.first
        history.clock.advance(1.2 * HOUR)
        own.set(jump)
        for _ in range(4):
            history.command(None)
            assert history.bench.simulator.is_alive(outgoing)
            history.clock.advance(0.19 * HOUR)
        history.clock.advance(0.1 * HOUR)
        history.command(None)
        assert not history.bench.simulator.is_alive(outgoing)
        check_while_it_lasts(history)
        check_afterwards(history)


def test_an_idle_token_in_use_is_not_killed_by_a_clock_that_is_ahead() -> None:
    """Used five minutes ago by the provider's clock, an hour and five minutes by ours: a mint there is refused."""
    with history_at("standby", 0) as history:
        own = with_own_clock(history)
        bench = history.bench
        bench.clock.advance(60)
        bench.simulator.use(bench.other_project, ip="203.0.113.9")
        history.clock.advance(300)
        own.set(HOUR)
        history.command(Trigger.MANUAL)
        assert bench.wiring.journal.rotations("billing")[0].state is State.REFUSED
        assert bench.simulator.is_alive(bench.other_token)


@pytest.mark.parametrize("form", FORMS)
@BOTH_WAYS
def test_in_mid_lease(form: str, jump: float) -> None:
    """A lease of another living process lasts as long as it was given, on the clock that nobody sets."""
    with history_at(form, 0) as history:
        own = with_own_clock(history)
        bench = history.bench
        other = Holder("other", "another-host", own.boot_id, 1, "", "", "run on another-host")
        bench.wiring.journal.acquire(bench.policy.projects, other, ttl=15.0)
        own.set(jump)
        with pytest.raises(Busy):
            bench.wiring.journal.acquire(bench.policy.projects, bench.wiring.holder, ttl=15.0)
        history.clock.advance(15.1)
        strike(history, 0)
        assert bench.wiring.journal.rotations("billing")[0].state in (State.COMPLETED, State.DRAINING)
        check_afterwards(history)


def serve(history: History) -> None:
    """One look of the daemon, and what it does about it."""
    bench = history.bench
    ports = bench.wiring.ports
    if bench.wiring.journal.unfinished():
        history.command(None)
        return
    seen = operation.look(ports, bench.policy, next_after, bench.stop, recent=0.0)
    operation.act(bench.runner, ports, seen, next_after)


@pytest.mark.one_in(4, 4)
@pytest.mark.parametrize("look", [serve, lambda history: history.command(None)], ids=["serve", "run"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("back", [False, True], ids=["stays", "set back"])
@BOTH_WAYS
def test_around_a_due_time(form: str, jump: float, look: Callable[[History], None], *, back: bool) -> None:
    """Set half an hour before the due time, and perhaps set right later: met within an hour of it, and once."""
    with history_at(form, 0) as history:
        own = with_own_clock(history)
        history.clock.advance(30 * 24 * HOUR - HOUR / 2)
        own.set(jump)
        for number in range(20):
            look(history)
            history.clock.advance(HOUR / 5)
            if back and number == 10:
                own.set(-jump)
        rotations = [
            one for one in history.bench.wiring.journal.rotations("billing") if one.minted or one.promoted
        ]
        assert len(rotations) == 1
        early_or_late = abs((rotations[0].started_at - own.now()).total_seconds())
        assert early_or_late <= 6 * HOUR
        check_while_it_lasts(history)
        check_afterwards(history)
