"""rotate-token: every possible answer is sorted into certainly-not-executed, minted, or unclear."""

from __future__ import annotations

import base64
import logging
import traceback
from urllib.parse import quote

import pytest

from rotator.errors import (
    CredentialRejected,
    EndpointGone,
    InvalidInput,
    RateLimited,
    Refused,
    RotatorError,
    UnclearOutcome,
    Unreachable,
)
from rotator.provider.base import ProjectNotVisible
from rotator.provider.credential import TeamCredential
from rotator.secret import Secret
from tests.provider.scripted_peer import (
    NEW_TOKEN,
    OTHER_TEAM_TOKEN,
    PROJECT,
    PROJECT_ID,
    ROTATED,
    TEAM_TOKEN,
    answer,
    drip,
    hang,
    raw,
    reset,
)


def test_minted(peer, provider, limiter):
    """A 200 with a well-formed token is a mint, asked for with no body and without a slot of ours."""
    server = peer(answer(200, ROTATED))
    new = provider(server).rotate_token(PROJECT_ID)
    assert new.token.reveal() == NEW_TOKEN
    assert new.generated_at == "2026-11-01T08:00:00Z"
    sent = server.seen[0]
    assert (sent.method, sent.path, sent.body) == ("POST", f"/v1/projects/{PROJECT_ID}/rotate-token", b"")
    assert sent.headers["authorization"] == f"Bearer {TEAM_TOKEN}"
    assert "x-lettermint-token" not in sent.headers
    assert "idempotency-key" not in sent.headers
    assert limiter.taken == []


@pytest.mark.parametrize(
    "content",
    [
        {"new_token": "lm_" + "s" * 22, "message": "something else"},
        {"new_token": "lm_" + "s" * 22, "data": None},
        {"new_token": "lm_" + "s" * 22, "data": {"token_generated_at": 5}},
    ],
)
def test_minted_without_a_date(peer, provider, content):
    """A token of either length counts, whatever else the answer says or leaves out."""
    assert provider(peer(answer(200, content))).rotate_token(PROJECT_ID).generated_at is None


def test_minted_with_another_success(peer, provider):
    """A new token in any 2xx is used: throwing it away would lose it."""
    assert provider(peer(answer(201, ROTATED))).rotate_token(PROJECT_ID).token.reveal() == NEW_TOKEN


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"<html>login</html>",
        b"[" * 100_000,
        b"\xff\xfe",
        [],
        {},
        {"data": PROJECT, "message": "API token rotated successfully."},
        {"new_token": None},
        {"new_token": 7},
        {"new_token": ""},
        {"new_token": "lm_"},
        {"new_token": "lm_" + "A" * 31 + "\n"},
        {"new_token": TEAM_TOKEN},
        {"data": {"new_token": NEW_TOKEN}},
    ],
)
def test_success_without_a_token(peer, provider, content):
    """A success without a well-formed token was executed, and its token is lost: unclear."""
    with pytest.raises(UnclearOutcome) as caught:
        provider(peer(answer(200, content))).rotate_token(PROJECT_ID)
    assert "evidence" in caught.value.remedy


@pytest.mark.parametrize(
    "status", [202, 204, 300, 303, 304, 400, 402, 408, 409, 418, 425, 500, 502, 503, 504, 524]
)
def test_unclear_statuses(peer, provider, status):
    """A status that does not certainly mean "not executed" is unclear."""
    with pytest.raises(UnclearOutcome, match=str(status)):
        provider(peer(answer(status))).rotate_token(PROJECT_ID)


@pytest.mark.parametrize(
    "reply",
    [reset, raw(b""), hang, drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), raw(b"junk\r\n\r\n"), answer(200, b"x" * 1_100_000), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{")],
    ids=["reset", "closed", "silence", "drip", "not-http", "oversized", "truncated"],
)  # fmt: skip
def test_unclear_transport(peer, provider, reply):
    """An answer that was lost on the way is unclear, and the call is not repeated."""
    server = peer(reply)
    with pytest.raises(UnclearOutcome, match="may have been rotated"):
        provider(server, timeout=0.4).rotate_token(PROJECT_ID)
    assert len(server.seen) == 1


def test_refused_connection(peer, provider):
    """A refused connection certainly minted nothing."""
    server = peer(answer(200, ROTATED))
    server.close()
    with pytest.raises(Unreachable, match="No token was minted"):
        provider(server).rotate_token(PROJECT_ID)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, CredentialRejected), (403, CredentialRejected), (422, Refused), (429, RateLimited), (301, Refused), (302, Refused), (307, Refused), (308, Refused)],
)  # fmt: skip
def test_certainly_not_executed(peer, provider, status, expected):
    """These statuses are certain refusals, and say that no token was minted."""
    server = peer(answer(status, {"message": "No, because."}, {"Location": "https://elsewhere.example"}))
    with pytest.raises(expected, match="No token was minted") as caught:
        provider(server).rotate_token(PROJECT_ID)
    assert type(caught.value) is expected
    assert len(server.seen) == 1
    if status > 400:
        assert "No, because." in str(caught.value)


@pytest.mark.parametrize("status", [404, 405, 410])
def test_endpoint_gone(peer, provider, status):
    """When the project can still be read, the endpoint is what is gone: the remedy is `assisted`."""
    server = peer(answer(status), answer(200, PROJECT))
    with pytest.raises(EndpointGone) as caught:
        provider(server).rotate_token(PROJECT_ID)
    assert "strategy: assisted" in caught.value.remedy
    assert "left alone" in caught.value.then
    assert [seen.method for seen in server.seen] == ["POST", "GET"]


@pytest.mark.parametrize("status", [404, 405, 410])
def test_project_gone(peer, provider, status):
    """When the project cannot be read either, it is the project that is not visible."""
    with pytest.raises(ProjectNotVisible):
        provider(peer(answer(status), answer(404))).rotate_token(PROJECT_ID)


@pytest.mark.parametrize(("second", "expected"), [(answer(401), CredentialRejected), (reset, Unreachable)])
def test_endpoint_gone_cannot_be_told(peer, provider, second, expected):
    """When the look at the project fails, that failure is reported, and it is certain as well."""
    with pytest.raises(expected) as caught:
        provider(peer(answer(404), second)).rotate_token(PROJECT_ID)
    assert not isinstance(caught.value, UnclearOutcome)


@pytest.mark.parametrize("bad", ["", ".", ".."])
def test_ids_that_change_the_path(peer, provider, bad):
    """An id that would change the path is refused before anything is sent."""
    server = peer(answer(200, ROTATED))
    with pytest.raises(InvalidInput):
        provider(server).rotate_token(bad)
    assert server.seen == []


def test_ids_are_encoded(peer, provider):
    """An id is one segment of the path, whatever it holds."""
    server = peer(answer(200, ROTATED))
    provider(server).rotate_token("a/../b?c#d%e")
    assert server.seen[0].path == "/v1/projects/a%2F..%2Fb%3Fc%23d%25e/rotate-token"


@pytest.mark.parametrize("status", [401, 403])
def test_credential_is_read_again(peer, provider, status):
    """A refused team token is read again, and the call repeated once with the new one."""
    values = iter([TEAM_TOKEN, OTHER_TEAM_TOKEN])
    server = peer(answer(status), answer(200, ROTATED))
    made = provider(server, TeamCredential(lambda: Secret(next(values))))
    assert made.rotate_token(PROJECT_ID).token.reveal() == NEW_TOKEN
    used = [seen.headers["authorization"] for seen in server.seen]
    assert used == [f"Bearer {TEAM_TOKEN}", f"Bearer {OTHER_TEAM_TOKEN}"]


def test_credential_is_read_again_once(peer, provider):
    """A second refusal is final."""
    values = iter([TEAM_TOKEN, OTHER_TEAM_TOKEN, "lm_team_" + "V" * 40])
    server = peer(answer(401))
    with pytest.raises(CredentialRejected):
        provider(server, TeamCredential(lambda: Secret(next(values)))).rotate_token(PROJECT_ID)
    assert len(server.seen) == 2


def test_no_repetition_without_time(peer, provider, clock):
    """Both calls share one time-out; when little of it is left, the refusal is reported instead."""
    values = iter([TEAM_TOKEN, OTHER_TEAM_TOKEN])

    def load() -> Secret:
        clock.advance(1.01)
        return Secret(next(values))

    server = peer(answer(401), answer(200, ROTATED))
    made = provider(server, TeamCredential(load), timeout=2.0)
    with pytest.raises(CredentialRejected):
        made.rotate_token(PROJECT_ID)
    assert len(server.seen) == 1
    assert made.rotate_token(PROJECT_ID).token.reveal() == NEW_TOKEN


def test_unusable_team_token(peer, provider):
    """A team token with a line break is named as such, and nothing is sent."""
    server = peer(answer(200, ROTATED))
    with pytest.raises(InvalidInput, match="LETTERMINT_TEAM_TOKEN"):
        provider(server, TeamCredential(lambda: Secret(TEAM_TOKEN + "\n"))).rotate_token(PROJECT_ID)
    assert server.seen == []


def test_bookkeeping_cannot_cost_a_token(peer, provider, limiter):
    """A limiter or a counter that fails after the answer does not lose the token in it."""

    def failing(call: str, status: str, seconds: float) -> None:
        raise RuntimeError("no counters today")

    limiter.broken = True
    made = provider(peer(answer(200, ROTATED)), observer=failing)
    assert made.rotate_token(PROJECT_ID).token.reveal() == NEW_TOKEN
    with pytest.raises(UnclearOutcome):
        provider(peer(reset), observer=failing).rotate_token(PROJECT_ID)


def test_observer(peer, provider):
    """Each call is reported by name and status, and failures of transport by their kind."""
    told = []
    server = peer(answer(200, ROTATED), reset)
    made = provider(server, observer=lambda call, status, seconds: told.append((call, status)))
    made.rotate_token(PROJECT_ID)
    for _ in range(2):
        with pytest.raises(RotatorError):
            made.rotate_token(PROJECT_ID)
        server.close()
    assert told == [("rotate-token", "200"), ("rotate-token", "no-answer"), ("rotate-token", "not-sent")]


def test_limiter_learns(peer, provider, limiter, clock):
    """What the answer says about the rate is told to the limiter as "rotate", in seconds from now."""
    reset_at = int(clock.now().timestamp()) + 40
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset_at)}
    server = peer(answer(200, ROTATED, headers), answer(429, None, headers | {"Retry-After": "17"}))
    made = provider(server)
    made.rotate_token(PROJECT_ID)
    with pytest.raises(RateLimited) as caught:
        made.rotate_token(PROJECT_ID)
    assert caught.value.retry_after == 17
    assert limiter.observed == [("rotate", 0, 40, None), ("rotate", 0, 40, 17)]


def test_retry_after_on_a_server_error(peer, provider, limiter):
    """`Retry-After` of a 5xx is told to the limiter too."""
    with pytest.raises(UnclearOutcome):
        provider(peer(answer(503, None, {"Retry-After": "9"}))).rotate_token(PROJECT_ID)
    assert limiter.observed == [("rotate", None, None, 9)]


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("X-Request-Id", "x-request-id=req-77"),
        ("Request-Id", "request-id=req-77"),
        ("CF-Ray", "cf-ray=req-77"),
    ],
)
def test_request_id_is_logged(peer, provider, caplog, header, shown):
    """The request id is logged with the call, its status and its duration."""
    caplog.set_level(logging.INFO, logger="rotator")
    provider(peer(answer(200, ROTATED, {header: "req-77"}))).rotate_token(PROJECT_ID)
    (record,) = caplog.records
    assert record.request_id == shown
    assert (record.call, record.status) == ("rotate-token", 200)
    assert record.seconds >= 0
    assert shown in record.getMessage()


def test_hostile_request_id(peer, provider, caplog):
    """A request id that is none, or that is a token, is not logged."""
    caplog.set_level(logging.DEBUG)
    for value in ("two words", "\x1b[31m", "x" * 129, NEW_TOKEN):
        provider(peer(answer(200, ROTATED, {"X-Request-Id": value}))).rotate_token(PROJECT_ID)
        assert value not in caplog.text


ECHO = {"message": f"Bearer {TEAM_TOKEN} made {NEW_TOKEN}", "new_token": NEW_TOKEN}


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, {"new_token": NEW_TOKEN + "!"}),
        answer(401, ECHO),
        answer(422, {"message": "x", "errors": {"token": [TEAM_TOKEN]}}),
        answer(429, {"error": ECHO}),
        answer(
            500, {"error": {"code": TEAM_TOKEN, "message": base64.b64encode(TEAM_TOKEN.encode()).decode()}}
        ),
        answer(500, NEW_TOKEN.encode()),
        answer(404, ECHO),
        answer(302, ECHO, {"Location": f"https://x.example/?t={TEAM_TOKEN}"}),
        raw(TEAM_TOKEN.encode() + b"\r\n\r\n"),
        reset,
    ],
    ids=["malformed", "401", "422", "429", "500", "500-bare", "404", "302", "not-http", "reset"],
)
def test_no_token_shows(peer, provider, caplog, reply):
    """However the other side echoes tokens, none shows in messages, logs, or tracebacks with locals."""
    for name in ("", "httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
        caplog.set_level(logging.DEBUG, logger=name)
    made = provider(peer(reply))
    with pytest.raises(RotatorError) as caught:
        made.rotate_token(PROJECT_ID)
    error = caught.value
    shown = [str(error), repr(error), repr(made), repr(vars(error)), caplog.text]
    shown += [repr(vars(record)) for record in caplog.records]
    shown += [repr(link) for link in (error.__context__, error.__cause__)]
    # The test's own frame holds nothing but references to the constants above by name.
    shown += traceback.TracebackException.from_exception(
        error.with_traceback(error.__traceback__ and error.__traceback__.tb_next), capture_locals=True
    ).format()
    seen = "".join(shown)
    for token in (TEAM_TOKEN, NEW_TOKEN):
        for form in (token, quote(token, safe=""), base64.b64encode(token.encode()).decode().rstrip("=")):
            assert form not in seen
