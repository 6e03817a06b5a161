"""A consumer that is told by a URL of its own, against a real HTTP peer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from rotator.clock import SystemClock
from rotator.consumers.webhook import WebhookConsumer
from rotator.credentials import read_secret_file
from rotator.errors import InvalidInput, Refused, RotatorError, Unreachable
from rotator.http_client import HttpClient
from rotator.posting import EventPoster
from tests.consumers.conftest import CALL, SIGNING_KEY, poster
from tests.notifiers.conftest import Peer


@pytest.fixture
def mailer(http: HttpClient, peer: Peer) -> WebhookConsumer:
    return WebhookConsumer(poster(http, peer.url))


def test_it_gets_a_signed_cloud_event(mailer: WebhookConsumer, peer: Peer) -> None:
    """The call's id is the message's and the event's; the signature is that of the bytes that arrived."""
    mailer.tell(CALL)
    (got,) = peer.got
    assert got.headers["webhook-id"] == CALL.id
    signed = f"{CALL.id}.{got.headers['webhook-timestamp']}.".encode() + got.body
    expected = base64.b64encode(hmac.new(SIGNING_KEY.encode(), signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    assert got.headers["content-type"].startswith("application/cloudevents+json")
    assert json.loads(got.body) == {
        "specversion": "1.0",
        "id": CALL.id,
        "source": "/rotator/j",
        "type": "rotator.token.changed.v1",
        "subject": "billing",
        "time": "2026-11-29T12:00:00.250Z",
        "datacontenttype": "application/json",
        "data": {
            "policy": "billing",
            "owner": "team-billing",
            "rotation": CALL.rotation,
            "fingerprint": CALL.fingerprint,
        },
    }


def test_without_a_key_it_is_not_signed(http: HttpClient, peer: Peer) -> None:
    """A receiver that checks nothing can still tell a repetition by its id."""
    WebhookConsumer(poster(http, peer.url, None)).tell(CALL)
    (got,) = peer.got
    assert got.headers["webhook-id"] == CALL.id
    assert "webhook-signature" not in got.headers


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_success_is_taken_and_done(mailer: WebhookConsumer, peer: Peer, status: int) -> None:
    """Nobody here can look at what the receiver does, so what it took is done."""
    peer.answers = [status]
    mailer.tell(CALL)
    assert mailer.standing(CALL, mailer.mark()).done


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, Unreachable), (503, Unreachable), (429, Unreachable), (404, Refused), (302, Refused)],
)
def test_what_it_did_not_take(
    mailer: WebhookConsumer, peer: Peer, status: int, kind: type[RotatorError]
) -> None:
    """Said with the host and the status, and nothing else of the address; a redirect is not followed."""
    peer.answers = [status]
    with pytest.raises(kind, match=f"127.0.0.1 answered {status}") as caught:
        mailer.tell(CALL)
    assert "/in" not in str(caught.value)
    assert len(peer.got) == 1


def test_an_answer_that_never_comes(http: HttpClient) -> None:
    """It may have been taken; told again it has the same id, so it may be tried again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)

        silent = threading.Thread(target=accept)
        silent.start()
        consumer = WebhookConsumer(poster(http, f"http://127.0.0.1:{listener.getsockname()[1]}/in"))
        with pytest.raises(Unreachable, match="gave no usable answer") as caught:
            consumer.tell(CALL)
        silent.join()
    assert "under the same id" in caught.value.then


# --- the preflight --------------------------------------------------------------------------------


def test_a_preflight_calls_nobody(mailer: WebhookConsumer, peer: Peer) -> None:
    """Key and host are looked at, and the receiver hears nothing."""
    mailer.preflight()
    assert peer.got == []


@pytest.mark.parametrize("content", [None, "", "short", "whsec_"])
def test_a_key_that_cannot_sign(http: HttpClient, peer: Peer, tmp_path: Path, content: str | None) -> None:
    """Missing, empty or too short: said beforehand, and when told, and nothing is sent unsigned."""
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content, encoding="ascii")
    read = lambda: read_secret_file(path, "webhook.signing_key_file")  # noqa: E731
    consumer = WebhookConsumer(EventPoster(http, SystemClock(), peer.url, read, source=lambda: "/rotator/j"))
    for act in (consumer.preflight, lambda: consumer.tell(CALL)):
        with pytest.raises(InvalidInput):
            act()
    assert peer.got == []


def leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every name of example.com has these addresses."""
    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **named: Any) -> Any:
        if "example.com" not in str(host):
            return real(host, *rest, **named)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for address in addresses for found in real(address, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("addresses", "kind", "words"),
    [
        (("10.0.0.7",), Refused, "mailer.example.com: its name leads to a private address"),
        (("93.184.216.34", "169.254.169.254"), Refused, "leads to a private address"),
        ((), Unreachable, "mailer.example.com could not be looked up: the host name cannot be looked up"),
    ],
)
def test_where_its_name_leads(
    http: HttpClient,
    monkeypatch: pytest.MonkeyPatch,
    addresses: tuple[str, ...],
    kind: type[RotatorError],
    words: str,
) -> None:
    """A private address is refused with the setting that would allow it; an unknown name may be known later."""
    leads_to(monkeypatch, *addresses)
    with pytest.raises(kind, match=words) as caught:
        WebhookConsumer(poster(http, "https://mailer.example.com/reload/secret-path")).preflight()
    assert ("ROTATOR_WEBHOOK_NETWORKS" in caught.value.remedy) is (kind is Refused)
    assert "secret-path" not in str(caught.value)


def test_a_public_name_is_well(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of it, so it need not answer."""
    leads_to(monkeypatch, "93.184.216.34")
    WebhookConsumer(poster(http, "https://mailer.example.com/reload")).preflight()


def test_a_name_that_cannot_be_asked_for(http: HttpClient) -> None:
    """A label that is longer than names allow is an error of ours like any other."""
    with pytest.raises(Unreachable, match="could not be looked up"):
        WebhookConsumer(poster(http, f"https://{'a' * 64}.example.com/reload")).preflight()


def test_a_proxy_looks_names_up_itself(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy names may be unknown here and private there; NO_PROXY is for what is asked directly."""
    leads_to(monkeypatch)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    consumer = WebhookConsumer(poster(http, "https://mailer.example.com/reload"))
    consumer.preflight()
    monkeypatch.setenv("no_proxy", "example.com")
    with pytest.raises(Unreachable):
        consumer.preflight()
