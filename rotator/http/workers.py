"""A few threads in which the board is asked, so that a slow answer keeps nothing else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
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
        self._queue: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue(waiting)
        self._lock = threading.Lock()
        self._threads = threads
        self._started = 0
        self._idle = 0

    async def call(self, work: Callable[[], T], seconds: float) -> T:
        """The result of `work`. Raises what it raises, TimeoutError after `seconds`, or Overloaded at once.

        After a time-out the work goes on in its thread, and a place is free again only when it ends.
        """
        future: Future[T] = Future()
        with self._lock:
            # What is in line already will take the idle ones.
            if self._queue.qsize() >= self._idle and self._started < self._threads:
                self._started += 1
                threading.Thread(target=self._run, name=f"http-{self._name}", daemon=True).start()
            try:
                self._queue.put_nowait((future, work))
            except queue.Full:
                raise Overloaded from None
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                future, work = self._queue.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    # Work is put in line under this lock, so none can come unseen.
                    if self._queue.empty():
                        self._started -= 1
                        return
                continue
            with self._lock:
                self._idle -= 1
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
