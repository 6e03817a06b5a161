"""What may go wrong at the strict Vault fake, one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

KINDS = {
    "error-before",  # an error status, not executed
    "error-after",  # an error status, yet executed
    "drop-before",  # the connection closes, not executed
    "lost-answer",  # the connection closes, yet executed
    "rate-limit",  # 429 from a quota, not executed
    "upgrading",  # 400 from a mount that was made a moment ago, not executed
    "delay",  # waits, then executes and answers
    "delay-answer",  # executes at once, answers late
    "call",  # does something first, then executes and answers
}


@dataclass
class Fault:
    kind: str
    path: str
    method: str
    times: int
    skip: int
    status: int
    seconds: float
    action: Callable[[], object] | None


class Faults:
    """The faults still to come; the first that fits a request hits it. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(
        self,
        kind: str,
        path: str = "*",
        *,
        method: str = "*",
        times: int = 1,
        skip: int = 0,
        status: int = 500,
        seconds: float = 0.0,
        action: Callable[[], object] | None = None,
    ) -> None:
        """Lets `skip` fitting requests pass, then hits the next `times`.

        `path` is a pattern (`*` spans slashes) over the path after /v1/, such as `secret/data/*`. `status`
        is for the errors, `seconds` for the delays, `action` for `call`, which runs outside every lock.
        """
        assert kind in KINDS
        with self._lock:
            self._waiting.append(Fault(kind, path, method, times, skip, status, seconds, action))

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that hits this request."""
        with self._lock:
            for fault in self._waiting:
                if not (fnmatchcase(path, fault.path) and fnmatchcase(method, fault.method)):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self._waiting.remove(fault)
                return fault
            return None

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def __len__(self) -> int:
        return len(self._waiting)
