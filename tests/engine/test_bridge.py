"""One project and a bridge token made by hand: consumers stand on it while the project's token is replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rotator.errors import Unreachable
from rotator.model import Rotation, State
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.test_resumption import run

HOUR = 3600.0


@pytest.fixture
def bridged(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench()
    bench.bridge = bench.simulator.add_token(bench.project)  # type: ignore[attr-defined]
    place = bench.folder / "bridge.json"
    bench.write_secret(place, bench.bridge)  # type: ignore[attr-defined]
    bench.document |= {
        "strategy": "create-before-revoke",
        "standby": {"token": {"type": "file", "path": str(place), "format": "json", "key": "token"}},
        "drain": {"min": "2h", "quiet": "1h", "max": "1d"},
    }
    bench.policy = bench.load_policy()
    return bench


def bridge(bench: Bench) -> Secret:
    token: Secret = bench.bridge  # type: ignore[attr-defined]
    return token


def on(bench: Bench, hours: float) -> Rotation:
    bench.clock.advance(hours * HOUR)
    return run(bench).rotations[-1]


def test_consumers_go_over_the_bridge(bridged: Bench) -> None:
    """Bridge, drain, mint, promote, drain: at no time do readers hold a dead token, and the old one is dead."""
    first = bridged.rotate()
    assert first.state is State.DRAINING, first.message
    assert bridged.stored() == bridge(bridged)
    assert bridged.rotate_calls == 0
    second = on(bridged, 2.1)
    assert second.state is State.DRAINING, second.message
    assert bridged.stored() not in (bridged.first, bridge(bridged))
    assert bridged.simulator.is_alive(bridged.stored())
    assert not bridged.simulator.is_alive(bridged.first)
    assert bridged.simulator.is_alive(bridge(bridged))
    third = on(bridged, 2.1)
    assert third.state is State.COMPLETED, third.message
    assert third.old_token_dead is True
    assert bridged.simulator.is_alive(bridge(bridged))
    assert bridged.rotate_calls == 1
    bridged.assert_audit_holds()


def test_dead_bridge_is_refused_before_anything(bridged: Bench) -> None:
    """A bridge that does not answer would be an outage."""
    bridged.simulator.revoke(bridge(bridged))
    rotation = bridged.rotate()
    assert rotation.state is State.REFUSED
    assert "401" in rotation.message
    assert bridged.stored() == bridged.first


def test_bridge_that_would_be_killed_is_refused(bridged: Bench) -> None:
    """The project's own token is no bridge: rotating kills it."""
    bridged.write_secret(bridged.folder / "bridge.json", bridged.first)
    rotation = bridged.rotate()
    assert rotation.state is State.REFUSED
    assert "very token" in rotation.message


def test_new_token_that_fails_leaves_consumers_on_the_bridge(bridged: Bench) -> None:
    """After the mint there is no way back but the bridge: readers stay on it, and the next run mints again."""
    assert bridged.rotate().state is State.DRAINING
    destination = bridged.wiring.destination(bridged.policy.authoritative)
    real = destination.stage

    def stage(token: Secret, **options: Any) -> object:
        staged = real(token, **options)
        bridged.simulator.revoke(token)
        return staged

    destination.stage = stage  # type: ignore[method-assign, assignment]
    failed = on(bridged, 2.1)
    assert failed.state is State.NEEDS_ATTENTION
    assert bridged.attention == {"verification-failed"}
    assert bridged.stored() == bridge(bridged)
    destination.stage = real  # type: ignore[method-assign]
    again = on(bridged, 0.1)
    assert again.state is State.DRAINING, again.message
    assert bridged.attention == set()
    assert bridged.simulator.is_alive(bridged.stored())
    assert bridged.stored() != bridge(bridged)


def test_provider_away_in_mid_drain_is_no_alarm(bridged: Bench) -> None:
    """A look that cannot be made is made later."""
    assert bridged.rotate().state is State.DRAINING
    destination = bridged.wiring.destination(bridged.policy.authoritative)
    real = destination.read

    def away() -> Any:
        raise Unreachable("The store is away")

    destination.read = away  # type: ignore[method-assign]
    assert on(bridged, 0.5).exit_code in (4, 6)
    destination.read = real  # type: ignore[method-assign]
    assert on(bridged, 2.0).state is State.DRAINING
    assert on(bridged, 2.1).state is State.COMPLETED
