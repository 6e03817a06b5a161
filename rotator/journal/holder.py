"""Who this process is to others, and whether a lease's holder is certainly dead.

"Certainly" is the point: a wrong *dead* lets two processes act on one project, a wrong *alive* only
waits until the lease ends. Whatever cannot be told counts as alive.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

from rotator.clock import Clock
from rotator.journal.base import Holder

_PROC = Path("/proc")
# proc(5): after the command's closing bracket come state (field 3) and, as field 22, the start time.
_STATE, _STARTED = 0, 19
_DEAD_STATES = "ZXx"


def this_process(clock: Clock, command: str) -> Holder:
    """Names this process. Make one when the process starts (after a fork: another one) and keep it."""
    host, pid = socket.gethostname(), os.getpid()
    _, started = _state_and_start(pid)
    return Holder(
        id=uuid.uuid4().hex,
        host=host,
        boot_id=clock.boot_id,
        pid=pid,
        pid_started=started,
        pid_namespace=_pid_namespace(),
        label=f"{command} on {host} (pid {pid})",
    )


def is_dead(holder: Holder, boot_id: str) -> bool:
    """True only if the holder belongs to this host and is certainly gone. `boot_id` is the clock's.

    Another boot of this host ended every process of it. A process of this boot is gone when its pid
    is, was given to a later process, or is a zombie (a container's pid 1 may never reap it). Pids of
    another pid namespace are not comparable, and without /proc nothing is certain.
    """
    namespace = _pid_namespace()
    if holder.host != socket.gethostname() or not (holder.pid_namespace and namespace):
        return False
    if holder.boot_id != boot_id:
        return True
    if holder.pid_namespace != namespace:
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives, as another user
    state, started = _state_and_start(holder.pid)
    if not (started and holder.pid_started):
        return False  # /proc may hide the processes of other users (hidepid)
    return state in _DEAD_STATES or started != holder.pid_started


def _state_and_start(pid: int) -> tuple[str, str]:
    """State letter and start time in clock ticks since the boot; empty texts if they cannot be read."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    # The command stands in brackets and may itself hold brackets and blanks.
    fields = text.rpartition(")")[2].split()
    return fields[_STATE], fields[_STARTED]


def _pid_namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""
