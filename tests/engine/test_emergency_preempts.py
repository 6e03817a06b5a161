"""An emergency takes a policy from a living process, at every step, and that process finds out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from rotator.model import Order, Rotation, State, Trigger
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.emergencies import DRAIN, furnish, leak, respond
from tests.engine.test_emergency_faults import calls_of
from tests.engine.test_resumption import run


def interrupt_at(bench: Bench, number: int, happens: Callable[[], None]) -> None:
    """At the call of this number to the outside the process stands still, and something happens meanwhile.

    A call of rotate-token is answered first: one that is executed after its deadline cannot be kept from it.
    """
    count = [0]

    def guard(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **options: Any) -> object:
            count[0] += 1
            now = count[0] == number
            if now and name != "rotate_token":
                happens()
            answer = real(*arguments, **options)
            if now and name == "rotate_token":
                happens()
            return answer

        return call

    for port, name in calls_of(bench):
        setattr(port, name, guard(name, getattr(port, name)))


_COUNTED = {"in-place": 14, "standby": 24, "bridge": 15}
"""Calls to the outside that an undisturbed `rotate` makes until it ends or drains; a test below counts them."""
_CALLS = {
    ("in-place", Order.KILL_FIRST): 1,
    ("standby", Order.KILL_FIRST): 1,
    ("standby", Order.REPLACE_FIRST): 2,
    ("bridge", Order.KILL_FIRST): 1,
}
"""How many calls to the outside lie from one moment to the next, so that the suite stays short."""


@pytest.mark.one_in(3, 65)
@pytest.mark.parametrize(
    ("form", "order", "number"),
    [
        pytest.param(form, order, number, id=f"{form}-{order}-{number}")
        for (form, order), apart in _CALLS.items()
        for number in range(1, _COUNTED[form] + 1, apart)
    ],
)
def test_emergency_takes_over_at_every_step(bench: Bench, form: str, order: Order, number: int) -> None:
    """Two processes over one journal: the leaked token is dead, readers hold a living one, the loser exits 5 and
    says that an emergency took over."""
    furnish(bench, form)
    loser, emergencies = bench.runner, list[list[Rotation]]()
    leaked: list[Secret] = []

    def emergency() -> None:
        leaked.append(bench.stored())
        bench.new_process()
        emergencies.append(respond(bench, leak(bench, order)))

    interrupt_at(bench, number, emergency)
    lost = loser.rotate(bench.policy, Trigger.MANUAL, "usual")[-1]
    assert emergencies, "the rotation makes fewer calls"
    assert lost.exit_code == 5, lost.message
    assert "an emergency" in lost.message
    for _ in range(8):
        bench.clock.advance(max(DRAIN, 1800.0) + 1)
        run(bench)
    # Of the bridge only a person can say that it is revoked.
    on_bridge = form == "bridge" and leaked[0] == bench.stored(bench.folder / "bridge.json")
    if not on_bridge:
        assert not bench.simulator.is_alive(leaked[0])
        assert bench.wiring.journal.unfinished() == []
        assert bench.attention == set()
    bench.assert_served()
    bench.assert_audit_holds()


@pytest.mark.parametrize("form", _COUNTED)
def test_every_call_is_counted(bench: Bench, form: str) -> None:
    """The suite above would pass over steps if a rotation made more calls than it knows of."""
    furnish(bench, form)
    ended = [False]
    interrupt_at(bench, _COUNTED[form], lambda: ended.__setitem__(0, True))
    beyond = [False]
    interrupt_at(bench, _COUNTED[form] + 1, lambda: beyond.__setitem__(0, True))
    bench.runner.rotate(bench.policy, Trigger.MANUAL, "usual")
    assert (ended, beyond) == ([True], [False])


def test_mint_in_flight_is_waited_for(bench: Bench) -> None:
    """The holder's call has been sent: it gets to publish before the lease is taken, and no second mint follows."""
    sent, answered, published = threading.Event(), threading.Event(), threading.Event()
    real = bench.wiring.provider.rotate_token
    destination = bench.wiring.destination(bench.policy.authoritative)
    publish = destination.publish
    rotations: list[Rotation] = []

    def in_flight(project: str) -> object:
        sent.set()
        assert answered.wait(20)
        return real(project)

    def note(*arguments: Any, **options: Any) -> object:
        written = publish(*arguments, **options)
        published.set()
        return written

    bench.wiring.provider.rotate_token = in_flight  # type: ignore[method-assign, assignment]
    destination.publish = note  # type: ignore[method-assign, assignment]
    loser = bench.runner
    holder = threading.Thread(
        target=lambda: rotations.extend(loser.rotate(bench.policy, Trigger.MANUAL, "usual"))
    )
    holder.start()
    assert sent.wait(20)
    bench.new_process()
    wait, waited = bench.clock.wait, list[float]()

    def let_it_answer(seconds: float, stop: threading.Event | None = None) -> bool:
        waited.append(seconds)
        answered.set()
        assert published.wait(20)
        return wait(seconds, stop)

    bench.clock.wait = let_it_answer  # type: ignore[method-assign]
    emergency = respond(bench, leak(bench))
    holder.join(20)
    assert waited
    assert emergency[-1].old_token_dead is True, emergency[-1].message
    assert emergency[-1].state is State.COMPLETED, emergency[-1].message
    assert rotations
    bench.assert_served()
    assert not bench.simulator.is_alive(bench.first)


def test_silent_holder_is_not_waited_for(bench: Bench) -> None:
    """A holder without a heartbeat keeps nobody: its call's deadline is the recovery's to wait for."""
    furnish(bench, "in-place")
    lease = bench.wiring.journal.acquire(bench.policy.projects, bench.wiring.holder, ttl=5.0)
    bench.clock.advance(6)
    assert lease.epochs
    assert respond(bench, leak(bench))[-1].state is State.COMPLETED
