"""Whose a leaked token is: which policy, which of its tokens, and whether it is dead already."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rotator.errors import InvalidInput, Refused, Unreachable
from rotator.journal.sqlite import SqliteJournal
from rotator.model import Policy, Slot, State
from rotator.operations.leaked import Leaked, find, unknown
from rotator.secret import Secret
from tests.engine.bench import Bench

SOMEBODYS = Secret("lm_" + "Zz9" * 10 + "Zz")


def look_for(token: Secret, bench: Bench, *policies: Policy, **other: Any) -> Leaked:
    wiring = bench.wiring
    parts: dict[str, Any] = {
        "provider": wiring.provider,
        "destination": wiring.destination,
        "journal": wiring.journal,
        "fingerprints": wiring.fingerprints,
    }
    return find(token, policies or (bench.policy,), **{**parts, **other})


def another(bench: Bench, name: str, project: str, holds: Secret) -> Policy:
    """A second policy with a place of its own."""
    place = bench.folder / f"{name}.json"
    bench.write_secret(place, holds)
    billing = bench.policy.authoritative
    spec = replace(billing, place=f"file:{place}", options={**billing.options, "path": str(place)})
    return replace(bench.policy, name=name, project=project, destinations=(spec,))


def test_what_readers_hold_is_found_without_a_journal_that_knows_it(bench: Bench) -> None:
    """By comparing with the destinations, with an empty journal and even without an audit key."""
    shop = another(bench, "shop", bench.other_project, bench.other_token)
    empty = SqliteJournal.in_memory(bench.clock)
    found = look_for(bench.other_token, bench, bench.policy, shop, journal=empty, fingerprints=None)
    assert found.policy is shop
    assert (found.slot, found.stored, found.alive) == (Slot.ACTIVE, True, True)
    assert "shop.json" in found.shown_by
    assert not found.settled


def test_a_token_that_nobody_knows_is_refused(bench: Bench) -> None:
    """Whether it lives or not; a dead one may be half of a living one, so that is no comfort."""
    dead = look_for(SOMEBODYS, bench)
    assert (dead.policy, dead.alive, dead.settled) == (None, False, True)
    refusal = unknown(dead)
    assert refusal.exit_code == 1
    assert "only a part was copied" in refusal.then
    alive = look_for(bench.other_token, bench)
    assert alive.policy is None
    assert "it is alive" in unknown(alive).happened
    assert "dashboard" in unknown(alive).remedy


def test_a_token_of_a_policy_that_was_not_searched_is_said_to_be(bench: Bench) -> None:
    """The journal knows it for billing, which was not selected: the refusal names it."""
    bench.rotate()
    shop = another(bench, "shop", bench.other_project, bench.other_token)
    found = look_for(bench.stored(), bench, shop)
    assert found.policy is None
    assert "the journal knows it for billing" in unknown(found).happened


@pytest.mark.parametrize(
    ("token", "kind", "said"),
    [
        ("lm_team_" + "A1" * 16, Refused, "make another team token"),
        ("TOKEN=lm_" + "A1" * 16, InvalidInput, "Give the token alone"),
        ("hunter2", InvalidInput, "Give the token alone"),
    ],
)
def test_what_is_no_project_token_is_refused(bench: Bench, token: str, kind: type[Any], said: str) -> None:
    """A team token with how to replace it; anything else as a wrong input; nothing was asked of anybody."""
    with pytest.raises(kind) as caught:
        look_for(Secret(token), bench)
    assert said in caught.value.remedy
    assert bench.simulator.events == ()


def test_a_former_token_is_dead_since_it_was_proved_so(bench: Bench) -> None:
    """The journal tells since when, and as nobody reads it, nothing is left to do."""
    bench.rotate()
    found = look_for(bench.first, bench)
    assert found.policy is bench.policy
    assert (found.stored, found.alive, found.settled) == (False, False, True)
    assert found.dead_since == bench.clock.now()


def test_a_dead_token_that_readers_hold_is_not_settled(bench: Bench) -> None:
    """It is dead already, and there is something to repair."""
    bench.simulator.revoke(bench.first)
    found = look_for(bench.first, bench)
    assert (found.slot, found.stored, found.alive, found.settled) == (Slot.ACTIVE, True, False, False)
    assert found.dead_since is None


def test_both_sides_of_a_drain_are_told_apart(make_bench: Callable[..., Bench]) -> None:
    """The outgoing token is in no store any more: the open rotation knows it."""
    bench = make_bench(verify=[{"type": "ping"}, {"type": "send", "from": "rotation@example.com"}])
    bench.simulator.add_domain(projects=[bench.project, bench.other_project])
    bench.document |= {
        "strategy": "create-before-revoke",
        "standby": {"project": bench.other_project},
        "drain": {"min": "2h", "quiet": "1h", "max": "1d"},
    }
    bench.policy = bench.load_policy()
    assert bench.rotate().state is State.DRAINING
    old, new = look_for(bench.first, bench), look_for(bench.stored(), bench)
    assert (old.slot, old.stored, old.alive) == (Slot.OUTGOING, False, True)
    assert "the open rotation" in old.shown_by
    assert (new.slot, new.stored, new.alive) == (Slot.ACTIVE, True, True)


@pytest.mark.parametrize("standing_on_it", [False, True])
def test_the_bridge_is_known_by_its_own_secret(
    make_bench: Callable[..., Bench], standing_on_it: bool
) -> None:
    """Also while readers stand on it, so that every destination holds it too."""
    bench = make_bench()
    token = bench.simulator.add_token(bench.project)
    place = bench.folder / "bridge.json"
    bench.write_secret(place, token)
    bench.document |= {
        "strategy": "create-before-revoke",
        "standby": {"token": {"type": "file", "path": str(place), "format": "json", "key": "token"}},
        "drain": {"min": "2h", "quiet": "1h", "max": "1d"},
    }
    bench.policy = bench.load_policy()
    if standing_on_it:
        assert bench.rotate().state is State.DRAINING
    found = look_for(token, bench)
    assert (found.slot, found.stored, found.alive) == (Slot.BRIDGE, standing_on_it, True)
    if standing_on_it:
        assert look_for(bench.first, bench).slot is Slot.OUTGOING


def test_a_forgotten_staged_token_is_found(bench: Bench) -> None:
    """No reader has it and no open rotation knows it: the policy's next mint kills it."""
    place = bench.wiring.destination(bench.policy.authoritative)
    place.stage(bench.other_token, rotation="r", base=place.read())
    found = look_for(bench.other_token, bench)
    assert (found.slot, found.stored, found.alive) == (Slot.ACTIVE, False, True)
    assert "staged" in found.shown_by


def test_a_store_that_cannot_be_read_is_named_and_stops_nothing(bench: Bench) -> None:
    """The other policy's token is found; a search in vain says that it may be where nobody could look."""
    shop = another(bench, "shop", bench.other_project, bench.other_token)

    def destination(spec: Any) -> Any:
        if spec.place == shop.authoritative.place:
            raise Unreachable("the store is away")
        return bench.wiring.destination(spec)

    found = look_for(bench.first, bench, shop, bench.policy, destination=destination)
    assert found.policy is bench.policy
    ((where, error),) = found.unread
    assert where == f"shop: {shop.authoritative.ref}"
    assert error.happened == "the store is away"
    lost = look_for(bench.other_token, bench, shop, bench.policy, destination=destination)
    assert lost.policy is None
    assert "in one of the places that could not be read" in unknown(lost).remedy


def test_one_token_in_two_policies_is_decided_by_the_journal_or_by_a_person(bench: Bench) -> None:
    """Killing the wrong project's token would help nobody."""
    shop = another(bench, "shop", bench.other_project, bench.first)
    with pytest.raises(Refused, match="billing, shop") as caught:
        look_for(bench.first, bench, bench.policy, shop)
    assert "Name the one" in caught.value.remedy
    bench.rotate()
    bench.write_secret(bench.folder / "shop.json", bench.stored())
    assert look_for(bench.stored(), bench, bench.policy, shop).policy is bench.policy


def test_a_provider_that_is_away_leaves_it_open_whether_it_lives(bench: Bench) -> None:
    """The search goes on without that answer."""
    bench.simulator.stop()
    found = look_for(bench.first, bench)
    assert found.policy is bench.policy
    assert found.alive is None
    assert json.dumps(found.shown_by).count(bench.first.reveal()) == 0
