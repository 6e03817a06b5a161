"""Shows on standard error what a rotation is doing: lines, or one changing line per policy."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rotator.cli.output import clean, say

if TYPE_CHECKING:
    from rich.table import Table

    from rotator.engine.context import Progress


log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Sees every line of progress. Called from several threads."""

    def __call__(self, progress: Progress) -> None: ...

    def tell(self, text: str) -> None:
        """A line about the whole command; may be called from a signal handler."""
        ...


@contextmanager
def watching() -> Iterator[Watcher]:
    """A watcher for as long as work goes on."""
    if not (sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        yield Lines()
        return
    live = LiveLines()
    with live.shown():
        yield live


class Lines:
    """`policy: text`, a line at a time: for logs, pipes and simple terminals. What was said is not said again."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}

    def __call__(self, progress: Progress) -> None:
        if self._latest.get(progress.policy) != progress.text:
            self._latest[progress.policy] = progress.text
            say(f"{progress.policy}: {progress.text}")

    def tell(self, text: str) -> None:
        # Not through the stream: its lock may be held by what the signal interrupted.
        os.write(2, f"{text}\n".encode())


class LogLines:
    """Progress of the daemon: to the log, for whoever asks for debug."""

    def __call__(self, progress: Progress) -> None:
        log.debug("%s: %s", progress.policy, progress.text)


class LiveLines:
    """One line per policy, with what it does now and for how long. For a terminal."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._latest: dict[str, tuple[str, str, float]] = {}
        """By policy: step, text, and when that policy was first heard of."""
        self._notice = ""

    def __call__(self, progress: Progress) -> None:
        with self._lock:
            began = self._latest.get(progress.policy, ("", "", time.monotonic()))[2]
            self._latest[progress.policy] = (progress.step, clean(progress.text), began)

    def tell(self, text: str) -> None:
        self._notice = text  # drawn with the next picture; nothing is locked in a signal handler

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draws until the work ends, then leaves nothing behind: the result says it all."""
        from rich.console import Console  # noqa: PLC0415  # loaded only where there is something to draw
        from rich.live import Live  # noqa: PLC0415

        console = Console(stderr=True, highlight=False, soft_wrap=False)
        live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
        )
        # The thread that draws inherits the mask: a signal must reach the main thread.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            live.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        try:
            yield
        finally:
            live.stop()

    def _draw(self) -> Table:
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 2))
        table.add_column(overflow="fold", max_width=30)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        table.expand = True
        with self._lock:
            for policy, (step, text, began) in self._latest.items():
                seconds = f"{time.monotonic() - began:.0f} s"
                table.add_row(Text(policy, "bold"), Text(step, "cyan"), Text(text), Text(seconds, "dim"))
        if self._notice:
            table.add_row(Text("stopping", "yellow"), Text(""), Text(self._notice), Text(""))
        return table
