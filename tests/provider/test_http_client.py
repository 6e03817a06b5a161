"""The HTTP client: what is sent, what never is, and what a failure says."""

from __future__ import annotations

import base64
import datetime as dt
import logging
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rotator.errors import InvalidInput, UnclearOutcome, Unreachable
from rotator.http_client import (
    Credential,
    HttpClient,
    NoAnswer,
    NotSent,
    check_base_url,
    check_header_value,
)
from rotator.secret import Secret
from rotator.urls import is_loopback
from tests.acceptance.site import eventually
from tests.conftest import FakeClock
from tests.provider.scripted_peer import TOKEN, answer, drip, hang, raw, reset

CREDENTIAL = Credential("x-lettermint-token", Secret(TOKEN))


@pytest.fixture
def client(clock):
    made = HttpClient(clock, call_timeout=2.0, connect_timeout=1.0)
    yield made
    made.close()


def quick(clock: FakeClock, seconds: float = 0.4) -> HttpClient:
    return HttpClient(clock, call_timeout=seconds, connect_timeout=0.3)


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://api.lettermint.co/v1", "https://api.lettermint.co/v1"),
        ("https://api.lettermint.co/v1/", "https://api.lettermint.co/v1"),
        ("HTTPS://api.example.com:8443", "HTTPS://api.example.com:8443"),
        ("http://localhost:5555/v1", "http://localhost:5555/v1"),
        ("http://127.8.9.1:1", "http://127.8.9.1:1"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_usable_base_urls(given, kept):
    """Https anywhere and plain http on loopback are taken, without their trailing slash."""
    assert check_base_url(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "api.lettermint.co/v1",
        "ftp://api.lettermint.co",
        "https://",
        "https:///v1",
        "https://api.lettermint.co:99999",
        "https://api.lettermint.co:0",
        "https://[::1",
        "https://u:hunter2hunter2@api.lettermint.co",
        "https://api.lettermint.co/v1?team=hunter2hunter2",
        "https://api.lettermint.co/v1?",
        "https://api.lettermint.co/v1#hunter2hunter2",
        "https://api.lettermint.co/ v1",
        "https://api.lettermint.co/v1\n",
        "https://api.lettermint.có/v1",
        "http://api.lettermint.co/v1",
        "http://10.0.0.1/v1",
        "http://localhost.example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://0.0.0.0/v1",
    ],
)
def test_unusable_base_urls(given):
    """Anything else is refused with advice, and the message does not repeat what may be a password."""
    with pytest.raises(InvalidInput) as caught:
        check_base_url(given)
    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("128.0.0.1", False),
        ("", False),
        (None, False),
        ("local", False),
    ],
)
def test_loopback(host, loopback):
    """Only localhost and loopback addresses are this machine."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("value", ["", "two words", "line\n", "tab\t", "caf\u00e9-token", "null\0"])
def test_header_guard_refuses(value):
    """A token that is no legal header value is refused before anything is sent, and is not repeated."""
    with pytest.raises(InvalidInput) as caught:
        check_header_value("LETTERMINT_TEAM_TOKEN", Secret(value))
    assert "LETTERMINT_TEAM_TOKEN" in str(caught.value)
    assert not value or value not in str(caught.value)


def test_header_guard_accepts():
    """Printable ASCII passes the guard."""
    check_header_value("token", Secret(TOKEN))


def test_no_credential_over_plain_http(client):
    """A credential is never sent to another machine without TLS."""
    with pytest.raises(InvalidInput, match="plain http"):
        client.call("GET", "http://example.com/", credential=CREDENTIAL)


def test_line_break_in_a_header(client):
    """A header value with a line break is refused, so nothing can be smuggled into a request."""
    with pytest.raises(InvalidInput):
        client.call("GET", "http://127.0.0.1:9/", headers={"Idempotency-Key": "a\r\nX-Other: b"})


# --- what is sent -------------------------------------------------------------------------------


def test_a_plain_call(client, peer):
    """A call sends its credential and who we are, and gets status, kept headers and body."""
    server = peer(answer(200, b"pong", {"X-Request-Id": "r-1", "Set-Cookie": "a=b", "X-Secret": "s"}))
    got = client.call("GET", f"{server.url}/ping", credential=CREDENTIAL)
    assert (got.status, got.body) == (200, b"pong")
    assert got.headers == {"x-request-id": "r-1"}
    sent = server.seen[0]
    assert (sent.method, sent.path) == ("GET", "/v1/ping")
    assert sent.headers["x-lettermint-token"] == TOKEN
    assert sent.headers["user-agent"].startswith("rotator/")
    assert sent.headers["accept"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"


def test_repr_of_an_answer_hides_its_body(client, peer):
    """The body of an answer, which may hold a token, is not in its repr."""
    server = peer(answer(200, {"new_token": TOKEN}))
    assert "body" not in repr(client.call("GET", server.url))


def test_scheme_of_a_credential(client, peer):
    """A credential with a scheme is sent as `Scheme secret`, and a POST without a body says length 0."""
    server = peer(answer(200))
    client.call("POST", server.url, credential=Credential("Authorization", Secret(TOKEN), "Bearer"))
    assert server.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert server.seen[0].headers["content-length"] == "0"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_answers(client, peer, status):
    """A redirect is handed back and never followed, so the credential goes nowhere else."""
    elsewhere = peer(answer(200))
    server = peer(answer(status, headers={"Location": f"{elsewhere.url}/ping"}))
    assert client.call("GET", server.url, credential=CREDENTIAL).status == status
    assert elsewhere.seen == []


def test_no_cookies(client, peer):
    """A cookie that was set is not sent back."""
    server = peer(answer(200, b"1", {"Set-Cookie": "session=abc; Path=/"}), answer(200, b"2"))
    assert client.call("GET", server.url).body == b"1"
    assert client.call("GET", server.url).body == b"2"
    assert "cookie" not in server.seen[1].headers


def test_no_connection_is_kept(client, peer):
    """A connection that could be kept is ended by us with its first answer."""
    after = queue.Queue()

    def keeping(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.settimeout(1)
        try:
            after.put(connection.recv(1))
        except TimeoutError:
            after.put("still open")

    assert client.call("GET", peer(keeping).url).body == b"ok"
    assert after.get(timeout=5) == b""


def test_netrc_is_not_used(client, peer, tmp_path, monkeypatch):
    """Credentials of ~/.netrc are never sent."""
    (tmp_path / ".netrc").write_text("default login somebody password something\n", encoding="utf-8")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    server = peer(answer(200))
    client.call("GET", server.url)
    assert "authorization" not in server.seen[0].headers


def test_loopback_ignores_proxies(client, peer, monkeypatch):
    """A loopback address is asked directly, whatever proxy the environment names."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = peer(answer(200))
    assert client.call("GET", server.url).status == 200


def test_a_proxy_that_refuses(client, peer, monkeypatch):
    """Off loopback the proxy of the environment is asked; its refusal means that nothing was sent, and
    it never saw the credential."""
    proxy = peer(answer(407))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotSent, match="407"):
        client.call("POST", "https://api.example.invalid/v1/send", credential=CREDENTIAL)
    assert proxy.seen[0].method == "CONNECT"
    assert TOKEN.encode() not in proxy.raw_bytes


def test_unusable_environment(clock, monkeypatch):
    """A certificate store that is not there is a settings error, not a network error."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(InvalidInput, match="SSL_CERT_FILE"):
        HttpClient(clock).call("GET", "https://127.0.0.1:9/")


# --- certainly not sent -------------------------------------------------------------------------


def test_connection_refused(client, peer):
    """A refused connection was certainly not executed, and is Unreachable to who does not ask."""
    server = peer(answer(200))
    server.close()
    with pytest.raises(NotSent, match="connection refused") as caught:
        client.call("POST", server.url, credential=CREDENTIAL)
    assert isinstance(caught.value, Unreachable)
    assert caught.value.exit_code == 6


def test_name_that_does_not_exist(client, monkeypatch):
    """A host name that cannot be looked up was certainly not reached."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotSent, match="looked up"):
        client.call("GET", "https://nobody.invalid/", credential=CREDENTIAL)


def test_no_tls_on_the_other_side(client, peer):
    """A failed TLS handshake means that no request left."""
    server = peer(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), read=False)
    with pytest.raises(NotSent, match="TLS failed"):
        client.call("POST", server.url.replace("http:", "https:"), credential=CREDENTIAL)


def test_tls_handshake_that_hangs(clock, peer):
    """A handshake that never ends is given up within the time-out, with nothing sent."""
    server = peer(hang, read=False)
    begun = time.monotonic()
    with pytest.raises(NotSent):
        quick(clock).call("POST", server.url.replace("http:", "https:"), credential=CREDENTIAL)
    assert time.monotonic() - begun < 2


def test_nothing_leaves_after_the_deadline(peer):
    """A process that was suspended before it sent anything does not send it late."""

    class Suspended(FakeClock):
        def boot(self) -> float:
            self.advance(20)
            return super().boot()

    server = peer(answer(200))
    with pytest.raises(NotSent, match="no whole answer within 10 s"):
        HttpClient(Suspended(), call_timeout=10).call("POST", server.url, credential=CREDENTIAL)
    assert server.raw_bytes == b""


# --- may have been executed ---------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (reset, "reset by peer"),
        (raw(b""), "ended early"),
        (raw(b"SSH-2.0-hello\r\n\r\n"), "not HTTP"),
        (raw(HEAD + b"Content-Length: 100\r\n\r\n{"), "ended early"),
        (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"), "ended early"),
        (raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), "DecodingError"),
        (raw(HEAD + b"X: " + b"y" * 200_000), "not HTTP"),
        (hang, "no "),
        (drip(b"", b"H", pause=0.1), "no "),
        (drip(HEAD, b"X-A: b\r\n"), "no whole answer within 0.4 s"),
        (drip(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"), "no whole answer within 0.4 s"),
        (drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"), "no whole answer within 0.4 s"),
        (drip(HEAD + b"\r\n", b"x"), "no whole answer within 0.4 s"),
        (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "no whole answer within 0.4 s"),
    ],
    ids=["reset", "closed", "not-http", "truncated", "truncated-chunks", "bad-encoding", "endless-header", "silence", "drip-status", "drip-headers", "drip-body", "drip-chunk-header", "drip-without-length", "drip-100-continue"],
)  # fmt: skip
def test_sent_but_no_usable_answer(clock, peer, reply, reason):
    """Whatever goes wrong once the request is out is reported as possibly executed, within the
    time-out in total and not per byte."""
    server = peer(reply)
    begun = time.monotonic()
    with pytest.raises(NoAnswer, match=reason) as caught:
        quick(clock).call("POST", server.url, credential=CREDENTIAL)
    assert time.monotonic() - begun < 1.5
    assert isinstance(caught.value, UnclearOutcome)
    assert len(server.seen) == 1


def test_size_limit(clock, peer):
    """An answer of exactly the limit is taken, one byte more is not."""
    client = HttpClient(clock, call_timeout=2, max_bytes=1000)
    server = peer(answer(200, b"x" * 1000), answer(200, b"x" * 1001))
    assert len(client.call("GET", server.url).body) == 1000
    with pytest.raises(NoAnswer, match="larger than 1000 bytes"):
        client.call("GET", server.url)


def test_time_out_of_one_call(client, peer):
    """A call may be given less time than the client's own time-out."""
    begun = time.monotonic()
    with pytest.raises(NoAnswer):
        client.call("GET", peer(hang).url, timeout=0.2)
    assert time.monotonic() - begun < 1


def test_each_call_of_several_has_its_own_time(client, peer):
    """One that began later and has less time ends before those that were there, and each when it is over."""
    ended = []

    def call(seconds: float) -> None:
        with pytest.raises(NoAnswer, match=f"no whole answer within {seconds:g} s"):
            client.call("GET", server.url, timeout=seconds)
        ended.append(seconds)

    server = peer(*[drip(HEAD, b"X-A: b\r\n")] * 4)
    threads = []
    for seconds in (3.2, 2.4, 1.6, 0.4):
        threads.append(threading.Thread(target=call, args=(seconds,)))
        threads[-1].start()
        eventually(lambda: len(server.seen) == len(threads))
    assert len(timekeepers()) == 1
    for thread in threads:
        thread.join()
    assert ended == [0.4, 1.6, 2.4, 3.2]


def test_nobody_keeps_the_time_where_nothing_is_called(client, peer):
    """The thread ends when the last call could have been late; another call has another one."""
    during = []

    def reply(connection: socket.socket) -> None:
        during.extend(timekeepers())
        answer(200)(connection)

    server = peer(reply)
    for _ in range(2):
        client.call("GET", server.url, timeout=0.3)
        eventually(lambda: not timekeepers())
    assert len(set(during)) == len(during) == 2


def timekeepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "http-timekeeper"]


def test_calls_of_a_forked_process_have_their_time(peer):
    """A fork takes no thread along, and calls in the child end all the same."""
    server = peer(answer(200), drip(HEAD, b"X-A: b\r\n"))
    code = f"""
import os
from rotator.clock import SystemClock
from rotator.http_client import HttpClient, NoAnswer
client = HttpClient(SystemClock(), call_timeout=30)
client.call("GET", "{server.url}")
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    client.call("GET", "{server.url}", timeout=0.3)
except NoAnswer as error:
    os._exit(42 if "no whole answer within 0.3 s" in str(error) else 1)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=20).returncode == 42


def test_many_threads(client, peer):
    """One client serves several threads at once."""
    server = peer(answer(200, b"ok"))
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(client.call("GET", server.url).body)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [b"ok"] * 12


def test_closed_client_opens_again(client, peer):
    """Closing gives resources back and is no end."""
    server = peer(answer(200))
    client.call("GET", server.url)
    client.close()
    assert client.call("GET", server.url).status == 200


# --- TLS that works -----------------------------------------------------------------------------


@pytest.fixture
def tls_files(tmp_path):
    """A certificate for localhost that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "both.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem


def tls(pem, reply):
    """The reply inside TLS, after the request was read."""

    def over_tls(connection):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            reply(secured)

    return over_tls


def test_certificate_of_a_stranger(client, peer, tls_files):
    """A certificate that nobody vouches for ends the call before anything is sent."""
    server = peer(tls(tls_files, answer(200)), read=False)
    with pytest.raises(NotSent, match="certificate is not accepted: self-signed"):
        client.call("GET", f"https://localhost:{server.port}/", credential=CREDENTIAL)


def test_tls_with_a_trusted_certificate(clock, peer, tls_files, monkeypatch):
    """SSL_CERT_FILE is honoured, and the whole-call time-out holds inside TLS too."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_files))
    server = peer(tls(tls_files, answer(200, b"pong")), tls(tls_files, drip(HEAD, b"X-A: b\r\n")), read=False)
    client = HttpClient(clock, call_timeout=1.0)
    assert client.call("GET", f"https://localhost:{server.port}/", credential=CREDENTIAL).body == b"pong"
    begun = time.monotonic()
    with pytest.raises(NoAnswer, match="no whole answer within 1 s"):
        client.call("GET", f"https://localhost:{server.port}/", credential=CREDENTIAL)
    assert time.monotonic() - begun < 2.5


# --- what must not be seen ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [answer(200, {"new_token": TOKEN}), answer(500, TOKEN.encode()), reset, raw(b""), hang, raw(TOKEN.encode()), raw(HEAD + b"Content-Length: 99\r\n\r\n" + TOKEN.encode())],
    ids=["ok", "500", "reset", "closed", "silence", "token-as-http", "truncated"],
)  # fmt: skip
def test_no_token_in_logs_or_tracebacks(clock, peer, reply, caplog):
    """With every logger at DEBUG, and in tracebacks that show local variables, no form of the token
    and no query of a URL appears."""
    server = peer(answer(200), reply)
    # Only silence is waited for; what is answered may be late on a busy machine, and is to be answered.
    client = quick(clock, 0.4 if reply is hang else 20.0)
    client.call("GET", server.url)
    # Somebody turns everything on after the client was made.
    for name in ("", "httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
        caplog.set_level(logging.DEBUG, logger=name)
    shown = [""]
    try:
        client.call("GET", f"{server.url}?cursor=confidential", credential=CREDENTIAL)
    except NoAnswer as error:
        shown += [str(error), repr(error), repr(error.__context__), repr(error.__cause__), repr(vars(error))]
        shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    seen = caplog.text + "".join(repr(vars(record)) for record in caplog.records) + "".join(shown)
    for form in (TOKEN, quote(TOKEN, safe=""), base64.b64encode(TOKEN.encode()).decode().rstrip("=")):
        assert form not in seen
    assert "confidential" not in caplog.text
    assert server.seen[1].headers["x-lettermint-token"] == TOKEN


def test_httpx_is_not_loaded_early():
    """Importing the client does not load httpx, which commands that stay at home never need."""
    code = "import sys, rotator.provider.lettermint; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
