"""What `doctor` examines, handed over by the composition root.

Whatever may be missing or broken is a callable: making it is itself a check, and one dead end must not
stop the rest.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rotator.audit.base import Audit
from rotator.clock import Clock
from rotator.consumers.base import Consumer
from rotator.destinations.base import DestinationFactory
from rotator.errors import RotatorError
from rotator.journal.base import Journal
from rotator.model import Policy, VerifySpec
from rotator.provider.base import Provider
from rotator.secret import Fingerprinter, Secret
from rotator.verifiers.base import Verifier


class ChainReport(Protocol):
    """What checking the audit log from end to end gives."""

    @property
    def ok(self) -> bool: ...

    @property
    def events(self) -> int: ...

    @property
    def problem(self) -> str | None: ...


@dataclass(frozen=True)
class Setup:
    """What the settings and the policy files say. Durations are in seconds."""

    warnings: tuple[str, ...]
    lease: float
    call_timeout: float
    rotate_limit: int
    api_url: str
    journal: Path | None
    """None for one on a server."""
    audit_log: Path
    audit_key: Path | None
    """The file of the key; None where a variable holds it."""
    key_is_set: bool
    """The settings name a key; otherwise it stands beside the journal and is made with it."""
    journal_shown: str = ""
    """The address of one on a server, without its password."""
    policies: Sequence[Policy] = ()
    """Those asked for."""
    every_policy: Sequence[Policy] = ()
    policy_warnings: tuple[str, ...] = ()
    policy_error: RotatorError | None = None
    """Why there are no policies."""

    @property
    def begun(self) -> bool:
        """There is a journal, or something that keeps us from seeing whether there is one. Where there is none,
        nothing here makes one."""
        if self.journal is None:
            return True  # only opening it tells
        try:
            found = self.journal.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # opening it tells what is wrong
        return stat.S_ISREG(found.st_mode) and found.st_size > 0


@dataclass(frozen=True)
class Parts:
    """Each callable raises a RotatorError where the part cannot be had; what it gave once it gives again."""

    clock: Clock
    provider: Callable[[], Provider]
    destination: DestinationFactory
    verifier: Callable[[VerifySpec], Verifier]
    consumer: Callable[[Mapping[str, Any]], Consumer]
    """Of one entry of `consumers`."""
    read_key: Callable[[], Secret]
    """Makes no key."""
    open_journal: Callable[[], Journal]
    """Only where there is one."""
    check_key: Callable[[Journal, Secret], None]
    """Raises InvalidInput when the journal began with another key."""
    open_audit: Callable[[], Audit]
    check_chain: Callable[[Secret, Journal | None], ChainReport]


@dataclass(frozen=True)
class Records:
    """What of the record turned out to be usable; None for what did not."""

    journal: Journal | None = None
    audit: Audit | None = None
    fingerprints: Fingerprinter | None = None
