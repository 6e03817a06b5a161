"""Benches of every form, and emergencies on them."""

from __future__ import annotations

from typing import Any

from rotator.clock import Instant
from rotator.model import Emergency, Order, Rotation, Trigger
from rotator.secret import Secret
from tests.engine.bench import Bench

PING_AND_SEND = [{"type": "ping"}, {"type": "send", "from": "rotation@example.com"}]
LONG = {"min": "2h", "quiet": "1h", "max": "1d"}
DRAIN = 300.0
"""Seconds that an emergency drains here at most."""


def furnish(bench: Bench, form: str) -> Bench:
    """Makes the bench's policy one of this form."""
    more: dict[str, Any] = {"strategy": "create-before-revoke", "drain": LONG}
    if form == "in-place":
        more = {}
    elif form == "standby":
        bench.simulator.add_domain(projects=[bench.project, bench.other_project])
        more |= {"standby": {"project": bench.other_project}, "verify": PING_AND_SEND}
    elif form == "bridge":
        place = bench.folder / "bridge.json"
        bench.write_secret(place, bench.simulator.add_token(bench.project))
        more |= {"standby": {"token": {"type": "file", "path": str(place), "format": "json", "key": "token"}}}
    else:
        made = bench.simulator.add_token(bench.project)
        for place in bench.folder.glob("*.json"):
            bench.write_secret(place, made)
        more |= {"strategy": "assisted"}
    bench.document |= more
    bench.policy = bench.load_policy()
    return bench


def bridge_of(bench: Bench) -> Secret:
    return bench.stored(bench.folder / "bridge.json")


def leak(bench: Bench, order: Order = Order.KILL_FIRST, **more: Any) -> Emergency:
    """A leak that is reported now."""
    return Emergency(reported=Instant.read(bench.clock), order=order, drain=DRAIN, **more)


def respond(bench: Bench, emergency: Emergency, leaked: Secret | None = None) -> list[Rotation]:
    return bench.runner.rotate(
        bench.policy, Trigger.EMERGENCY, "it is on a web page", emergency=emergency, leaked=leaked
    )


def kill_first(bench: Bench) -> Rotation:
    return respond(bench, leak(bench))[-1]


def assert_measured(bench: Bench, rotation: Rotation, project: str | None = None) -> None:
    """The exposure's bounds enclose the moment at which the provider's token of that project died."""
    assert rotation.exposure is not None
    assert rotation.emergency is not None
    died = bench.simulator.mints(project or bench.project)[-1].old_dead_from
    truth = rotation.emergency.reported.seconds_until(died)
    assert 0 <= rotation.exposure.min <= truth <= rotation.exposure.max
