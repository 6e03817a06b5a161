"""Slack, PagerDuty and webhooks against a real HTTP peer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rotator.clock import SystemClock
from rotator.errors import InvalidInput, Refused, Unreachable
from rotator.http_client import HttpClient
from rotator.notifiers.base import Event, Notice, Notifier
from rotator.notifiers.pagerduty import PagerDutyNotifier
from rotator.notifiers.slack import SlackNotifier
from rotator.notifiers.webhook import WebhookNotifier
from rotator.posting import EventPoster
from rotator.secret import Secret
from rotator.urls import may_reach
from tests.notifiers.conftest import Peer

KEY = "thirty-two-bytes-of-signing-key!"
ROUTING_KEY = "r" * 32
NOTICE = Notice(
    id="billing/token-dead/2026-11-29T10:00:00.000Z",
    event=Event.NEEDS_ATTENTION,
    policy="billing",
    at=datetime(2026, 11, 29, 10, tzinfo=UTC),
    matter="token-dead",
    title="billing needs attention: token-dead",
    message="The token that readers hold is dead <!channel> & nobody knows why",
    next="`rotator rotate billing`",
    urgent=True,
    owner="team <billing>",
    data={"project": "p-1"},
)


@pytest.fixture
def http():
    client = HttpClient(
        SystemClock(), call_timeout=2.0, may_reach=lambda address, host: may_reach(address, host, ())
    )
    yield client
    client.close()


def slack(http: HttpClient, peer: Peer) -> Notifier:
    return SlackNotifier(http, lambda: Secret(peer.url))


def pagerduty(http: HttpClient, peer: Peer) -> Notifier:
    return PagerDutyNotifier(http, peer.url, lambda: Secret(ROUTING_KEY), source="/rotator/j")


def webhook(http: HttpClient, peer: Peer) -> Notifier:
    poster = EventPoster(http, SystemClock(), peer.url, lambda: Secret(KEY), source=lambda: "/rotator/j")
    return WebhookNotifier(poster)


ALL = (slack, pagerduty, webhook)


def test_slack_gets_one_text(http: HttpClient, peer: Peer) -> None:
    """Title, owner, what happened and what to do; nobody can call a channel through a name or a message."""
    slack(http, peer).send(NOTICE)
    (got,) = peer.got
    text = json.loads(got.body)["text"]
    assert text.splitlines() == [
        "*billing needs attention: token-dead* (owner: team &lt;billing&gt;)",
        "The token that readers hold is dead &lt;!channel&gt; &amp; nobody knows why",
        "Next: `rotator rotate billing`",
    ]


def test_pagerduty_resolves_what_it_opened(http: HttpClient, peer: Peer) -> None:
    """One matter has one deduplication key, for trigger and resolve, whoever sends them."""
    pagerduty(http, peer).send(NOTICE)
    pagerduty(http, peer).send(replace(NOTICE, id=NOTICE.id + "/over", over=True))
    opened, resolved = (json.loads(got.body) for got in peer.got)
    assert (opened["event_action"], resolved["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == resolved["dedup_key"] == "/rotator/j/billing/token-dead"
    assert opened["routing_key"] == ROUTING_KEY
    payload = opened["payload"]
    assert (payload["summary"], payload["severity"], payload["timestamp"]) == (
        NOTICE.title,
        "critical",
        "2026-11-29T10:00:00.000Z",
    )
    assert payload["custom_details"]["next"] == NOTICE.next
    assert "payload" not in resolved


def test_pagerduty_keeps_its_limits(http: HttpClient, peer: Peer) -> None:
    """A long title is cut and a long key is told by its digest, the same each time; success opens nothing."""
    long = replace(NOTICE, title="x" * 2000, matter="m" * 300)
    for _ in range(2):
        pagerduty(http, peer).send(long)
    first, second = (json.loads(got.body) for got in peer.got)
    assert len(first["payload"]["summary"]) == 1024
    assert len(first["dedup_key"]) <= 255
    assert first["dedup_key"] == second["dedup_key"]
    pagerduty(http, peer).send(replace(NOTICE, event=Event.COMPLETED))
    assert len(peer.got) == 2


def test_webhook_gets_a_signed_cloud_event(http: HttpClient, peer: Peer) -> None:
    """The signature is that of the bytes that arrived; required attributes are there; a repetition has the same id."""
    for _ in range(2):
        webhook(http, peer).send(NOTICE)
    got, again = peer.got
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    expected = base64.b64encode(hmac.new(KEY.encode(), signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    assert got.headers["content-type"].startswith("application/cloudevents+json")
    event = json.loads(got.body)
    assert (event["specversion"], event["id"], event["source"]) == ("1.0", NOTICE.id, "/rotator/j")
    assert (event["type"], event["subject"]) == ("rotator.attention.raised.v1", "billing")
    assert event["data"]["next"] == NOTICE.next
    assert event["data"]["project"] == "p-1"
    assert json.loads(again.body)["id"] == event["id"] == again.headers["webhook-id"]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    ("status", "kind"), [(500, Unreachable), (429, Unreachable), (404, Refused), (302, Refused)]
)
def test_what_is_not_accepted_is_an_error(
    http: HttpClient, peer: Peer, make: type, status: int, kind: type[Exception]
) -> None:
    """Anything but 2xx was not taken, a redirect is not followed, and no message holds an address or a key."""
    peer.answers = [status]
    with pytest.raises(kind) as caught:
        make(http, peer).send(NOTICE)
    assert str(status) in str(caught.value)
    assert peer.url not in str(caught.value)
    assert len(peer.got) == 1


@pytest.mark.parametrize("make", ALL)
def test_a_peer_that_is_away_is_unreachable(http: HttpClient, peer: Peer, make: type) -> None:
    """A refused connection can be tried again."""
    notifier = make(http, peer)
    peer.close()
    with pytest.raises(Unreachable):
        notifier.send(NOTICE)


@pytest.mark.parametrize("text", ["not a url", "http://hooks.example.com/x", "ftp://x/y"])
def test_slack_url_must_be_https(http: HttpClient, text: str) -> None:
    """What a wrong file holds is refused before anything is sent, and not repeated."""
    with pytest.raises(InvalidInput) as caught:
        SlackNotifier(http, lambda: Secret(text)).send(NOTICE)
    assert text not in str(caught.value)
