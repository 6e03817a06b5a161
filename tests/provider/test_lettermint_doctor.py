"""What `doctor` asks of Lettermint: is it there, what time is it, whose is the team token, what may it read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from rotator.errors import CredentialRejected, InvalidInput, RateLimited, Refused, Unreachable
from rotator.http_client import Answer
from rotator.provider.answers import clock_ahead
from rotator.provider.base import Greeting, PingAnswer, TeamFacts, invented_token
from tests.conftest import FakeClock
from tests.provider.scripted_peer import TEAM_TOKEN, answer, hang

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TEAM = {"id": "00000000-0000-4000-8000-000000000010", "name": "Example", "plan": "starter"}
LIMITS = {"X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "297"}


def dated(seconds: float) -> dict[str, str]:
    return {"Date": format_datetime((NOW + timedelta(seconds=seconds)).astimezone(UTC), usegmt=True)}


def test_an_invented_token_has_the_usual_form_and_is_new_each_time():
    """A well-formed token that nobody issued: no ping with it can be a use of somebody's."""
    first, second = invented_token(), invented_token()
    assert first.is_project_token
    assert len(first.reveal()) == 35
    assert first != second


@pytest.mark.parametrize(
    ("status", "invented"),
    [(401, PingAnswer.DEAD), (200, PingAnswer.ALIVE), (403, PingAnswer.FORBIDDEN)],
)
def test_greet_needs_no_credential(peer, provider, status, invented):
    """A ping with an invented token: what it is called, and the provider's time against ours."""
    there = peer(answer(status, {"message": "x"}, dated(90)))
    assert provider(there).greet() == Greeting(invented, 90.0)
    (seen,) = there.seen
    assert (seen.method, seen.path) == ("GET", "/v1/ping")
    assert "authorization" not in seen.headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 405, 410])
def test_something_else_answers(peer, provider, status):
    """What the API never says to a ping or about the team is somebody else's answer: the setting is wrong."""
    for call in ("greet", "team"):
        kinds = Refused if call == "team" and status in (301, 302, 307, 308) else InvalidInput
        with pytest.raises(kinds) as error:
            getattr(provider(peer(answer(status, b"<html>"))), call)()
        assert str(status) in error.value.happened
        assert "LETTERMINT_API_URL" in str(error.value)


@pytest.mark.parametrize("call", ["greet", "team"])
def test_errors_of_the_moment(peer, provider, call):
    """5xx, silence and 429 may be over soon."""
    for reply, kind in ((answer(502), Unreachable), (hang, Unreachable), (answer(429), RateLimited)):
        with pytest.raises(kind):
            getattr(provider(peer(reply), timeout=0.3), call)()


@pytest.mark.parametrize(
    ("reply", "facts"),
    [
        (answer(200, TEAM, LIMITS), TeamFacts("Example", 300, 297)),
        (answer(200, {"data": TEAM}), TeamFacts("Example", None, None)),
        (answer(200, {**TEAM, "name": None}, LIMITS), TeamFacts(None, 300, 297)),
        (answer(200, {**TEAM, "name": "A\x1b[31m\nB" + "x" * 300}), TeamFacts("A [31m B" + "x" * 192, None, None)),
        (answer(403, {"error": {"code": "FORBIDDEN"}}, LIMITS), TeamFacts(None, 300, 297)),
    ],
    ids=["bare", "wrapped", "no name", "a strange name", "read:team is missing"],
)  # fmt: skip
def test_team(peer, provider, reply, facts):
    """The team's name where the token may tell it, and the limits that came with the answer."""
    there = peer(reply)
    assert provider(there).team() == facts
    assert there.seen[0].headers["authorization"] == f"Bearer {TEAM_TOKEN}"


def test_a_refused_team_token(peer, provider):
    """401: the token itself is not accepted."""
    with pytest.raises(CredentialRejected) as error:
        provider(peer(answer(401, {"message": "Unauthenticated."}))).team()
    assert "LETTERMINT_TEAM_TOKEN" in error.value.remedy


@pytest.mark.parametrize("body", [b"<html>A login page</html>", b"[]", b"{}"])
def test_a_team_that_cannot_be_read(peer, provider, body):
    """A 200 that is not what the documentation says comes from somewhere else."""
    with pytest.raises(Unreachable) as error:
        provider(peer(answer(200, body))).team()
    assert "LETTERMINT_API_URL" in error.value.remedy


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (200, True), (403, False)])
@pytest.mark.parametrize("collection", ["messages", "routes"])
def test_can_read(peer, provider, collection, status, allowed):
    """An item that cannot exist is asked for: 404 for who may read, 403 for who may not."""
    there = peer(answer(status, {}))
    assert provider(there).can_read(collection) is allowed
    assert there.seen[0].method == "GET"
    assert there.seen[0].path.startswith(f"/v1/{collection}/")


def test_can_read_does_not_guess(peer, provider):
    """A failing provider says nothing about an ability."""
    with pytest.raises(Unreachable):
        provider(peer(answer(500))).can_read("routes")


@pytest.mark.parametrize(
    ("told", "took", "ahead"),
    [
        (0, 0.0, 0.0),
        (-1, 0.0, 0.0),
        (-2, 0.0, -1.0),
        (-9, 8.0, 0.0),
        (-10, 8.0, -1.0),
        (1, 8.0, 1.0),
        (400, 0.5, 400.0),
        (-400, 0.5, -398.5),
    ],
)
def test_clocks_are_compared_as_well_as_a_date_allows(told, took, ahead):
    """`Date` has whole seconds and was written in the course of the call: only what that leaves counts."""
    seen = Answer(401, {"date": dated(told)["Date"]}, b"", took)
    assert clock_ahead(seen, NOW) == pytest.approx(ahead)


@pytest.mark.parametrize("headers", [{}, {"date": "soon"}])
def test_no_date_no_comparison(headers):
    """Without a readable `Date` nothing is claimed about the clocks."""
    assert clock_ahead(Answer(401, headers, b"", 0.1), FakeClock().now()) is None
