"""A process that stays: the budget of a publish ends in an alarm, and not in giving up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rotator.errors import Unreachable
from rotator.model import State
from tests.conftest import FakeClock
from tests.engine.bench import Bench


def away_for(bench: Bench, seconds: float, seen: list[set[str]]) -> None:
    """The store takes no write for so long after the first one; `seen`: the attention at each attempt."""
    destination = bench.wiring.destination(bench.policy.authoritative)
    real, began = destination.publish, bench.clock.boot()

    def publish(*given: Any, **named: Any) -> Any:
        seen.append(bench.attention)
        if bench.clock.boot() < began + seconds:
            raise Unreachable("the store is away")
        return real(*given, **named)

    destination.publish = publish  # type: ignore[method-assign]


@pytest.mark.parametrize("stays", [True, False])
def test_a_store_that_is_away_for_longer_than_the_budget(
    tmp_path: Path, clock: FakeClock, *, stays: bool
) -> None:
    """One that stays alarms when the budget ends and still writes that token; any other gives it up then."""
    bench = Bench(tmp_path, clock, publish_on=stays)
    try:
        seen: list[set[str]] = []
        away_for(bench, 3 * bench.timings.publish_budget, seen)
        rotation = bench.rotate()
        assert bench.mints == 1
        assert set() in seen
        if stays:
            assert rotation.state is State.COMPLETED
            assert {"token-dead"} in seen
            assert bench.attention == set()
            bench.assert_served()
        else:
            assert rotation.state is State.NEEDS_ATTENTION
            assert {"token-dead"} not in seen
            assert bench.attention == {"token-dead"}
        bench.assert_audit_holds()
    finally:
        bench.close()
