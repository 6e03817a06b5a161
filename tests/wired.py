"""The composition root over a journal of its own, without a command."""

from __future__ import annotations

from pathlib import Path

from rotator.clock import SystemClock
from rotator.interrupt import Stop
from rotator.settings import resolve
from rotator.wiring import Wiring


def wired(folder: Path, **environment: str) -> Wiring:
    """Journal and audit log are in the folder; `environment` are settings besides."""
    settings = {
        "ROTATOR_JOURNAL": f"sqlite:///{folder}/journal.db",
        "ROTATOR_AUDIT_KEY": "k" * 32,
        **environment,
    }
    return Wiring(
        resolve({}, settings, None, stderr_is_tty=False),
        SystemClock(),
        stop=Stop(),
        observer=lambda _: None,
        announce=lambda _: None,
        unwritten=lambda _event, _at: None,
        command="test",
    )
