"""A rotation whose lease somebody else has taken: it stops before it writes, and does not wait for what is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rotator.engine import table
from tests.engine.bench import Bench
from tests.engine.test_standby import make_pair, pair

__all__ = ["make_pair", "pair"]  # fixtures


def somebody_takes_the_lease(bench: Bench) -> None:
    """As a process does that finds the lease of one that stood still to be over."""
    journal = bench.wiring.journal
    lease = journal.lease_of(bench.project)
    assert lease is not None
    assert lease.holder is not None
    bench.clock.advance(2e6)
    journal.acquire(bench.policy.projects, replace(lease.holder, id="another"), ttl=5)


def test_token_is_not_staged_under_a_lost_lease(pair: Bench) -> None:
    """The provider's answer comes when the lease is somebody else's: nobody would know of what is staged then."""
    real = pair.wiring.provider.rotate_token

    def rotate_token(project: str) -> object:
        minted = real(project)
        somebody_takes_the_lease(pair)
        return minted

    pair.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    assert pair.rotate().exit_code == 5
    assert pair.wiring.destination(pair.policy.authoritative).read_staged() is None
    pair.assert_served()


@pytest.mark.parametrize(("kind", "steps"), [("bench", table._IN_PLACE), ("pair", table._OVERLAP)])
def test_replaced_token_is_not_waited_for(
    kind: str,
    steps: dict[str, Callable[[Any], Any]],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Readers get what the new holder of the lease wrote: it is not looked at for a minute of propagation."""
    bench: Bench = request.getfixturevalue(kind)
    real = steps["verify"]

    def verify(context: Any) -> Any:
        somebody_takes_the_lease(bench)
        bench.write_secret(bench.secret_file, bench.other_token)
        return real(context)

    monkeypatch.setitem(steps, "verify", verify)
    assert bench.rotate().exit_code == 5
    assert sum(bench.clock.waits) < bench.timings.propagation / 2
