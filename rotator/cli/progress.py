"""Shows on standard error what a rotation is doing: lines, or one changing line per policy."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, TextIO, cast

from rotator.cli.output import clean, say
from rotator.cli.render import STYLES
from rotator.engine.states import MINT_PUBLISH

if TYPE_CHECKING:
    from rich.console import Console, Group

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
        self._at_rest: set[str] = set()
        """Policies whose rotation has no step left."""
        self._notice = ""

    def __call__(self, progress: Progress) -> None:
        with self._lock:
            began = self._latest.get(progress.policy, ("", "", time.monotonic()))[2]
            # At its end a rotation has no step left; what it was doing last stands on.
            step = progress.step or self._latest.get(progress.policy, ("", "", 0.0))[0]
            self._latest[progress.policy] = (step, clean(progress.text), began)
            self._at_rest.discard(progress.policy)
            if not progress.step:
                self._at_rest.add(progress.policy)
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

        console = Console(file=sys.stderr, highlight=False, soft_wrap=False)
        live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        # The thread that draws inherits the mask: a signal must reach the main thread.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            live.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        above = _Above(console, sys.stderr)
        try:
            with redirect_stderr(cast("TextIO", above)):
                yield
        finally:
            live.stop()
            above.close()

    def _draw(self) -> Group:
        from rich.console import Group  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 2))
        # Of many, each gets one line: what is cut off here stands in the report.
        many = max(len(self._expected), len(self._latest)) > FEW
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
        table.add_column(no_wrap=True, min_width=len(MINT_PUBLISH.name))  # else the columns jump at each step
        table.add_column(ratio=1, no_wrap=many, overflow="ellipsis" if many else "fold")
        table.add_column(justify="right", no_wrap=True)
        table.expand = True
        heads: list[Text] = []
        with self._lock:
            if self._expected or many:
                heads.append(Text.assemble(("in all", "bold"), f"  {self._total()}"))
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
            heads.insert(0, Text(self._notice, "yellow"))
        return Group(*heads, table)

    def _in_order(self, *, at_rest_last: bool) -> list[tuple[str, tuple[str, str, float]]]:
        """What was heard of the policies that are not over. Those without a step have nothing left to do: of many
        they would push what is at work off a terminal's end."""
        heard = [(policy, told) for policy, told in self._latest.items() if policy not in self._over]
        return sorted(heard, key=lambda entry: entry[0] in self._at_rest) if at_rest_last else heard

    def _total(self) -> str:
        if not self._expected:
            over = len(self._at_rest)
            return f"{over} ended, {len(self._latest) - over} at work"
        over = sum(1 for policy in self._expected if policy in self._over)
        begun = sum(1 for policy in self._expected if policy in self._latest and policy not in self._over)
        counts = {"ended": over, "at work": begun, "waiting": len(self._expected) - over - begun}
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"{told}; all ended about {max(self._expected.values()):%H:%M:%S} UTC"


class _Above:
    """Standard error while something is drawn at the bottom of the terminal: whole lines above it, as they are.

    Rich's own stand-in breaks them at the width of the terminal, and then nobody can read an audit event back.
    """

    def __init__(self, console: Console, stream: TextIO) -> None:
        self._console = console
        self._stream = stream
        self._lock = threading.Lock()
        self._begun = ""

    def write(self, text: str) -> int:
        from rich.text import Text  # noqa: PLC0415

        with self._lock:
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._console.print(Text.from_ansi(lines), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """A line is shown when it is whole."""

    def close(self) -> None:
        """Shows what did not end in a line."""
        if self._begun:
            self.write("\n")

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
