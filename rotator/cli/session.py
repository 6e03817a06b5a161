"""What one command works with: its settings, its form of output, and the parts it asks for.

Everything is made when first asked for, so a command loads only what it needs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from rotator.cli.output import CurrentStderr, Format, default_format, emit, emit_json, say, scrubbed

if TYPE_CHECKING:
    from rotator.audit.base import AuditEvent
    from rotator.engine.context import Progress
    from rotator.interrupt import Stop
    from rotator.settings import Settings
    from rotator.wiring import Wiring

Observer = Callable[["Progress"], None]


def _nobody_watches(_: Progress) -> None:
    """For commands that show no progress."""


@dataclass
class Session:
    """One run of one command."""

    command: str
    """As typed, without options: `rotator audit verify`."""
    output: Format | None
    """None: by what standard output is."""
    flags: Mapping[str, str]
    """Settings given as flags, and `config`."""
    observer: Observer = field(default=_nobody_watches)
    _made: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Ends what the command opened."""
        self._made.close()

    @cached_property
    def as_json(self) -> bool:
        return (self.output or default_format()) is Format.JSON

    def emit(self, data: object, table: Callable[[], str]) -> None:
        """The data as JSON, or the table that `table` draws of it."""
        if self.as_json:
            emit_json(data)
        elif drawn := table():
            emit(drawn)

    def settings(self, *needs: str) -> Settings:
        """Settings and logging; warnings are said once. Raises InvalidInput with all that is wrong.

        `needs` names the credentials without which this command can do nothing.
        """
        from rotator import logs  # noqa: PLC0415  # `--help` needs neither structlog nor settings
        from rotator.settings import resolve  # noqa: PLC0415

        self._refuse_passwords()
        flags = dict(self.flags)
        config = flags.pop("config", None)
        found = resolve(
            flags,
            os.environ,
            Path(config) if config else None,
            stderr_is_tty=sys.stderr.isatty(),
            needs=needs,
        )
        logs.configure(
            found.log_level,
            "json" if found.log_format == "json" else "console",
            cast("TextIO", CurrentStderr()),
        )
        for warning in found.warnings:
            say(f"warning: {warning}")
        return found

    def wiring(self, *needs: str, urgent: bool = False, without_journal: bool = False) -> Wiring:
        """The parts, put together; nothing is opened yet. The last two as for `Wiring`. Raises as `settings`."""
        from rotator.clock import SystemClock  # noqa: PLC0415
        from rotator.wiring import Wiring  # noqa: PLC0415

        wiring = Wiring(
            self.settings(*needs),
            SystemClock(),
            stop=self.stop,
            # By name, because a command may begin to watch after the parts were made.
            observer=lambda progress: self.observer(progress),  # noqa: PLW0108
            announce=say,
            unwritten=say_unwritten,
            command=self.command,
            urgent=urgent,
            without_journal=without_journal,
        )
        self._made.callback(wiring.close)
        return wiring

    @cached_property
    def stop(self) -> Stop:
        from rotator.interrupt import Stop  # noqa: PLC0415

        return Stop()

    def _refuse_passwords(self) -> None:
        """A flag can be read by every user of the machine, and shells remember it."""
        from rotator.errors import InvalidInput  # noqa: PLC0415
        from rotator.secret import Secret  # noqa: PLC0415
        from rotator.settings_values import has_password  # noqa: PLC0415

        journal = self.flags.get("journal", "")
        if has_password(journal):
            Secret(journal)  # the scrubber knows it from here on
            raise InvalidInput(
                "--journal holds a password, and every user of this machine can read flags",
                then="Nothing was done",
                remedy="Put the address into a file and name that in ROTATOR_JOURNAL_FILE",
            )


def say_unwritten(event: AuditEvent, at: datetime) -> None:
    """An audit event that no log took, for whoever collects standard error."""
    from rotator.clock import rfc3339  # noqa: PLC0415

    line = {
        "at": rfc3339(at),
        "event": event.event,
        "policy": event.policy,
        "project": event.project,
        "rotation": event.rotation,
        "trigger": event.trigger,
        "data": event.data,
    }
    say(f"audit-event: {json.dumps(scrubbed(line), default=str)}")
