"""What an emergency is foreseen to cost: figures in both orders, who goes first, what is overridden."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rotator.clock import Instant
from rotator.errors import InvalidInput, Unreachable
from rotator.journal.base import Hold, Holder
from rotator.journal.sqlite import SqliteJournal
from rotator.model import (
    Attention,
    DestinationSpec,
    Emergency,
    Order,
    Policy,
    ProjectFacts,
    Schedule,
    Slot,
    Strategy,
    Window,
)
from rotator.operations.emergency import Target, order_for
from rotator.operations.forecast import USUAL
from rotator.operations.foresight import Foreseen, Foresight, foresee
from tests.conftest import FakeClock

DRAIN = 300.0


def policy(name: str, **more: Any) -> Policy:
    place = DestinationSpec("file", f"file:/{name}")
    return Policy(name, str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), Strategy.IN_PLACE, (place,), **more)


def pair(name: str) -> Policy:
    return replace(policy(name), strategy=Strategy.CREATE_BEFORE_REVOKE, standby_project=f"standby of {name}")


def facts_of(project: str, **more: Any) -> ProjectFacts:
    return ProjectFacts(
        **{
            "id": project,
            "name": "",
            "smtp_enabled": False,
            "delivery_mode": "live",
            "default_route": None,
            "token_generated_at": None,
            "token_last_used_at": None,
            "token_last_used_ip": None,
            **more,
        }
    )


class Desk:
    """An empty journal, and policies that an emergency is foreseen for."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.journal = SqliteJournal.in_memory(clock)
        self.used: dict[str, str] = {}
        self.away: set[str] = set()

    def facts(self, project: str) -> ProjectFacts:
        if project in self.away:
            raise Unreachable("no answer")
        return facts_of(project, token_last_used_at=self.used.get(project), token_last_used_ip="203.0.113.7")

    def foresee(
        self, *policies: Policy, limit: int = 3, order: Order | None = None, **emergency: Any
    ) -> Foresight:
        reported = Instant.read(self.clock)
        targets = [
            Target(one, Emergency(reported, order or order_for(one, None), DRAIN, **emergency))
            for one in policies
        ]
        return foresee(
            targets, facts=self.facts, journal=self.journal, now=self.clock.now(), rotate_limit=limit
        )


@pytest.fixture
def desk(clock: FakeClock) -> Desk:
    return Desk(clock)


def exposed(found: Foresight, order: Order) -> list[float]:
    return [one.costs[order].exposure for one in found.entries if order in one.costs]


def only(found: Foresight) -> Foreseen:
    (one,) = found.entries
    return one


def test_kill_first_waits_for_the_rate_limit_alone(desk: Desk) -> None:
    """Seven tokens at three mints a minute: three at once, three after a minute, one after two."""
    found = desk.foresee(*(policy(f"p{n}") for n in range(7)))
    assert exposed(found, Order.KILL_FIRST) == [5, 5, 5, 65, 65, 65, 125]
    assert found.ends_at == desk.clock.now() + timedelta(seconds=125)
    assert found.last_starts_at == desk.clock.now() + timedelta(seconds=120)
    assert exposed(found, Order.REPLACE_FIRST) == []


def test_replace_first_pays_two_mints_and_the_drain(desk: Desk) -> None:
    """Four pairs at three mints a minute: the second mint comes when the drain of the first has ended."""
    found = desk.foresee(*(pair(f"p{n}") for n in range(4)))
    assert exposed(found, Order.REPLACE_FIRST) == [310, 310, 310, 370]
    assert exposed(found, Order.KILL_FIRST) == [5, 5, 5, 65]
    assert {one.order for one in found.entries} == {Order.REPLACE_FIRST}
    assert {one.cost.outage for one in found.entries} == {0.0}


def test_mints_of_the_last_minute_count(desk: Desk) -> None:
    """Another process took both slots half a minute ago: nothing goes before the minute is over."""
    for _ in range(2):
        assert desk.journal.take_slot("rotate", limit=2, window=60) == 0
    desk.clock.advance(30)
    assert exposed(desk.foresee(policy("a"), limit=2), Order.KILL_FIRST) == [30 + USUAL]


def test_the_dead_go_first_then_those_used_last(desk: Desk) -> None:
    """What readers hold is dead: that one first. Then by the last use, then those never used."""
    never, long_ago, just_now, dead = (policy(name) for name in ("never", "long-ago", "just-now", "dead"))
    desk.used = {
        long_ago.project: "2026-11-20T12:00:00Z",
        just_now.project: "2026-11-21T11:59:59Z",
        dead.project: "not a time",
    }
    desk.journal.raise_attention(Attention("dead", "token-dead", desk.clock.now(), "it is dead", ""))
    found = desk.foresee(never, long_ago, just_now, dead)
    assert [one.policy.name for one in found.entries] == ["dead", "just-now", "long-ago", "never"]
    assert [one.target.dead for one in found.entries] == [True, False, False, False]


def test_an_unreachable_provider_stops_no_preview(desk: Desk) -> None:
    """What it would have told is left out, with the reason."""
    away = policy("away")
    desk.away = {away.project}
    one = only(desk.foresee(away))
    assert one.facts is None
    assert one.error is not None
    assert one.error.happened == "no answer"


def test_holds_windows_and_others_at_work_are_named(desk: Desk) -> None:
    """Each of what would stop an ordinary rotation, with who it is."""
    window = Window(days=(6,), start=0, end=60)  # Sunday, and now it is Saturday
    one = policy("held", schedule=Schedule(every=timedelta(days=1), window=window))
    desk.journal.hold(Hold("held", desk.clock.now(), "ann@desk", "moving house"))
    holder = Holder("other", "host", "boot", 1, "1", "ns", "rotator run on cron-7")
    desk.journal.acquire((one.project,), holder, ttl=15)
    told = only(desk.foresee(one)).overridden
    assert told == (
        "it is held by ann@desk (moving house)",
        "rotator run on cron-7 is at work on it, and is pre-empted",
        "now is outside its window, Sun 00:00-01:00 UTC",
    )
    desk.clock.advance(16)
    assert "pre-empted" not in " ".join(only(desk.foresee(one)).overridden)


def test_no_outage_is_promised_that_nobody_measured(desk: Desk) -> None:
    """In place without a past: not known. Killing only: not known, because mail stops. A pair that kills first:
    at most as long as its work."""
    assert only(desk.foresee(policy("a"))).cost.outage is None
    stopped = only(desk.foresee(pair("b"), order=Order.KILL_FIRST, kill_only=True))
    assert stopped.cost.outage is None
    assert "mail stops" in stopped.cost.outage_from
    assert set(stopped.costs) == {Order.KILL_FIRST}
    killed = only(desk.foresee(pair("b"), order=Order.KILL_FIRST))
    assert killed.cost.outage == USUAL
    assert "no rotation of it has completed yet" in killed.cost.outage_from


def test_the_outgoing_token_dies_at_once_and_costs_no_outage(desk: Desk) -> None:
    """Readers hold another one: there is one order only, one mint and no drain."""
    one = only(desk.foresee(pair("a"), order=Order.KILL_FIRST, slot=Slot.OUTGOING))
    assert set(one.costs) == {Order.KILL_FIRST}
    assert (one.cost.outage, one.cost.exposure) == (0.0, USUAL)


def test_what_only_a_person_can_do_is_told(desk: Desk) -> None:
    """The bridge is revoked in the dashboard; tokens of `assisted` are made there."""
    bridge = only(desk.foresee(pair("a"), slot=Slot.BRIDGE))
    assert "revoke it in the Lettermint dashboard" in bridge.by_hand
    assisted = only(desk.foresee(replace(policy("b"), strategy=Strategy.ASSISTED)))
    assert "rotator stage b" in assisted.by_hand
    assert only(desk.foresee(policy("c"))).by_hand == ""


def test_each_policy_takes_the_order_its_strategy_allows() -> None:
    """Replace-first where tokens can overlap; never for what has no overlap, whatever was asked for."""
    in_place, overlapping = policy("a"), pair("b")
    assert order_for(in_place, None) is Order.KILL_FIRST
    assert order_for(overlapping, None) is Order.REPLACE_FIRST
    assert order_for(overlapping, Order.KILL_FIRST) is Order.KILL_FIRST
    assert order_for(overlapping, None, Slot.OUTGOING) is Order.KILL_FIRST
    assert order_for(overlapping, None, kill_only=True) is Order.KILL_FIRST
    with pytest.raises(InvalidInput, match="a cannot replace first") as caught:
        order_for(in_place, Order.REPLACE_FIRST)
    assert caught.value.exit_code == 2


def test_looking_takes_no_slot_and_writes_nothing(desk: Desk) -> None:
    """A preview may be looked at as often as one likes."""
    first = desk.foresee(*(policy(f"p{n}") for n in range(5))).view()
    assert desk.foresee(*(policy(f"p{n}") for n in range(5))).view() == first
    assert desk.journal.rotations() == []
    assert desk.journal.take_slot("rotate", limit=1, window=60) == 0
