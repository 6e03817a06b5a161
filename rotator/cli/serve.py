"""`rotator serve`."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

from rotator.cli import signals
from rotator.cli.session import Session
from rotator.errors import InvalidInput

if TYPE_CHECKING:
    from rotator.daemon.loop import Daemon
    from rotator.interrupt import Stop

log = logging.getLogger(__name__)

GIVE_UP_SECONDS: Final = 5.0
"""Of the grace, for what is given up to be written down and for the HTTP port to close."""
REAP_SECONDS: Final = 1.0
"""Between two looks for children that have ended, where this is the first process of a container."""
NOTICE_SECONDS: Final = 1.0
"""What is given at the end to telling what the shutdown has brought; the rest waits for the next process."""
HTTP_SECONDS: Final = 2.0
"""How long answers that are under way are waited for at the end."""


def serve(session: Session) -> int:
    """Rotate what is due, for as long as it runs.

    The daemon: looks at every policy in time, goes on with what is unfinished, reads changed policy files
    again (also on SIGHUP). SIGTERM ends it after the steps at hand; whatever ends it, any other command or the
    next daemon takes up what it left.
    """
    wiring = session.wiring("team_token")
    settings = wiring.settings
    token = settings.api_token.get if settings.api_token.configured else None
    if token is not None:
        token()  # what is wrong with it is told before anything is started
    if token is None and not settings.listen.loopback:
        raise InvalidInput(
            f"ROTATOR_LISTEN is {settings.listen.host}, which other machines can reach, and there is no "
            "ROTATOR_API_TOKEN",
            then="Nothing was started",
            remedy="Set ROTATOR_API_TOKEN_FILE, or listen on 127.0.0.1",
        )
    from rotator.cli.progress import LogLines, tell  # noqa: PLC0415
    from rotator.daemon.board import DaemonBoard  # noqa: PLC0415
    from rotator.daemon.loop import Daemon  # noqa: PLC0415  # only the daemon loads a scheduler
    from rotator.daemon.notices import Teller  # noqa: PLC0415
    from rotator.daemon.reload import PolicyFiles  # noqa: PLC0415
    from rotator.daemon.ticker import Ticker  # noqa: PLC0415
    from rotator.http.app import make_app  # noqa: PLC0415
    from rotator.http.metrics import Metrics  # noqa: PLC0415
    from rotator.http.server import HttpServer  # noqa: PLC0415
    from rotator.policies.cron import next_after  # noqa: PLC0415

    wiring.stays = True
    metrics = Metrics()
    wiring.provider_called, wiring.audit_failed = metrics.provider_called, metrics.audit_failed

    wiring.notified = lambda one: metrics.notified(one.type, "failed" if one.error else "sent")
    session.observer = LogLines()
    daemon = Daemon(
        wiring.runner,
        wiring.ports,
        PolicyFiles(wiring.settings.policies, wiring.policies),
        next_after,
        session.stop,
        lease=settings.lease,
        rotate_limit=settings.rotate_limit,
        ended=metrics.rotation_ended,
        loaded=metrics.policies_loaded,
        rehearsed=metrics.rehearsed,
    )
    board = DaemonBoard(daemon, wiring.runner, wiring.journal, wiring.clock, next_after)
    app = make_app(board, metrics, token, open_to_network=not settings.listen.loopback, clock=wiring.clock)
    server = HttpServer(app, settings.listen)
    ticker = Ticker(daemon.tick)
    teller = Teller(wiring.notifications, lambda: daemon.policies)
    with signals.stopping(session.stop, tell), _reloading(daemon):
        server.start()
        ticker.start()
        teller.start()
        try:
            log.info(
                "serving %d policies at http://%s:%d",
                len(daemon.policies),
                server.address.host,
                server.address.port,
            )
            _wait(session.stop)
        finally:
            ticker.stop()
            if not daemon.stop(max(0.0, settings.grace - GIVE_UP_SECONDS)):
                log.warning("the grace has ended; what is still being tried is given up")
                session.stop.request(session.stop.signal_number)  # counts as the second signal
                daemon.stop(GIVE_UP_SECONDS - HTTP_SECONDS)
            teller.stop(NOTICE_SECONDS)
            # Last, so that probes are answered while a token is still being written.
            server.stop(HTTP_SECONDS)
    log.info("stopped; what was begun is in the journal")
    return 128 + session.stop.signal_number


def _wait(stop: Stop) -> None:
    """Until somebody asks to stop."""
    from rotator.daemon.reaper import Reaper  # noqa: PLC0415

    reaper = Reaper() if os.getpid() == 1 else None
    while not stop.requested.wait(REAP_SECONDS):
        if reaper is not None:
            reaper.look()


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
