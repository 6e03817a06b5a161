"""The team token under a running process: kept, and read again when it is refused."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from rotator.errors import RotatorError
from rotator.secret import Secret

log = logging.getLogger(__name__)


class TeamCredential:
    """Holds one credential. `load` reads it from where it lives: a file is read anew, an environment
    variable gives the same value again. Safe to use from several threads."""

    def __init__(self, load: Callable[[], Secret]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._value: Secret | None = None

    def current(self) -> Secret:
        """The credential, read on first use. Raises what `load` raises (InvalidInput)."""
        with self._lock:
            if self._value is None:
                self._value = self._load()
            return self._value

    def reread(self, refused: Secret) -> Secret | None:
        """Another credential than the refused one, if there is one by now. Never raises.

        Asked with the refused value, so that of two threads refused at once both get the new one.
        """
        with self._lock:
            if self._value is not None and self._value != refused:
                return self._value
            try:
                fresh = self._load()
            except (RotatorError, OSError) as error:
                log.warning("a refused credential could not be read again (%s)", type(error).__name__)
                return None
            if fresh == refused:
                return None
            self._value = fresh
            return fresh
