"""A bench of each form, as new or rotated once to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rotator.model import Rotation, State
from rotator.operations import draining
from tests.engine.bench import Bench
from tests.engine.test_resumption import run

HOUR = 3600.0
FORMS = ("in-place", "two-places", "standby", "bridge", "assisted")
SEND = {"type": "send", "from": "rotation@example.com"}
DRAIN = {"min": "2h", "quiet": "1h", "max": "1d"}
ROUNDS = 20
"""Looks, half an hour apart, after which any rotation must have come to its end."""


def bench_of(form: str, make_bench: Callable[..., Bench], **options: Any) -> Bench:
    """One policy of the form, its token stored and alive."""
    if form == "two-places":
        options.setdefault("followers", ("second.json",))
    bench = make_bench(**options)
    if form == "standby":
        bench.simulator.add_domain(projects=[bench.project, bench.other_project])
        bench.document |= {
            "strategy": "create-before-revoke",
            "standby": {"project": bench.other_project},
            "verify": [{"type": "ping"}, SEND],
            "drain": DRAIN,
        }
    elif form == "bridge":
        place = bench.folder / "bridge.json"
        bench.write_secret(place, bench.simulator.add_token(bench.project))
        token = {"type": "file", "path": str(place), "format": "json", "key": "token"}
        bench.document |= {"strategy": "create-before-revoke", "standby": {"token": token}, "drain": DRAIN}
    elif form == "assisted":
        bench.document |= {"strategy": "assisted", "drain": DRAIN}
    bench.policy = bench.load_policy()
    return bench


def begun(bench: Bench) -> Rotation:
    """A person's rotation, or hand-made token, until it rests for the first time."""
    if bench.document["strategy"] == "assisted":
        made = bench.simulator.add_token(bench.project)
        return draining.stage(bench.runner, bench.policy, made, "made in the dashboard")
    return bench.rotate()


def ended(bench: Bench, rotation: Rotation) -> Rotation:
    """The rotation at its end, by runs of an hourly cron job; what a person has to revoke is revoked."""
    if bench.document["strategy"] == "assisted":
        bench.simulator.revoke(bench.first)
    for _ in range(ROUNDS):
        if not rotation.unfinished:
            return rotation
        bench.clock.advance(HOUR / 2)
        outcome = run(bench)
        rotation = next((one for one in outcome.rotations if one.id == rotation.id), rotation)
    raise AssertionError(f"{rotation.state} at {rotation.step}: {rotation.message}")


def rotated(form: str, make_bench: Callable[..., Bench], **options: Any) -> Bench:
    """The same after one rotation, with nothing left that anybody must look at."""
    bench = bench_of(form, make_bench, **options)
    rotation = ended(bench, begun(bench))
    assert rotation.state is State.COMPLETED, rotation.message
    bench.clock.advance(60)
    assert run(bench).exit_code == 0
    assert bench.attention == set()
    return bench
