"""What the first process of a container owes the others: to wait for those whose parent has ended.

The kernel hands them to process 1, and keeps an entry for each until somebody waits for it. Nothing else here
starts processes, but libraries do (boto3's `credential_process`), and wait for them within moments: so one is
taken only when two looks in a row, a second apart, have found it ended.
"""

from __future__ import annotations

import os
from contextlib import suppress


class Reaper:
    """Reaps what the kernel hands to process 1. Used by one thread."""

    def __init__(self) -> None:
        self._ended: int | None = None
        """The one that the last look found ended and left alone."""

    def look(self) -> None:
        """Waits for one that nobody waits for, if there is one."""
        with suppress(ChildProcessError):  # there are no children, or somebody was faster
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None and found.si_pid == self._ended:
                os.waitpid(found.si_pid, os.WNOHANG)
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            self._ended = found.si_pid if found is not None else None
