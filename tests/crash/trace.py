"""Numbers every call of a process to the outside, and kills the process at one of them.

It hooks the libraries' own doors (HTTP transports, SQLite commits, fsync and rename), so that the
product needs no seams for it and a call added later is found by itself.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Tracer:
    """`kill_at` counts from 1; `when` is "before" or "after" the call."""

    def __init__(self, record: Path | None, kill_at: int, when: str) -> None:
        self._record = record
        self._kill_at = kill_at
        self._when = when
        self._count = 0
        self._lock = threading.RLock()

    def around(self, label: str, call: Callable[[], Any]) -> Any:
        if threading.current_thread().name.startswith("heartbeat-"):
            return call()  # comes by the time, not by the step: it would shift every number after it
        with self._lock:
            counts = self._call in ("", label)
            self._count += counts
            here = counts and self._count == self._kill_at
            if self._record is not None:
                with self._record.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(label) + "\n")
        if here and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return call()
        finally:
            if here:
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Hooks this process for good; meant for a forked child."""
        self._hook_provider()
        self._hook_aws()
        self._hook_sqlite()
        self._hook_files()

    def _hook_provider(self) -> None:
        import httpx  # noqa: PLC0415  # imported by the product as well

        real = httpx.HTTPTransport.handle_request

        def traced(transport: Any, request: Any) -> Any:
            label = f"provider {request.method} {_shape(request.url.path)}"
            return self.around(label, lambda: real(transport, request))

        httpx.HTTPTransport.handle_request = traced  # type: ignore[method-assign]

    def _hook_aws(self) -> None:
        from botocore.httpsession import URLLib3Session  # noqa: PLC0415

        real = URLLib3Session.send

        def traced(session: Any, request: Any) -> Any:
            target = request.headers.get("X-Amz-Target", b"?")
            name = target.decode() if isinstance(target, bytes) else target
            return self.around(f"store {name.rpartition('.')[2]}", lambda: real(session, request))

        URLLib3Session.send = traced

    def _hook_sqlite(self) -> None:
        tracer = self
        real = sqlite3.connect

        class Traced(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> Any:
                run = super().execute
                if sql.strip().upper().startswith("COMMIT"):
                    return tracer.around("journal commit", lambda: run(sql, *args))
                return run(sql, *args)

        def connect(*args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("factory", Traced)
            return real(*args, **kwargs)

        sqlite3.connect = connect

    def _hook_files(self) -> None:
        for name in ("fsync", "replace", "rename", "unlink", "ftruncate"):
            real = getattr(os, name)

            def traced(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
                label = f"file {_name} {_file(args[0])}"
                return self.around(label, lambda: _real(*args, **kwargs))

            setattr(os, name, traced)


def _shape(path: str) -> str:
    """The path with ids left out, so that labels of different runs are alike."""
    return "/".join(
        "ID" if any(c.isdigit() for c in part) and part != "v1" else part for part in path.split("/")
    )


def _file(which: Any) -> str:
    path = Path(f"/proc/self/fd/{which}").readlink() if isinstance(which, int) else Path(os.fsdecode(which))
    name = path.name
    return "temporary" if "tmp" in name else name
