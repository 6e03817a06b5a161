"""Opens and resolves PagerDuty incidents through its Events API v2.

The same deduplication key opens an incident and resolves it, so that one matter is one incident, however
often it is told. Fields and limits: PagerDuty's reference of the Events API v2 (`routing_key` of 32
characters, summary of at most 1024, `dedup_key` of at most 255; 202 is accepted).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Final

from rotator.clock import rfc3339
from rotator.http_client import HttpClient
from rotator.notifiers.base import Event, Notice
from rotator.posting import accepted
from rotator.secret import Secret

_LONGEST_SUMMARY: Final = 1024
_LONGEST_KEY: Final = 255


class PagerDutyNotifier:
    """Implements `notifiers.base.Notifier`."""

    def __init__(self, http: HttpClient, url: str, routing_key: Callable[[], Secret], *, source: str) -> None:
        """`routing_key` is read for each message, so that it can be replaced; `source` names this rotator."""
        self._http = http
        self._url = url
        self._routing_key = routing_key
        self._source = source

    def send(self, notice: Notice) -> None:
        if notice.event is Event.COMPLETED:
            return  # what went well is no incident; the one it ends is resolved by a notice of its own
        event = self._event(notice)
        event["routing_key"] = self._routing_key().reveal()
        answer = self._http.call(
            "POST", self._url, headers={"Content-Type": "application/json"}, body=json.dumps(event).encode()
        )
        accepted(answer.status, "PagerDuty", hint="Look at the routing key in the file of `routing_key_file`")

    def _event(self, notice: Notice) -> dict[str, object]:
        event: dict[str, object] = {
            "event_action": "resolve" if notice.over else "trigger",
            "dedup_key": self._key(notice),
        }
        if not notice.over:
            event["client"] = "rotator"
            event["payload"] = {
                "summary": notice.title[:_LONGEST_SUMMARY],
                "source": self._source,
                "severity": "critical" if notice.urgent else "error",
                "timestamp": rfc3339(notice.at),
                "component": notice.policy,
                "class": notice.matter,
                "custom_details": {
                    "message": notice.message,
                    "next": notice.next,
                    "owner": notice.owner or "",
                },
            }
        return event

    def _key(self, notice: Notice) -> str:
        key = f"{self._source}/{notice.policy}/{notice.matter}"
        return key if len(key) <= _LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()
