"""Posts CloudEvents (CloudEvents 1.0, structured JSON), signed if there is a key; says what a status means."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from rotator import signing
from rotator.clock import Clock, rfc3339
from rotator.errors import Refused, Unreachable
from rotator.http_client import HttpClient
from rotator.secret import Secret


class EventPoster:
    """Posts to one URL, which no message holds. Safe to use from several threads."""

    def __init__(
        self,
        http: HttpClient,
        clock: Clock,
        url: str,
        signing_key: Callable[[], Secret] | None,
        *,
        source: Callable[[], str],
    ) -> None:
        """`signing_key` is read for each event, so that it can be replaced; `source` says the name
        of this rotator, and is asked when there is something to post."""
        self._http = http
        self._clock = clock
        self._url = Secret(url)
        self._signing_key = signing_key
        self._source = source

    @property
    def host(self) -> str:
        """All of the URL that may be shown."""
        return urlsplit(self._url.reveal()).hostname or "the webhook"

    def post(self, kind: str, *, id: str, subject: str, at: datetime, data: Mapping[str, Any]) -> None:  # noqa: A002  # CloudEvents' word
        """Returns when it was taken. An event that comes twice has the same `id`; `at` is when it happened.

        Raises InvalidInput for a signing key that cannot be used, and what `HttpClient.call` and `accepted` raise.
        """
        event = {
            "specversion": "1.0",
            "id": id,
            "source": self._source(),
            "type": kind,
            "subject": subject,
            "time": rfc3339(at),
            "datacontenttype": "application/json",
            "data": dict(data),
        }
        keys = self._keys()
        body = json.dumps(event, separators=(",", ":")).encode()
        sent_with = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            **signing.headers(id, int(self._clock.now().timestamp()), body, keys),
        }
        answer = self._http.call("POST", self._url.reveal(), headers=sent_with, body=body)
        accepted(
            answer.status,
            self.host,
            hint="Look at `url` and the signing key in the policy, and at the receiver's log",
        )

    def check(self) -> None:
        """Looks at all that can be looked at without posting: the signing key, and where the host's name leads.

        Raises InvalidInput for the key, Refused for a private address, Unreachable for a name that is unknown now.
        """
        self._keys()
        self._http.check_host(self._url.reveal())

    def _keys(self) -> tuple[Secret, ...]:
        return signing.keys_of(self._signing_key()) if self._signing_key is not None else ()


def accepted(status: int, receiver: str, *, hint: str) -> None:
    """Raises Refused or Unreachable unless an HTTP status says that the receiver took what was posted."""
    if 200 <= status < 300:
        return
    if status in (408, 425, 429) or status >= 500:
        raise Unreachable(f"{receiver} answered {status}", then="It is told again later")
    raise Refused(
        f"{receiver} answered {status}", then="It is told again later, in case that is mended", remedy=hint
    )
