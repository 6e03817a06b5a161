"""`rotator serve`."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from rotator.cli import signals
from rotator.cli.output import say
from rotator.cli.session import Session

if TYPE_CHECKING:
    from rotator.daemon.loop import Daemon

log = logging.getLogger(__name__)


def serve(session: Session) -> int:
    """Rotate what is due, for as long as it runs.

    The daemon: looks at every policy in time, goes on with what is unfinished, reads changed policy files
    again (also on SIGHUP). SIGTERM ends it after the steps at hand; whatever ends it, any other command or the
    next daemon takes up what it left.
    """
    wiring = session.wiring("team_token")
    from rotator.cli.progress import LogLines  # noqa: PLC0415
    from rotator.daemon.loop import Daemon  # noqa: PLC0415  # only the daemon loads a scheduler
    from rotator.daemon.reload import PolicyFiles  # noqa: PLC0415
    from rotator.daemon.ticker import Ticker  # noqa: PLC0415
    from rotator.policies.cron import next_after  # noqa: PLC0415

    session.observer = LogLines()
    daemon = Daemon(
        wiring.runner,
        wiring.ports,
        PolicyFiles(wiring.settings.policies, wiring.policies),
        next_after,
        session.stop,
        lease=wiring.settings.lease,
    )
    ticker = Ticker(daemon.tick)
    with signals.stopping(session.stop, _tell), _reloading(daemon):
        log.info("serving %d policies", len(daemon.policies))
        ticker.start()
        try:
            session.stop.requested.wait()
        finally:
            ticker.stop()
            daemon.stop()
    log.info("stopped; what was begun is in the journal")
    return 128 + session.stop.signal_number


def _tell(text: str) -> None:
    say(text)


@contextmanager
def _reloading(daemon: Daemon) -> Iterator[None]:
    """SIGHUP has the policy files read again."""

    def asked(_number: int, _frame: FrameType | None) -> None:
        daemon.ask_to_reload()

    former = signal.signal(signal.SIGHUP, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, former)
