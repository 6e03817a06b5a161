"""Posts to a Slack channel through an incoming webhook, whose URL is the credential."""

from __future__ import annotations

import json
from collections.abc import Callable

from rotator.errors import InvalidInput
from rotator.http_client import HttpClient
from rotator.notifiers.base import Notice
from rotator.posting import accepted
from rotator.secret import Secret
from rotator.urls import is_web_url


class SlackNotifier:
    """Implements `notifiers.base.Notifier`."""

    def __init__(self, http: HttpClient, url: Callable[[], Secret]) -> None:
        """`url` is read for each message, so that it can be replaced."""
        self._http = http
        self._url = url

    def send(self, notice: Notice) -> None:
        url = self._url()
        if not is_web_url(url.reveal()):
            raise InvalidInput(
                "The file of the Slack webhook holds no https URL",
                then="Nothing was sent",
                remedy="Put the incoming webhook's URL, and nothing else, into the file that `url_file` names",
            )
        body = json.dumps({"text": _text(notice)}).encode()
        answer = self._http.call(
            "POST", url.reveal(), headers={"Content-Type": "application/json"}, body=body
        )
        accepted(
            answer.status,
            "Slack",
            hint="Make a new incoming webhook and put its URL into the file of `url_file`",
        )


def _text(notice: Notice) -> str:
    owner = f" (owner: {notice.owner})" if notice.owner else ""
    lines = [f"*{_plain(notice.title)}*{_plain(owner)}", _plain(notice.message)]
    if notice.next:
        lines.append(f"Next: {_plain(notice.next)}")
    return "\n".join(line for line in lines if line)


def _plain(text: str) -> str:
    """Slack's three control characters as text, so that nobody can mention a channel through a policy's name."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
