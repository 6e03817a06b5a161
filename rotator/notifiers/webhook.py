"""Posts a CloudEvent (CloudEvents 1.0, structured JSON), signed if there is a key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from rotator.clock import Clock, rfc3339
from rotator.http_client import HttpClient
from rotator.notifiers import signing
from rotator.notifiers.base import Event, Notice, accepted
from rotator.secret import Secret

_TYPES: Final = {
    (Event.COMPLETED, False): "rotator.rotation.completed.v1",
    (Event.FAILED, False): "rotator.rotation.failed.v1",
    (Event.FAILED, True): "rotator.rotation.recovered.v1",
    (Event.NEEDS_ATTENTION, False): "rotator.attention.raised.v1",
    (Event.NEEDS_ATTENTION, True): "rotator.attention.ended.v1",
    (Event.EMERGENCY, False): "rotator.emergency.begun.v1",
    (Event.EMERGENCY, True): "rotator.emergency.ended.v1",
}


class WebhookNotifier:
    """Implements `notifiers.base.Notifier`."""

    def __init__(
        self,
        http: HttpClient,
        clock: Clock,
        url: str,
        signing_key: Callable[[], Secret] | None,
        *,
        source: str,
    ) -> None:
        """`signing_key` is read for each message, so that it can be replaced; `source` names this rotator."""
        self._http = http
        self._clock = clock
        self._url = Secret(url)
        self._signing_key = signing_key
        self._source = source

    def send(self, notice: Notice) -> None:
        keys = signing.keys_of(self._signing_key()) if self._signing_key is not None else ()
        body = json.dumps(self._event(notice), separators=(",", ":")).encode()
        at = int(self._clock.now().timestamp())
        sent_with = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            **signing.headers(notice.id, at, body, keys),
        }
        answer = self._http.call("POST", self._url.reveal(), headers=sent_with, body=body)
        host = urlsplit(self._url.reveal()).hostname or "the webhook"
        accepted(
            answer.status,
            host,
            hint="Look at `url` and the signing key in the policy, and at the receiver's log",
        )

    def _event(self, notice: Notice) -> dict[str, object]:
        return {
            "specversion": "1.0",
            "id": notice.id,
            "source": self._source,
            "type": _TYPES[notice.event, notice.over],
            "subject": notice.policy,
            "time": rfc3339(notice.at),
            "datacontenttype": "application/json",
            "data": {
                "policy": notice.policy,
                "owner": notice.owner,
                "event": notice.event,
                "matter": notice.matter,
                "over": notice.over,
                "title": notice.title,
                "message": notice.message,
                "next": notice.next,
                **notice.data,
            },
        }
