"""Numbers every call of a process to the outside, and kills the process at one of them, or halts it there.

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
from urllib.parse import urlsplit

READS = (
    "provider GET ",
    "store GET ",
    "store Get",
    "store Describe",
    "store LIST ",
    "consumer GET ",
    "journal read",
    "file fsync ",
)
"""How the labels of calls begin that leave the world as it was, for whoever comes after a process that died: what
it wrote is with the kernel, synced or not."""


def writes(label: str) -> bool:
    return not label.startswith(READS)


class Tracer:
    """`kill_at` counts from 1, those calls only that are labelled `call` where that is given; `when` is "before" or
    "after" the call. The signal is SIGKILL unless another is given.

    `threads` is how the names of those begin whose calls count: of a daemon, those that do one kind of work. What
    others do comes by the time, not by the step, and would shift every number after it.
    """

    def __init__(
        self,
        record: Path | None,
        kill_at: int,
        when: str,
        *,
        call: str = "",
        threads: str = "",
        number: int = signal.SIGKILL,
    ) -> None:
        self._record = record
        self._kill_at = kill_at
        self._when = when
        self._call = call
        self._threads = threads
        self._signal = number
        self._count = 0
        self._lock = threading.RLock()

    def around(self, label: str, call: Callable[[], Any]) -> Any:
        name = threading.current_thread().name
        if name.startswith("heartbeat-") or not name.startswith(self._threads):
            return call()
        with self._lock:
            counts = self._call in ("", label)
            self._count += counts
            here = counts and self._count == self._kill_at
            if self._record is not None:
                with self._record.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(label) + "\n")
        if here and self._when == "before":
            self._strike()
        try:
            return call()
        finally:
            if here and self._when == "after":
                self._strike()

    def _strike(self) -> None:
        # To this thread: one sent to the process may reach another thread first, while this one still goes on.
        signal.pthread_kill(threading.get_ident(), self._signal)

    def install(self) -> None:
        """Hooks this process for good; meant for a forked child."""
        self._hook_provider()
        self._hook_aws()
        self._hook_vault()
        self._hook_kubernetes()
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

    def _hook_vault(self) -> None:
        from requests.adapters import HTTPAdapter  # noqa: PLC0415

        real = HTTPAdapter.send

        def traced(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            label = f"store {request.method} {_shape(request.path_url.partition('?')[0])}"
            return self.around(label, lambda: real(adapter, request, *args, **kwargs))

        HTTPAdapter.send = traced

    def _hook_kubernetes(self) -> None:
        # The others that stand on this library go past its pool manager, each to the pool of one host.
        from urllib3 import PoolManager  # noqa: PLC0415

        real = PoolManager.request

        def traced(pool: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            _, _, path, query, _ = urlsplit(url)
            judged = " to be judged" if "dryRun" in query else ""
            label = f"consumer {method}{judged} {_shape(path)}"
            return self.around(label, lambda: real(pool, method, url, *args, **kwargs))

        PoolManager.request = traced  # type: ignore[method-assign]

    def _hook_sqlite(self) -> None:
        tracer = self
        real = sqlite3.connect

        class Traced(sqlite3.Connection):
            _label = "journal read"

            def execute(self, sql: str, *args: Any) -> Any:
                run = super().execute
                words = sql.strip().upper()
                if words.startswith("BEGIN"):
                    self._label = "journal commit" if "IMMEDIATE" in words else "journal read"
                if words.startswith("COMMIT"):
                    return tracer.around(self._label, lambda: run(sql, *args))
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
