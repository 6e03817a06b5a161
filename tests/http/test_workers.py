"""The threads in which the board is asked."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

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
    """A call given up while in line is dropped; one too many is refused at once."""
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
        gate.set()
        assert await first
        while "fourth" not in begun:
            # What was given up leaves the line when the thread comes to it.
            await asyncio.sleep(0.01)
            with contextlib.suppress(Overloaded):
                await workers.call(lambda: begun.append("fourth"), 10)

    asyncio.run(asyncio.wait_for(crowd(), 60))
    assert begun == ["fourth"]


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
