"""What every address answers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rotator.errors import AuditUnavailable, Busy, Held, JournalUnavailable, RateLimited, Refused
from rotator.http import app as app_module
from rotator.secret import Secret
from rotator.views import rotations_view, status_view
from tests.http.conftest import BEARER, ROTATE, client_of, ended, policy

EVERY = [
    "/",
    "/policies/billing-production",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/status",
    "/api/v1/rotations",
    "/nowhere",
    "/api/x",
]


def test_health_is_ok_and_nothing_else(client, board):
    """The process answers, whatever the board says."""
    board.reasons = ("The journal is away.",)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok")


def test_readiness_gives_its_reasons(client, board):
    """200 without a reason, 503 with them."""
    assert client.get("/readyz").json() == {"ready": True, "reasons": []}
    board.reasons = ("The journal is away.",)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": ["The journal is away."]})


def test_status_is_what_the_command_prints(client, board):
    """The same view of the same facts."""
    board.policies = [policy(), policy("other", state="overdue", overdue=True)]
    assert client.get("/api/v1/status").json() == status_view(board.policies)


def test_rotations_are_those_asked_for(client, board):
    """By policy, newest first, within a limit that has a default and a bound."""
    board.past = [ended("r-2"), ended("r-1", policy="other")]
    assert client.get("/api/v1/rotations").json() == rotations_view(board.past)
    found = client.get("/api/v1/rotations", params={"policy": "other", "limit": 500}).json()
    assert [one["id"] for one in found["rotations"]] == ["r-1"]
    assert board.asked == [(None, 50), ("other", 500)]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "limit=-1", "limit=1&limit=2", "all=1"])
def test_query_that_means_nothing_is_refused(client, board, query):
    """400 and no look at the journal."""
    answer = client.get(f"/api/v1/rotations?{query}")
    assert (answer.status_code, answer.json()["error"]["code"], board.asked) == (400, "query", [])


def test_rotation_asked_for_is_accepted(client, board):
    """202 and the id; the board hears reason and address."""
    answer = client.post(ROTATE, headers=BEARER, json={"reason": " quarterly "})
    assert (answer.status_code, answer.json()) == (202, {"rotation": "r-1"})
    assert board.requests == [("billing-production", "quarterly", "127.0.0.1")]


@pytest.mark.parametrize("name", ["unknown", "UPPER", "a%00b", "-x"])
def test_unknown_policy_is_not_found(client, name):
    """404 as JSON, also for what cannot be a name."""
    answer = client.post(f"/api/v1/policies/{name}/rotate", headers=BEARER, json={"reason": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "invalid-input")


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [
        (Held("It is held", then="Nothing was done", remedy="Release it"), 409, None),
        (Busy("Another process is at work"), 409, None),
        (Refused("Not now"), 409, None),
        (JournalUnavailable("The journal is away"), 503, "5"),
        (AuditUnavailable("The audit log is full"), 503, "5"),
        (RateLimited("Too often", retry_after=6.2), 503, "7"),
    ],
)
def test_errors_of_the_board_have_their_status(client, board, error, status, after):
    """Each with its code and its three sentences."""
    board.error = error
    answer = client.post(ROTATE, headers=BEARER, json={"reason": "x"})
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, after)
    assert answer.json()["error"] == {
        "code": error.code,
        "happened": error.happened,
        "then": error.then,
        "remedy": error.remedy,
    }


@pytest.mark.parametrize(
    "path", ["/", "/policies/billing-production", "/api/v1/status", "/api/v1/rotations", "/metrics"]
)
def test_unexpected_error_tells_nothing(client, board, path, caplog):
    """500 without details for the caller; the log has them."""
    board.error = ValueError("detail-of-the-inside")
    answer = client.get(path)
    assert answer.status_code == 500
    assert "detail-of-the-inside" not in answer.text
    assert "detail-of-the-inside" in caplog.text
    if path.startswith("/api"):
        assert answer.json()["error"]["code"] == "internal"


@pytest.mark.parametrize("path", EVERY)
def test_every_answer_has_the_security_headers(client, path):
    """Also refusals; nothing is cached, framed, sniffed or named."""
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize("path", EVERY)
def test_head_is_get_without_its_body(client, path):
    """The same status and type, and nothing after the headers."""
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert head.content == b""


def test_nothing_there_is_told_in_the_caller_s_form(client):
    """JSON under /api, short text elsewhere, and no redirect that follows the Host header."""
    api = client.get("/api/v2")
    assert (api.status_code, api.json()["error"]["code"]) == (404, "not-found")
    for path in ("/nowhere", "/healthz/"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    method = client.get(ROTATE)
    assert (method.status_code, method.json()["error"]["code"], method.headers["allow"]) == (
        405,
        "method",
        "POST",
    )
    assert client.post("/healthz").status_code == 405
    assert client.options("/api/v1/status").status_code == 405


def test_probes_do_not_wait_behind_a_slow_board(serve, board):
    """With every place of the API taken, probes still answer, and one more caller hears 503 at once."""
    server = serve(Secret("of-nobody-but-this-test"))
    board.gate.clear()
    with ThreadPoolExecutor(30) as threads, client_of(server) as probe:

        def ask():
            with client_of(server) as mine:
                return mine.get("/api/v1/status").status_code

        waiting = [threads.submit(ask) for _ in range(30)]
        deadline = time.monotonic() + 60
        while sum(one.done() for one in waiting) < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = [one.result() for one in waiting if one.done()]
        assert probe.get("/healthz").status_code == 200
        assert probe.get("/readyz").status_code == 200
        board.gate.set()
        assert refused == [503] * 10
        assert sorted({one.result() for one in waiting}) == [200, 503]


def test_answer_that_does_not_come_is_given_up(client, board, monkeypatch):
    """The caller hears that the rotation may have begun; metrics come without the policies."""
    monkeypatch.setattr(app_module, "API_SECONDS", 0.2)
    monkeypatch.setattr(app_module, "SCRAPE_SECONDS", 0.2)
    board.gate.clear()
    answer = client.post(ROTATE, headers=BEARER, json={"reason": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too-slow")
    assert "may have been taken" in answer.json()["error"]["then"]
    scraped = client.get("/metrics")
    assert scraped.status_code == 200
    assert "rotator_status_readable 0.0" in scraped.text
