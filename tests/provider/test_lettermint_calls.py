"""Reading projects, pinging, sending, and finding whose message it was."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from rotator.errors import CredentialRejected, InvalidInput, RateLimited, Refused, Unreachable
from rotator.provider.base import (
    PingAnswer,
    ProjectNotVisible,
    SendAnswer,
    SendConflict,
    SendRejected,
    TestMessage,
)
from rotator.provider.credential import TeamCredential
from rotator.provider.lettermint import LettermintProvider
from rotator.secret import Secret
from tests.provider.scripted_peer import (
    OTHER_TEAM_TOKEN,
    PROJECT,
    PROJECT_ID,
    TEAM_TOKEN,
    TOKEN,
    answer,
    drip,
    hang,
    raw,
    reset,
)

SECRET = Secret(TOKEN)
MESSAGE = TestMessage("rotation@example.com", "ok@testing.lettermint.co", "Subject", "Some text")

BAD_TRANSPORT = {
    "reset": reset,
    "closed": raw(b""),
    "silence": hang,
    "drip": drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "truncated": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    "oversized": answer(200, b"x" * 1_100_000),
}


def test_base_url_is_checked(clock, limiter):
    """A provider cannot be made for an address to which a token must not go."""
    with pytest.raises(InvalidInput):
        LettermintProvider(
            "http://api.example.com", TeamCredential(lambda: Secret(TEAM_TOKEN)), limiter, clock
        )


# --- project ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [PROJECT, {"data": PROJECT}], ids=["bare", "wrapped"])
def test_project(peer, provider, limiter, content):
    """A project is read bare or in an envelope, with the team token and one read slot."""
    server = peer(answer(200, content))
    facts = provider(server).project(PROJECT_ID)
    assert (facts.id, facts.name, facts.delivery_mode) == (PROJECT_ID, "Production", "live")
    assert facts.smtp_enabled is True
    assert facts.token_generated_at == "2026-11-01T08:00:00Z"
    assert (facts.token_last_used_at, facts.token_last_used_ip, facts.default_route) == (None, None, None)
    assert server.seen[0].path == f"/v1/projects/{PROJECT_ID}"
    assert server.seen[0].headers["authorization"] == f"Bearer {TEAM_TOKEN}"
    assert limiter.taken == ["read"]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"<html>",
        [],
        {},
        {**PROJECT, "id": None},
        {**PROJECT, "id": ""},
        {**PROJECT, "token_generated_at": 1},
        {key: value for key, value in PROJECT.items() if key != "token_generated_at"},
        {key: value for key, value in PROJECT.items() if key != "token_last_used_at"},
    ],
)
def test_unreadable_project(peer, provider, content):
    """A success that is not a project, or leaves out the fields that are evidence, counts as no answer."""
    with pytest.raises(Unreachable, match="other than its documentation"):
        provider(peer(answer(200, content))).project(PROJECT_ID)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, CredentialRejected), (403, CredentialRejected), (404, ProjectNotVisible), (429, RateLimited), (301, Refused), (302, Refused), (303, Unreachable), (204, Unreachable), (400, Unreachable), (405, Unreachable), (500, Unreachable), (503, Unreachable)],
)  # fmt: skip
def test_project_errors(peer, provider, status, expected):
    """Every other status of a read has its error; none of them is unclear."""
    with pytest.raises(expected) as caught:
        provider(peer(answer(status, {"message": "Because."}))).project(PROJECT_ID)
    assert type(caught.value) is expected
    assert str(status) in str(caught.value)


@pytest.mark.parametrize("reply", BAD_TRANSPORT.values(), ids=BAD_TRANSPORT.keys())
def test_reads_are_never_unclear(peer, provider, reply):
    """A read whose answer was lost is Unreachable: it changed nothing and may be repeated."""
    with pytest.raises(Unreachable, match="Nothing was changed"):
        provider(peer(reply), timeout=0.4).project(PROJECT_ID)


def test_read_uses_a_new_credential(peer, provider):
    """A read refused for its credential is repeated with the one read again, and that one is kept."""
    values = iter([TEAM_TOKEN, OTHER_TEAM_TOKEN])
    server = peer(answer(401), answer(200, PROJECT))
    made = provider(server, TeamCredential(lambda: Secret(next(values))))
    made.project(PROJECT_ID)
    made.project(PROJECT_ID)
    used = [seen.headers["authorization"][-1] for seen in server.seen]
    assert used == [TEAM_TOKEN[-1], OTHER_TEAM_TOKEN[-1], OTHER_TEAM_TOKEN[-1]]


def test_waits_for_a_slot(peer, provider, limiter, clock):
    """A short wait for a read slot is waited on the clock, 30 s in all being the most."""
    limiter.delays = [12.0, 18.0]
    provider(peer(answer(200, PROJECT))).project(PROJECT_ID)
    assert clock.waits == [12.0, 18.0]


def test_does_not_wait_long_for_a_slot(peer, provider, limiter, clock):
    """A longer wait is reported with its length instead, and nothing is sent."""
    limiter.delays = [12.0, 18.5]
    server = peer(answer(200, PROJECT))
    with pytest.raises(RateLimited) as caught:
        provider(server).project(PROJECT_ID)
    assert caught.value.retry_after == 18.5
    assert clock.waits == [12.0]
    assert server.seen == []


def test_reads_teach_the_limiter(peer, provider, limiter, clock):
    """Answers to reads are told to the limiter as "read"."""
    headers = {"X-RateLimit-Remaining": "299", "X-RateLimit-Reset": str(int(clock.now().timestamp()) + 60)}
    provider(peer(answer(200, PROJECT, headers))).project(PROJECT_ID)
    assert limiter.observed == [("read", 299, 60, None)]


# --- the list -----------------------------------------------------------------------------------


def test_all_pages(peer, provider, limiter):
    """The list of projects is followed through its cursors to its end."""
    server = peer(
        answer(200, {"data": [{"id": "a"}, {"id": "b"}], "next_cursor": "c/2="}),
        answer(200, {"data": [], "next_cursor": "c3"}),
        answer(200, {"data": [{"id": "c"}], "next_cursor": None}),
    )
    assert list(provider(server).project_ids()) == ["a", "b", "c"]
    assert [seen.path for seen in server.seen] == [
        "/v1/projects?page%5Bsize%5D=100",
        "/v1/projects?page%5Bsize%5D=100&page%5Bcursor%5D=c%2F2%3D",
        "/v1/projects?page%5Bsize%5D=100&page%5Bcursor%5D=c3",
    ]
    assert limiter.taken == ["read"] * 3


def test_cursor_loop(peer, provider):
    """A cursor that comes again ends the walk with an error instead of never."""
    server = peer(
        answer(200, {"data": [{"id": "a"}], "next_cursor": "x"}),
        answer(200, {"data": [{"id": "b"}], "next_cursor": "y"}),
        answer(200, {"data": [{"id": "c"}], "next_cursor": "x"}),
    )
    with pytest.raises(Unreachable, match="circles"):
        list(provider(server).project_ids())
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"data": {}},
        {"data": [{"name": "no id"}]},
        {"data": ["a"]},
        {"data": [], "next_cursor": 5},
        b"nothing",
    ],
)
def test_unreadable_page(peer, provider, content):
    """A page that is not readable is an error, not a shorter list."""
    with pytest.raises(Unreachable):
        list(provider(peer(answer(200, content))).project_ids())


def test_list_errors(peer, provider):
    """A list that is refused raises as a project does."""
    with pytest.raises(CredentialRejected):
        list(provider(peer(answer(403))).project_ids())


# --- ping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [(200, b"pong", PingAnswer.ALIVE), (200, b"200", PingAnswer.ALIVE), (200, b"<html>", PingAnswer.ALIVE), (401, b"pong", PingAnswer.DEAD), (403, b"", PingAnswer.FORBIDDEN)],
)  # fmt: skip
def test_ping(peer, provider, limiter, status, content, expected):
    """Ping is judged by its status alone; it carries the project token only, and counts in no team limit."""
    server = peer(answer(status, content, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}))
    assert provider(server).ping(SECRET) is expected
    assert server.seen[0].path == "/v1/ping"
    assert server.seen[0].headers["x-lettermint-token"] == TOKEN
    assert "authorization" not in server.seen[0].headers
    assert (limiter.taken, limiter.observed) == ([], [])


@pytest.mark.parametrize("status", [201, 204, 301, 302, 404, 418, 500, 503])
def test_ping_says_nothing(peer, provider, status):
    """Any other status is no word about the token."""
    with pytest.raises(Unreachable, match=str(status)):
        provider(peer(answer(status))).ping(SECRET)


@pytest.mark.parametrize("reply", BAD_TRANSPORT.values(), ids=BAD_TRANSPORT.keys())
def test_ping_lost(peer, provider, reply):
    """A ping whose answer was lost is Unreachable."""
    with pytest.raises(Unreachable):
        provider(peer(reply), timeout=0.4).ping(SECRET)


def test_ping_rate(peer, provider):
    """A 429 to a ping says how long to wait; without a word of it, a minute."""
    server = peer(
        answer(429, None, {"Retry-After": "3"}), answer(429), answer(429, None, {"Retry-After": "0"})
    )
    for wait in (3, 60, 1):
        with pytest.raises(RateLimited) as caught:
            provider(server).ping(SECRET)
        assert caught.value.retry_after == wait
        server.replies.pop(0)
        server._connections = 0


@pytest.mark.parametrize("value", ["", "not a token", "line\nbreak", "caf\u00e9"])
def test_unsendable_token_is_dead(peer, provider, value):
    """A stored value that cannot even be sent is no live token, and nothing is sent."""
    server = peer(answer(200))
    made = provider(server)
    assert made.ping(Secret(value)) is PingAnswer.DEAD
    assert made.send(Secret(value), MESSAGE, "key").answer is SendAnswer.DEAD
    assert server.seen == []


def test_refused_ping_does_not_touch_the_team_token(peer, provider):
    """A refused project token is no reason to read the team token, not even the first time."""

    def load() -> Secret:
        raise AssertionError("must not be read")

    assert provider(peer(answer(401)), TeamCredential(load)).ping(SECRET) is PingAnswer.DEAD


# --- send ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message_id"),
    [({"message_id": "m-1", "status": "pending"}, "m-1"), ({"message_id": None}, None), (b"", None), ([], None), ({"message_id": 4}, None)],
)  # fmt: skip
def test_accepted(peer, provider, limiter, content, message_id):
    """A 202 is an accepted message, with its id where there is one."""
    server = peer(answer(202, content))
    receipt = provider(server).send(SECRET, MESSAGE, "key-1")
    assert (receipt.answer, receipt.message_id) == (SendAnswer.ACCEPTED, message_id)
    sent = server.seen[0]
    assert (sent.method, sent.path) == ("POST", "/v1/send")
    assert sent.headers["idempotency-key"] == "key-1"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["x-lettermint-token"] == TOKEN
    assert json.loads(sent.body) == {
        "from": "rotation@example.com",
        "to": ["ok@testing.lettermint.co"],
        "subject": "Subject",
        "text": "Some text",
    }
    assert limiter.taken == []


def test_repeated_send_is_the_same(peer, provider):
    """A repetition is the same request to the byte."""
    server = peer(answer(500), answer(202, {"message_id": "m"}))
    with pytest.raises(Unreachable):
        provider(server).send(SECRET, MESSAGE, "key-1")
    provider(server).send(SECRET, MESSAGE, "key-1")
    first, second = server.seen
    assert (first.body, first.headers) == (second.body, second.headers)


@pytest.mark.parametrize(("status", "expected"), [(401, SendAnswer.DEAD), (403, SendAnswer.FORBIDDEN)])
def test_refused_token(peer, provider, status, expected):
    """401 and 403 are words about the token."""
    receipt = provider(peer(answer(status))).send(SECRET, MESSAGE, "k")
    assert (receipt.answer, receipt.message_id) == (expected, None)


@pytest.mark.parametrize(
    ("status", "content", "quoted"),
    [
        (400, {"error": "DailyLimitExceeded"}, "DailyLimitExceeded"),
        (422, {"message": "The domain is not verified."}, "The domain is not verified."),
        (422, {"message": "Invalid.", "errors": {"from": ["Bad sender."]}}, "Invalid.: from: Bad sender."),
        (422, {"error": {"code": "POLICY", "message": "Not allowed."}}, "POLICY: Not allowed."),
    ],
)
def test_rejected(peer, provider, status, content, quoted):
    """What the provider will not take is rejected with its own reason, in each shape of an error."""
    with pytest.raises(SendRejected) as caught:
        provider(peer(answer(status, content))).send(SECRET, MESSAGE, "k")
    assert quoted in str(caught.value)
    assert not isinstance(caught.value, SendConflict)


def test_conflict(peer, provider):
    """A 409 is a conflict of idempotency keys, which a later repetition may resolve."""
    with pytest.raises(SendConflict):
        provider(peer(answer(409))).send(SECRET, MESSAGE, "k")


@pytest.mark.parametrize("status", [200, 201, 302, 404, 405, 500, 502, 503])
def test_send_says_nothing(peer, provider, status):
    """Anything else, a success that is no 202 included, is no word about the token."""
    with pytest.raises(Unreachable, match=str(status)) as caught:
        provider(peer(answer(status))).send(SECRET, MESSAGE, "k")
    assert not isinstance(caught.value, RateLimited)


def test_send_rate(peer, provider):
    """A 429 to a send says how long to wait."""
    with pytest.raises(RateLimited) as caught:
        provider(peer(answer(429, None, {"Retry-After": "5"}))).send(SECRET, MESSAGE, "k")
    assert caught.value.retry_after == 5


@pytest.mark.parametrize("reply", BAD_TRANSPORT.values(), ids=BAD_TRANSPORT.keys())
def test_send_lost(peer, provider, reply):
    """A send whose answer was lost is Unreachable: the idempotency key makes a repetition safe."""
    with pytest.raises(Unreachable, match="safe to try again"):
        provider(peer(reply), timeout=0.4).send(SECRET, MESSAGE, "k")


@pytest.mark.parametrize(("length", "fine"), [(0, False), (1, True), (255, True), (256, False)])
def test_key_length(peer, provider, length, fine):
    """An idempotency key has 1 to 255 characters (vendor docs)."""
    made = provider(peer(answer(202)))
    if fine:
        assert made.send(SECRET, MESSAGE, "k" * length).answer is SendAnswer.ACCEPTED
    else:
        with pytest.raises(InvalidInput):
            made.send(SECRET, MESSAGE, "k" * length)


# --- whose message ------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True])
def test_project_of_message(peer, provider, limiter, wrapped):
    """A message is followed through its route to its project, bare or in envelopes."""
    message, route = {"id": "m/1", "route_id": "r 1"}, {"id": "r 1", "project_id": PROJECT_ID}
    server = peer(
        answer(200, {"data": message} if wrapped else message),
        answer(200, {"data": route} if wrapped else route),
    )
    assert provider(server).project_of_message("m/1") == PROJECT_ID
    assert [seen.path for seen in server.seen] == ["/v1/messages/m%2F1", "/v1/routes/r%201"]
    assert limiter.taken == ["read", "read"]


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("at", [0, 1])
def test_project_of_message_not_allowed(peer, provider, status, at):
    """Where the message or its route is not ours to see, there is no answer and no error."""
    replies = [answer(200, {"route_id": "r"}), answer(200, {"project_id": "p"})]
    replies[at] = answer(status)
    assert provider(peer(*replies)).project_of_message("m") is None


@pytest.mark.parametrize("content", [{}, {"route_id": None}, {"route_id": ""}, {"route_id": ".."}, b"x"])
def test_project_of_message_without_route(peer, provider, content):
    """A message without a usable route leads nowhere."""
    server = peer(answer(200, content))
    assert provider(server).project_of_message("m") is None
    assert len(server.seen) == 1


@pytest.mark.parametrize(("reply", "expected"), [(answer(429), RateLimited), (answer(500), Unreachable)])
def test_project_of_message_unreachable(peer, provider, reply, expected):
    """A rate limit or a server error is reported."""
    with pytest.raises(expected):
        provider(peer(reply)).project_of_message("m")


# --- logs ---------------------------------------------------------------------------------------


def test_logs(peer, provider, caplog):
    """Good reads are logged at debug, other answers at info, and lost ones as warnings; never a URL."""
    caplog.set_level(logging.DEBUG, logger="rotator")
    made = provider(peer(answer(200, {"data": [], "next_cursor": "confidential"}), answer(404), reset))
    with pytest.raises(ProjectNotVisible):
        list(made.project_ids())
    with pytest.raises(Unreachable):
        made.project(PROJECT_ID)
    assert [(record.levelname, record.getMessage().split(" in ")[0].split(" after ")[0]) for record in caplog.records] == [
        ("DEBUG", "lettermint projects answered 200"),
        ("INFO", "lettermint projects answered 404"),
        ("WARNING", "lettermint project: no-answer"),
    ]  # fmt: skip
    assert "confidential" not in caplog.text
    assert "/v1" not in caplog.text


# --- the credential -----------------------------------------------------------------------------


def test_credential_is_kept():
    """A credential is read once, on first use."""
    calls = []
    credential = TeamCredential(lambda: calls.append(1) or Secret(TEAM_TOKEN))
    assert calls == []
    assert credential.current() is credential.current()
    assert calls == [1]


def test_same_credential_again():
    """A source that still gives the refused value gives nothing new."""
    credential = TeamCredential(lambda: Secret(TEAM_TOKEN))
    assert credential.reread(credential.current()) is None


def test_two_threads_refused_at_once():
    """Of two threads that were refused with the old value, both get the new one from one reading."""
    values = iter([TEAM_TOKEN, OTHER_TEAM_TOKEN])
    credential = TeamCredential(lambda: Secret(next(values)))
    old = credential.current()
    got = []
    threads = [threading.Thread(target=lambda: got.append(credential.reread(old))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [value.reveal() for value in got] == [OTHER_TEAM_TOKEN] * 2


@pytest.mark.parametrize("error", [InvalidInput("gone"), FileNotFoundError("gone")])
def test_credential_that_cannot_be_read_again(error, caplog):
    """A file that vanished leaves the refusal as it was, with a warning and the old value kept."""
    values = iter([Secret(TEAM_TOKEN)])

    def load() -> Secret:
        for value in values:
            return value
        raise error

    credential = TeamCredential(load)
    old = credential.current()
    assert credential.reread(old) is None
    assert "could not be read again" in caplog.text
    assert credential.current() is old
