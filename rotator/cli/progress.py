"""Shows on standard error what a rotation is doing: lines, or one changing line per policy."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from rotator.cli.output import clean, say
from rotator.cli.render import STYLES

if TYPE_CHECKING:
    from rich.table import Table

    from rotator.engine.context import Progress


log = logging.getLogger(__name__)

FEW: Final = 3
"""Up to so many policies have as many lines as they need."""


class Watcher(Protocol):
    """Sees every line of progress. Called from several threads."""

    def __call__(self, progress: Progress) -> None: ...

    def tell(self, text: str) -> None:
        """A line about the whole command; may be called from a signal handler."""
        ...

    def ended(self, policy: str, state: str, text: str) -> None:
        """A policy came to its rest."""
        ...


@contextmanager
def watching(expected: Mapping[str, datetime] = MappingProxyType({})) -> Iterator[Watcher]:
    """A watcher for as long as work goes on. `expected` tells, of policies that are known beforehand, when each
    will have ended: they are shown while they wait, too."""
    if not (sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        yield Lines(expected)
        return
    live = LiveLines(expected)
    with live.shown():
        yield live


def tell(text: str) -> None:
    """A line on standard error, from a signal handler too."""
    # Not through the stream: its lock may be held by what the signal interrupted.
    os.write(2, f"{text}\n".encode())


class Lines:
    """`policy: text`, a line at a time: for logs, pipes and simple terminals. What was said is not said again."""

    def __init__(self, expected: Mapping[str, datetime] = MappingProxyType({})) -> None:
        self._expected = dict(expected)
        self._latest: dict[str, str] = {}

    def __call__(self, progress: Progress) -> None:
        if self._latest.get(progress.policy) == progress.text:
            return
        self._latest[progress.policy] = progress.text
        ends = self._expected.pop(progress.policy, None)  # said once
        say(f"{progress.policy}: {progress.text}{f' (ends about {ends:%H:%M:%S} UTC)' if ends else ''}")

    def tell(self, text: str) -> None:
        tell(text)

    def ended(self, policy: str, state: str, text: str) -> None:
        say(f"{policy}: {state}: {text}")


class LogLines:
    """Progress of the daemon: to the log, for whoever asks for debug."""

    def __call__(self, progress: Progress) -> None:
        log.debug("%s: %s", progress.policy, progress.text)


class LiveLines:
    """One line per policy, with what it does now and for how long. For a terminal."""

    def __init__(self, expected: Mapping[str, datetime] = MappingProxyType({})) -> None:
        self._lock = threading.RLock()
        self._expected = dict(expected)
        self._over: dict[str, tuple[str, str]] = {}
        """By policy: the state it rests in, and what that means."""
        self._latest: dict[str, tuple[str, str, float]] = {}
        """By policy: step, text, and when that policy was first heard of."""
        self._notice = ""

    def __call__(self, progress: Progress) -> None:
        with self._lock:
            began = self._latest.get(progress.policy, ("", "", time.monotonic()))[2]
            self._latest[progress.policy] = (progress.step, clean(progress.text), began)
            self._over.pop(progress.policy, None)

    def ended(self, policy: str, state: str, text: str) -> None:
        with self._lock:
            self._over[policy] = (state, clean(text))

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
        # Of many, each gets one line: what is cut off here stands in the report.
        many = max(len(self._expected), len(self._latest)) > FEW
        table.add_column(no_wrap=many, overflow="ellipsis" if many else "fold", max_width=24 if many else 30)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, no_wrap=many, overflow="ellipsis" if many else "fold")
        table.add_column(justify="right", no_wrap=True)
        table.expand = True
        with self._lock:
            if self._expected or many:
                table.add_row(Text("in all", "bold"), *(Text(part) for part in self._total()))
            for policy, (step, text, began) in self._in_order(at_rest_last=many):
                seconds = f"{time.monotonic() - began:.0f} s"
                ends = self._expected.get(policy)
                when = f"ends {ends:%H:%M:%S}" if ends else seconds
                table.add_row(Text(policy, "bold"), Text(step, "cyan"), Text(text), Text(when, "dim"))
            for policy, ends in self._expected.items():
                if policy not in self._latest and policy not in self._over:
                    ends_at = Text(f"ends {ends:%H:%M:%S}", "dim")
                    table.add_row(Text(policy, "dim"), Text("waits", "dim"), Text(""), ends_at)
            # Last, because a terminal that is too low cuts off the end.
            for policy, (state, text) in self._over.items():
                table.add_row(Text(policy, "bold"), Text(state, STYLES.get(state, "")), Text(text), Text(""))
        if self._notice:
            table.add_row(Text("stopping", "yellow"), Text(""), Text(self._notice), Text(""))
        return table

    def _in_order(self, *, at_rest_last: bool) -> list[tuple[str, tuple[str, str, float]]]:
        """What was heard of the policies that are not over. Those without a step have nothing left to do: of many
        they would push what is at work off a terminal's end."""
        heard = [(policy, told) for policy, told in self._latest.items() if policy not in self._over]
        return sorted(heard, key=lambda entry: not entry[1][0]) if at_rest_last else heard

    def _total(self) -> tuple[str, str, str]:
        if not self._expected:
            over = sum(1 for step, _, _ in self._latest.values() if not step)
            return ("", f"{over} ended, {len(self._latest) - over} at work", "")
        over = sum(1 for policy in self._expected if policy in self._over)
        begun = sum(1 for policy in self._expected if policy in self._latest and policy not in self._over)
        waits = len(self._expected) - over - begun
        last = max(self._expected.values())
        return ("", f"{over} ended, {begun} at work, {waits} wait", f"ends {last:%H:%M:%S} UTC")
