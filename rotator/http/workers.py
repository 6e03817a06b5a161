"""A few threads in which the board is asked, so that a slow answer keeps nothing else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")

_IDLE_SECONDS: Final = 30.0


class Overloaded(Exception):
    """All threads are busy and enough others wait already."""


class Workers:
    """At most `threads` calls at once and `waiting` more in line. The threads do not keep a process alive."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._name = name
        self._line: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._threads = threads
        self._waiting = waiting
        self._started = 0
        self._idle = 0

    async def call(self, work: Callable[[], T], seconds: float) -> T:
        """The result of `work`. Raises what it raises, TimeoutError after `seconds`, or Overloaded at once.

        After a time-out work that was begun goes on in its thread, and its place is free again only when it ends; what
        was still in line holds none.
        """
        future: Future[T] = Future()
        with self._changed:
            self._line = deque(one for one in self._line if not one[0].cancelled())
            # What is in line already will take the idle ones.
            if len(self._line) >= self._idle and self._started < self._threads:
                self._started += 1
                threading.Thread(target=self._run, name=f"http-{self._name}", daemon=True).start()
            if len(self._line) >= self._waiting:
                raise Overloaded
            self._line.append((future, work))
            self._changed.notify()
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                came = self._changed.wait_for(lambda: self._line, _IDLE_SECONDS)
                self._idle -= 1
                if not came:
                    self._started -= 1
                    return
                future, work = self._line.popleft()
            # False: the caller gave up while this was waiting in line.
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  # the caller's to judge; the thread goes on
                with contextlib.suppress(Exception):
                    future.set_exception(error)
            else:
                with contextlib.suppress(Exception):
                    future.set_result(result)
