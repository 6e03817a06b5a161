"""Who is let in, and what nobody may do."""

from __future__ import annotations

import base64
import hmac
import logging

import httpx
import pytest

from rotator.credentials import CredentialSource
from rotator.http.app import make_app
from rotator.http.body import BODY_LIMIT
from rotator.http.server import HttpServer
from rotator.http.throttle import ByAddress
from rotator.secret import Secret, _scrubber
from rotator.settings_values import Listen
from tests.http.conftest import BEARER, ROTATE, TOKEN, client_of, raw
from tests.leaks.search import leaks

PAGES = ["/", "/policies/billing-production"]
GUARDED = [*PAGES, "/api/v1/status", "/api/v1/rotations"]
FREE = ["/healthz", "/readyz", "/metrics"]
WRONG = [
    "Bearer wrong",
    "Bearer",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    TOKEN,
    f"Token {TOKEN}",
    "Bearer \xe9\xff",
    "Basic !!!",
]


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


def body(**headers: str) -> dict[str, str]:
    return {**BEARER, "Content-Type": "application/json", **headers}


@pytest.mark.parametrize("sent", [None, *WRONG])
def test_post_needs_the_token(client, board, sent):
    """401 with a bearer challenge, and the board hears nothing."""
    headers = {} if sent is None else {"Authorization": sent.encode("latin-1")}
    answer = client.post(ROTATE, headers=headers, json={"reason": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    assert answer.headers.get_list("www-authenticate") == ['Bearer realm="rotator"']
    assert board.requests == []


def test_post_takes_no_password(client, board):
    """A browser adds passwords by itself to what other sites have it send."""
    assert client.post(ROTATE, headers=basic(TOKEN), json={"reason": "x"}).status_code == 401
    assert board.requests == []


@pytest.mark.parametrize("token", [None, Secret("")])
@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x"}])
def test_without_a_token_post_is_closed(serve, board, token, sent):
    """403 that says how to set one; an empty token is none."""
    with client_of(serve(token)) as client:
        answer = client.post(ROTATE, headers=sent, json={"reason": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "no-token")
    assert "ROTATOR_API_TOKEN" in answer.json()["error"]["remedy"]
    assert board.requests == []


def test_loopback_reads_without_a_token(client):
    """Whoever is on this machine may look."""
    assert {client.get(path).status_code for path in (*GUARDED, *FREE)} == {200}


def test_network_reads_with_the_token_only(outside):
    """Probes and metrics stay free; the page offers a browser its password prompt, the API does not."""
    assert {outside.get(path).status_code for path in FREE} == {200}
    for path in GUARDED:
        refused = outside.get(path)
        assert refused.status_code == 401
        challenges = refused.headers.get_list("www-authenticate")
        assert challenges[0] == 'Bearer realm="rotator"'
        assert (len(challenges) == 2) == (path in PAGES)
        assert outside.get(path, headers=BEARER).status_code == 200
        assert outside.get(path, headers=basic(TOKEN)).status_code == 200
        assert outside.get(path, headers=basic("wrong")).status_code == 401


def test_network_without_a_token_is_closed(serve):
    """Nothing configured means nobody reads, and health still answers."""
    with client_of(serve(None, open_to_network=True)) as client:
        assert {client.get(path).status_code for path in GUARDED} == {403}
        assert client.get("/healthz").status_code == 200


def test_tokens_are_compared_in_constant_time(client, monkeypatch):
    """The comparison is hmac's, on bytes, and nothing sent is remembered by the scrubber."""
    compared = []
    real = hmac.compare_digest

    def watched(left, right):
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr("rotator.http.guard.hmac.compare_digest", watched)
    guess = "a-guess-long-enough-to-be-kept"
    known = len(_scrubber._values)
    client.post(ROTATE, headers={"Authorization": f"Bearer {guess}"}, json={"reason": "x"})
    assert compared == [(guess.encode(), TOKEN.encode())]
    assert len(_scrubber._values) == known


def test_guessing_is_slowed_down(client, clock):
    """After ten wrong tokens an address waits, with the right one too; a minute later it may go on."""
    for _ in range(10):
        assert client.post(ROTATE, headers={"Authorization": "Bearer no"}).status_code == 401
    answer = client.post(ROTATE, headers=BEARER, json={"reason": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert client.get("/api/v1/status").status_code == 200
    clock.advance(60)
    assert client.post(ROTATE, headers=BEARER, json={"reason": "x"}).status_code == 202


def test_asking_without_a_token_is_no_guess(outside):
    """A browser begins that way, every time."""
    assert [outside.get("/").status_code for _ in range(15)] == [401] * 15


def test_many_callers_are_not_remembered_for_ever(clock):
    """Memory is bounded, and the addresses of one IPv6 network count as one."""
    throttle = ByAddress(clock, 2, 60)
    for number in range(3000):
        throttle.take(f"10.0.{number // 250}.{number % 250}")
    assert len(throttle._callers) == 1024
    throttle.take("2001:db8::1")
    throttle.take("2001:db8::2")
    assert throttle.wait("2001:db8::3") == 60
    assert throttle.wait("2001:db8:0:1::3") == 0


def test_rotations_cannot_be_asked_for_without_end(client, board, clock):
    """Thirty a minute in all, and wrong tokens use none of them up."""
    client.post(ROTATE, headers={"Authorization": "Bearer no"})
    for _ in range(30):
        assert client.post(ROTATE, headers=BEARER, json={"reason": "x"}).status_code == 202
    answer = client.post(ROTATE, headers=BEARER, json={"reason": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too-many-requests")
    assert answer.headers["retry-after"] == "60"
    assert len(board.requests) == 30
    clock.advance(60)
    assert client.post(ROTATE, headers=BEARER, json={"reason": "x"}).status_code == 202


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "10.0.0.1", "localhost.evil.example", "[::1"]
)
@pytest.mark.parametrize("path", [*GUARDED, *FREE])
def test_loopback_refuses_other_names(client, host, path):
    """A page whose name was made to resolve to this machine reads nothing."""
    assert client.get(path, headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:80", "127.8.8.8", "[::1]:8080"])
def test_loopback_names_are_taken(client, host):
    """Every way to write this machine."""
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_post_of_another_site_is_refused(client, board, headers):
    """Even with the token."""
    answer = client.post(ROTATE, headers={**BEARER, **headers}, json={"reason": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross-origin")
    assert board.requests == []


def test_post_of_the_own_origin_is_taken(client):
    """The header alone is no reason to refuse."""
    own = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert client.post(ROTATE, headers={**BEARER, **own}, json={"reason": "x"}).status_code == 202


BROKEN = [
    b"",
    b"{",
    b"[]",
    b'"x"',
    b"{}",
    b'{"reason": 1}',
    b'{"reason": null}',
    b'{"reason": ""}',
    b'{"reason": "  "}',
    b'{"reason": "a\\nb"}',
    b'{"reason": "\\ud800"}',
    b'{"reason": "\\u0000"}',
    b'{"reason": "x", "reason": "y"}',
    b'{"reason": "x", "emergency": true}',
    b'{"reason": NaN}',
    b'{"reason": "\xff"}',
    b'\xef\xbb\xbf{"reason": "x"}',
    b"[" * 4000,
    b'{"reason": "' + b"x" * 501 + b'"}',
]


@pytest.mark.parametrize("content", BROKEN)
def test_body_that_is_not_right_is_refused(client, board, content):
    """400 for whatever is no object with one reason; there is no emergency over HTTP."""
    answer = client.post(ROTATE, headers=body(), content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "body")
    assert board.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
def test_other_content_is_not_taken(client, headers):
    """415, so that no form of another site is ever read."""
    answer = client.post(ROTATE, headers=body(**headers), content=b'{"reason": "x"}')
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "content-type")


def test_charset_may_be_said(client):
    """Where it is the only one JSON has."""
    headers = body(**{"Content-Type": 'Application/JSON; charset="UTF-8"'})
    assert client.post(ROTATE, headers=headers, content=b'{"reason": "x"}').status_code == 202


def padded(size: int) -> bytes:
    return b'{"reason": "x"}'.ljust(size)


def test_body_has_a_limit(client, board):
    """Both sides of it, with a length and in chunks without one."""
    for size, status in ((BODY_LIMIT, 202), (BODY_LIMIT + 1, 413)):
        for content in (padded(size), iter([padded(size)])):
            answer = client.post(ROTATE, headers=body(), content=content)
            assert answer.status_code == status
    assert len(board.requests) == 2


def test_announced_length_is_believed_before_it_comes(client):
    """The answer does not wait for a body that is too large anyway."""
    request = (
        f"POST {ROTATE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: 99999999999999\r\n\r\n"
    )
    assert raw(client.base_url.port, request.encode()).startswith(b"HTTP/1.1 413 ")


def test_slow_body_is_not_waited_for(client, monkeypatch):
    """408 after the time for reading, and the connection is closed."""
    monkeypatch.setattr("rotator.http.body.READ_SECONDS", 0.2)
    request = (
        f"POST {ROTATE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{"
    )
    answer = raw(client.base_url.port, request.encode())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "])
def test_slow_headers_are_not_waited_for(client, monkeypatch, sent):
    """A connection that never says what it wants is closed."""
    monkeypatch.setattr("rotator.http.server.HEADER_SECONDS", 0.2)
    assert raw(client.base_url.port, sent) == b""


def test_idle_connections_are_closed(client, monkeypatch):
    """After an answer another request must begin soon, and its headers must end."""
    monkeypatch.setattr("rotator.http.server.HEADER_SECONDS", 0.3)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(client.base_url.port, whole, b"GET /healthz HT")
    assert answer.count(b"HTTP/1.1 200") == 1


def test_headers_have_a_limit(client):
    """Larger than 16 KiB is 431 (or 400, where it came in pieces); no HTTP is 400; both with the security headers."""
    large = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 20000 + b"\r\n\r\n"
    assert raw(client.base_url.port, large).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    for sent in (b"GET /" + b"a" * 20000, b"no http at all\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        answer = raw(client.base_url.port, sent)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"nosniff" in answer


def test_connections_have_a_limit(client, monkeypatch):
    """One too many is closed unheard; those that are there go on."""
    assert client.get("/healthz").status_code == 200
    monkeypatch.setattr("rotator.http.server.CONNECTIONS", 1)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(client.base_url.port, request) == b""
    assert client.get("/healthz").status_code == 200


def test_forwarded_addresses_are_not_believed(client, board):
    """The audit names who called, not who the caller says it is."""
    headers = {**BEARER, "X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    client.post(ROTATE, headers=headers, json={"reason": "x"})
    assert board.requests[0][2] == "127.0.0.1"


def test_token_is_nowhere(client, outside, board, caplog):
    """Not in an answer, a header, a log or what the board hears, whatever is asked and how it fails."""
    caplog.set_level(logging.DEBUG)
    pasted = "lm_" + "Zq8" * 11
    answers = [one.get(path, headers=BEARER) for one in (client, outside) for path in (*GUARDED, *FREE)]
    answers.append(client.get(f"/api/{TOKEN}?x={TOKEN}", headers=BEARER))
    answers.append(client.get(f"/api/v1/rotations?{TOKEN}={TOKEN}"))
    answers.append(client.post(f"/api/v1/policies/{TOKEN}/rotate", headers=BEARER, json={"reason": "x"}))
    answers.append(client.post(ROTATE, headers=BEARER, json={"reason": f"leaked {pasted} {TOKEN}"}))
    board.error = ValueError(f"inside {TOKEN}")
    answers.append(client.get("/api/v1/status"))
    places = {
        f"{number} {one.request.method} {one.status_code}": repr(one.headers).encode() + one.content
        for number, one in enumerate(answers)
    }
    places["board"] = repr(board.requests).encode()
    from rotator.secret import scrub  # noqa: PLC0415

    # The log chain scrubs every line (tests/logs); what is raised by others is all it has to do.
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("rotator", "uvicorn"))]
    places["log"] = "\n".join([*ours, scrub(caplog.text)]).encode()
    assert leaks([TOKEN, pasted], places) == []
    assert board.requests[-1][1] == "leaked [secret] [secret]"


def test_another_token_in_its_file_counts_at_once(board, metrics, clock, tmp_path):
    """Replaced under a running daemon: the new one is accepted, the former refused; an unreadable file changes
    nothing."""
    place = tmp_path / "token"
    place.write_text("the-first-token-of-this-test", encoding="utf-8")
    source = CredentialSource("ROTATOR_API_TOKEN", file=place)
    server = HttpServer(
        make_app(board, metrics, source.get, open_to_network=True, clock=clock), Listen("127.0.0.1", 0)
    )
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.address.port}", trust_env=False) as client:

            def status(token: str) -> int:
                return client.get("/api/v1/status", headers={"Authorization": f"Bearer {token}"}).status_code

            assert status("the-first-token-of-this-test") == 200
            place.write_text("the-second-token-of-this-test", encoding="utf-8")
            assert status("the-first-token-of-this-test") == 401
            assert status("the-second-token-of-this-test") == 200
            place.unlink()
            assert status("the-second-token-of-this-test") == 200
            assert status("the-first-token-of-this-test") == 401
    finally:
        server.stop(2)
