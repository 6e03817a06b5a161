"""A consumer of the token: reads it from its file for every message and sends, many times a second."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

INTERVAL: Final = 0.01
"""Seconds between two sends."""


@dataclass(frozen=True)
class Sends:
    """What the consumer saw. Seconds by the monotonic clock."""

    attempts: int
    failures: int
    outage: float
    """From the last send that worked before a failure to the first that worked again; 0.0 without one."""
    longest_gap: float
    """Between two sends that worked, at most."""


class Consumer:
    """Sends until it is left."""

    def __init__(self, url: str, secret_file: Path, key: str, sender: str) -> None:
        self._url = urlsplit(url)
        self._file = secret_file
        self._key = key
        self._message = json.dumps(
            {"from": sender, "to": ["ok@testing.lettermint.co"], "subject": "Order 4711", "text": "Thanks."}
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_on, name="demo-consumer", daemon=True)
        self._attempts = 0
        self._failures = 0
        self._outage = 0.0
        self._longest_gap = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def seen(self) -> Sends:
        return Sends(self._attempts, self._failures, self._outage, self._longest_gap)

    def _send_on(self) -> None:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port or 80, timeout=5)
        worked_at: float | None = None
        failing = False
        while not self._stop.wait(INTERVAL):
            self._attempts += 1
            if self._send(connection):
                now = time.monotonic()
                gap = now - worked_at if worked_at is not None else 0.0
                self._longest_gap = max(self._longest_gap, gap)
                if failing:
                    self._outage = max(self._outage, gap)
                failing, worked_at = False, now
            else:
                self._failures += 1
                failing = True
        connection.close()

    def _send(self, connection: http.client.HTTPConnection) -> bool:
        try:
            token = json.loads(self._file.read_text(encoding="utf-8"))[self._key]
            headers = {"x-lettermint-token": token, "Content-Type": "application/json"}
            connection.request("POST", f"{self._url.path}/send", self._message, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
        return answer.status == 202
