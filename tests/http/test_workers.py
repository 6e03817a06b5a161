"""The threads in which the board is asked."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rotator.http import workers as workers_module
from rotator.http.workers import Overloaded, Workers


def test_a_call_does_not_wait_while_a_thread_may_begin():
    """Two calls made at once run at once, also when one idle thread was there before."""
    meet = threading.Barrier(2)

    async def both() -> list[int]:
        workers = Workers("test", 2, 4)
        await workers.call(lambda: None, 5)
        return await asyncio.gather(*(workers.call(lambda: meet.wait(5), 10) for _ in range(2)))

    assert sorted(asyncio.run(both())) == [0, 1]


def test_what_nobody_waits_for_is_not_begun():
    """A call given up while in line is dropped, and its place is free at once; one too many is refused at once."""
    gate = threading.Event()
    begun: list[str] = []

    async def crowd() -> None:
        workers = Workers("test", 1, 1)
        first = asyncio.ensure_future(workers.call(lambda: gate.wait(5), 10))
        await asyncio.sleep(0.1)
        second = asyncio.ensure_future(workers.call(lambda: begun.append("second"), 0.2))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await workers.call(lambda: begun.append("third"), 10)
        with pytest.raises(TimeoutError):
            await second
        fourth = asyncio.ensure_future(workers.call(lambda: begun.append("fourth"), 10))
        await asyncio.sleep(0)
        assert not fourth.done()
        gate.set()
        assert await first
        await fourth

    asyncio.run(crowd())
    assert begun == ["fourth"]


def test_a_thread_with_nothing_to_do_ends(monkeypatch: pytest.MonkeyPatch):
    """And the next call is given another one."""
    monkeypatch.setattr(workers_module, "_IDLE_SECONDS", 0.05)

    async def twice() -> list[str]:
        workers = Workers("of-this-test", 1, 1)
        first = await workers.call(threading.current_thread, 5)
        await asyncio.to_thread(first.join, 60)
        assert not first.is_alive()
        return [first.name, await workers.call(lambda: threading.current_thread().name, 5)]

    assert asyncio.run(twice()) == ["http-of-this-test"] * 2


def test_errors_reach_the_caller():
    """And the thread goes on."""

    def wrong() -> None:
        raise ValueError("wrong")

    async def twice() -> int:
        workers = Workers("test", 1, 1)
        with pytest.raises(ValueError, match="wrong"):
            await workers.call(wrong, 5)
        return await workers.call(lambda: 7, 5)

    assert asyncio.run(twice()) == 7
