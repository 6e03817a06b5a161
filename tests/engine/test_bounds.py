"""The outage's bounds contain the truth, also when writes answered late or another process finished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rotator.errors import Unreachable
from rotator.model import State
from tests.engine.bench import Bench
from tests.engine.test_resumption import Killed, rotate_and_die


def test_write_that_took_effect_though_it_failed(bench: Bench) -> None:
    """The first attempt wrote the token and its answer was lost: readers were served from then on."""
    destination = bench.wiring.destination(bench.policy.authoritative)
    real = destination.publish
    served: list[float] = []

    def publish(*args: Any, **options: Any) -> None:
        real(*args, **options)
        if not served:
            served.append(bench.clock.boot())
            bench.clock.advance(5)
            raise Unreachable("The answer was lost")

    destination.publish = publish  # type: ignore[method-assign]
    rotation = bench.rotate()
    mint = bench.simulator.mints(bench.project)[-1]
    truth = served[0] - mint.old_dead_from.boot
    assert rotation.outage is not None
    assert rotation.outage.min <= truth <= rotation.outage.max


@pytest.mark.parametrize("killed", [False, True])
def test_follower_that_was_written_without_an_answer(
    make_bench: Callable[..., Bench], *, killed: bool
) -> None:
    """The outage ends with the last destination, also when its write was only found to have happened."""
    bench = make_bench(followers=("second.json",))
    follower = bench.wiring.destination(bench.policy.destinations[1])
    real = follower.publish
    served: list[float] = []

    def publish(*args: Any, **options: Any) -> None:
        bench.clock.advance(7)
        real(*args, **options)
        served.append(bench.clock.boot())
        if killed:
            raise Killed
        raise Unreachable("The answer was lost")

    follower.publish = publish  # type: ignore[method-assign]
    if killed:
        left = rotate_and_die(bench)
        rotation = bench.runner.resume(left)
    else:
        rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    truth = served[0] - bench.simulator.mints(bench.project)[-1].old_dead_from.boot
    assert rotation.outage is not None
    assert truth >= 7
    assert rotation.outage.min <= truth <= rotation.outage.max


def test_token_that_lived_for_a_while_between_two_deaths(bench: Bench) -> None:
    """A late call killed the published token: the time it served readers is no outage."""
    seconds = bench.timings.call + bench.timings.settle + bench.timings.read_gap + 30
    bench.simulator.faults.add("rotate", "late", seconds=seconds)
    real = bench.wiring.verifier(bench.policy.verify[0])
    verifier_verify = real.verify

    def verify(*args: Any, **options: Any) -> Any:
        if bench.mints == 1:
            bench.clock.advance(40)
        return verifier_verify(*args, **options)

    real.verify = verify  # type: ignore[method-assign]
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.mints == 3
    bench.assert_served()
    assert rotation.outage is not None
    assert rotation.served is not None
    mints = bench.simulator.mints(bench.project)
    whole = mints[0].old_dead_from.seconds_until(rotation.served)
    assert rotation.outage.min < 20 < whole
    assert rotation.outage.max >= mints[1].old_dead_from.seconds_until(rotation.served)
