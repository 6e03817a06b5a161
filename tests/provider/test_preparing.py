"""The calls that make one project like another: what is sent, and what each answer means."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from rotator.errors import (
    CredentialRejected,
    Interrupted,
    RateLimited,
    Refused,
    RotatorError,
    UnclearOutcome,
    Unreachable,
)
from rotator.interrupt import Stop
from rotator.provider.base import ProjectNotVisible, Route
from rotator.provider.credential import TeamCredential
from rotator.provider.preparing import LettermintPreparer
from rotator.secret import Secret
from tests.provider.scripted_peer import (
    OTHER_TEAM_TOKEN,
    PROJECT,
    PROJECT_ID,
    TEAM_TOKEN,
    Peer,
    answer,
    hang,
    raw,
    reset,
)

ROUTE = Route("r-1", "Alerts", "alerts", "transactional", {"track_opens": True, "tls": "enforced"})
DONE = {"data": {"id": "x"}, "message": "Done."}
Make = Callable[..., LettermintPreparer]
Write = Callable[[LettermintPreparer], None]

WRITES: dict[str, tuple[Write, str, str, dict[str, object]]] = {
    "project": (
        lambda made: made.change_project(PROJECT_ID, {"smtp_enabled": True}),
        "PUT",
        f"/v1/projects/{PROJECT_ID}",
        {"smtp_enabled": True},
    ),
    "new route": (
        lambda made: made.create_route(PROJECT_ID, ROUTE),
        "POST",
        f"/v1/projects/{PROJECT_ID}/routes",
        {
            "name": "Alerts",
            "route_type": "transactional",
            "slug": "alerts",
            "settings": {"track_opens": True, "tls": "enforced"},
        },
    ),
    "route without settings": (
        lambda made: made.create_route(PROJECT_ID, Route("r", "News", "news", "broadcast")),
        "POST",
        f"/v1/projects/{PROJECT_ID}/routes",
        {"name": "News", "route_type": "broadcast", "slug": "news"},
    ),
    "route": (
        lambda made: made.change_route("r/1", {"track_clicks": False}),
        "PUT",
        "/v1/routes/r%2F1",
        {"settings": {"track_clicks": False}},
    ),
    "domain": (
        lambda made: made.attach_domain("d-1", ("a", "b")),
        "PUT",
        "/v1/domains/d-1/projects",
        {"project_ids": ["a", "b"]},
    ),
}


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def preparer(clock, limiter, stop) -> Iterator[Make]:
    """Makes preparers for a peer."""
    made: list[LettermintPreparer] = []

    def make(
        peer: Peer, credential: TeamCredential | None = None, timeout: float = 2.0
    ) -> LettermintPreparer:
        credential = credential or TeamCredential(lambda: Secret(TEAM_TOKEN))
        made.append(LettermintPreparer(peer.url, credential, limiter, clock, stop=stop, call_timeout=timeout))
        return made[-1]

    yield make
    for one in made:
        one.close()


def change(preparer: LettermintPreparer) -> None:
    preparer.change_project(PROJECT_ID, {"smtp_enabled": True})


# --- writes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("write", "method", "path", "body"), WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("status", [200, 201, 204])
def test_what_is_written(peer, preparer, limiter, write, method, path, body, status):
    """One call as the API wants it, with the team token and one slot for writes."""
    server = peer(answer(status, DONE))
    write(preparer(server))
    (seen,) = server.seen
    assert (seen.method, seen.path, json.loads(seen.body)) == (method, path, body)
    assert seen.headers["authorization"] == f"Bearer {TEAM_TOKEN}"
    assert seen.headers["content-type"] == "application/json"
    assert limiter.taken == ["write"]
    assert [one[0] for one in limiter.observed] == ["write"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, Refused), (401, CredentialRejected), (403, CredentialRejected), (404, Refused), (408, UnclearOutcome), (409, Refused), (410, Refused), (422, Refused), (301, Refused), (303, UnclearOutcome), (500, UnclearOutcome), (502, UnclearOutcome)],
)  # fmt: skip
def test_answers_of_a_write(peer, preparer, status, expected):
    """What was certainly not executed is told from what may have been; both name the status."""
    with pytest.raises(expected) as caught:
        change(preparer(peer(answer(status, {"message": "Because."}))))
    assert type(caught.value) is expected
    assert str(status) in str(caught.value)
    made = "may have been made or not" if expected is UnclearOutcome else "This change was not made"
    assert made in str(caught.value)


@pytest.mark.parametrize(
    "reply", [reset, hang, raw(b""), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")]
)
def test_a_lost_answer_is_unclear(peer, preparer, reply):
    """A write whose answer was lost may have been executed."""
    with pytest.raises(UnclearOutcome):
        change(preparer(peer(reply), timeout=0.4))


def test_nobody_listens(peer, preparer):
    """A refused connection is certainly not executed."""
    server = peer(answer(200, DONE))
    server.close()
    with pytest.raises(Unreachable, match="This change was not made"):
        change(preparer(server))


@pytest.mark.parametrize(
    ("write", "ability"),
    [("project", "write:projects"), ("new route", "write:routes"), ("route", "write:routes"), ("domain", "write:domains")],
)  # fmt: skip
def test_a_missing_ability_is_named(peer, preparer, write, ability):
    """A 403 names the one ability that this call takes."""
    with pytest.raises(CredentialRejected) as caught:
        WRITES[write][0](preparer(peer(answer(403, {"message": "No."}))))
    assert ability in caught.value.remedy
    assert caught.value.remedy.count("write:") == 1


def test_a_write_uses_a_new_credential(peer, preparer):
    """A write refused for its credential is repeated, body and all, with the one read again."""
    values = iter([TEAM_TOKEN, OTHER_TEAM_TOKEN])
    server = peer(answer(401), answer(200, DONE))
    change(preparer(server, TeamCredential(lambda: Secret(next(values)))))
    assert [seen.headers["authorization"][-1] for seen in server.seen] == [
        TEAM_TOKEN[-1],
        OTHER_TEAM_TOKEN[-1],
    ]
    assert server.seen[0].body == server.seen[1].body != b""


def test_one_429_is_waited_for_and_two_are_told(peer, preparer, limiter):
    """A write refused for its rate takes another slot and is sent once more, and not a third time."""
    server = peer(answer(429, headers={"Retry-After": "7"}), answer(200, DONE))
    change(preparer(server))
    assert (len(server.seen), limiter.taken) == (2, ["write", "write"])
    assert limiter.observed[0][3] == 7
    server = peer(answer(429, headers={"Retry-After": "7"}))
    with pytest.raises(RateLimited) as caught:
        change(preparer(server))
    assert (len(server.seen), caught.value.retry_after) == (2, 7)


@pytest.mark.parametrize(("wait", "sent"), [(45.0, True), (45.1, False)])
def test_slots_are_waited_for(peer, preparer, limiter, clock, wait, sent):
    """A write waits for its slot up to 90 s in all, and beyond that sends nothing."""
    server = peer(answer(200, DONE))
    limiter.delays = [wait, wait]
    if sent:
        change(preparer(server))
        assert clock.waits == [wait, wait]
    else:
        with pytest.raises(RateLimited, match="nothing was sent"):
            change(preparer(server))
    assert len(server.seen) == sent


def test_a_signal_ends_the_waiting(peer, preparer, limiter, stop):
    """Who was asked to stop sends nothing more, whether before or while it waits for a slot."""
    server = peer(answer(200, DONE))
    made = preparer(server)
    limiter.delays = [30.0]
    made._clock.wait = lambda seconds, event: event is stop.requested and stop.request(signal.SIGTERM)
    with pytest.raises(Interrupted):
        change(made)
    with pytest.raises(Interrupted):
        change(made)
    assert server.seen == []
    assert limiter.delays == []


# --- reads --------------------------------------------------------------------------------------


def page(*items: object, cursor: str | None = None) -> object:
    return answer(200, {"data": list(items), "next_cursor": cursor})


def route(**changes: object) -> dict[str, object]:
    return {"id": "r-1", "slug": "alerts", "name": "Alerts", "route_type": "transactional", **changes}


def test_details(peer, preparer, limiter):
    """Settings, each sending route by itself, inbound routes by name, and domains with their ids."""
    server = peer(
        answer(200, {**PROJECT, "redact_email_content": True, "default_route_id": "r-1"}),
        page(route(), cursor="more"),
        page(route(id="r-2", slug="replies", route_type="inbound")),
        answer(
            200,
            {"data": route(settings={"track_opens": True, "tls": "enforced", "track_clicks": None, "attachment_delivery": "inline", "generate_plaintext_fallback": 1})},
        ),
        page({"id": "d-1", "domain": "example.com"}),
    )  # fmt: skip
    found = preparer(server).details(PROJECT_ID)
    assert (found.facts.id, found.redacts, found.default_route) == (PROJECT_ID, True, "alerts")
    assert found.routes == (ROUTE,)
    assert found.inbound == ("replies",)
    assert found.domains == {"example.com": "d-1"}
    assert [seen.method for seen in server.seen] == ["GET"] * 5
    assert set(limiter.taken) == {"read"}


@pytest.mark.parametrize("given", [{}, {"redact_email_content": None}, {"redact_email_content": "no"}])
def test_redaction_that_is_not_told(peer, preparer, given):
    """What the provider does not say about redaction is not taken for off."""
    found = preparer(peer(answer(200, {**PROJECT, **given}), page(), page())).details(PROJECT_ID)
    assert found.redacts is None
    assert (found.routes, found.default_route) == ((), None)


@pytest.mark.parametrize("wrong", [{"name": None}, {"slug": 1}, {"route_type": None}])
def test_an_unreadable_route(peer, preparer, wrong):
    """A route that cannot be read is not copied by halves."""
    server = peer(answer(200, PROJECT), page(route()), answer(200, route(**wrong)))
    with pytest.raises(Unreachable, match="other than its documentation"):
        preparer(server).details(PROJECT_ID)


def test_projects_of_a_domain(peer, preparer):
    """The projects of a domain come with the domain, all of them."""
    server = peer(answer(200, {"id": "d-1", "projects": [{"id": "a", "name": "A"}, {"id": "b"}]}))
    assert preparer(server).projects_of("d-1") == ("a", "b")
    assert server.seen[0].path == "/v1/domains/d-1?include=projects"


@pytest.mark.parametrize(
    "content", [{}, {"projects": None}, {"projects": ["a"]}, {"projects": [{"id": "a"}, {"id": None}]}]
)
def test_a_list_of_projects_that_is_not_whole(peer, preparer, content):
    """A list with something unreadable in it is no list: written back, it would take the domain away."""
    with pytest.raises(Unreachable, match="other than its documentation"):
        preparer(peer(answer(200, {"id": "d-1", **content}))).projects_of("d-1")


def test_route_ids(peer, preparer):
    """Routes by slug, for the one whose id is needed."""
    server = peer(page(route(), route(id="r-2", slug="news")))
    assert preparer(server).route_ids(PROJECT_ID) == {"alerts": "r-1", "news": "r-2"}


@pytest.mark.parametrize(
    ("replies", "ability"),
    [
        ([answer(403)], "read:projects"),
        ([answer(200, PROJECT), answer(403)], "read:routes"),
        ([answer(200, PROJECT), page(route()), answer(403)], "read:routes"),
        ([answer(200, PROJECT), page(), answer(403)], "read:domains"),
    ],
)
def test_a_missing_ability_to_read_is_named(peer, preparer, replies, ability):
    """A read that is not allowed names the ability for it."""
    with pytest.raises(CredentialRejected) as caught:
        preparer(peer(*replies)).details(PROJECT_ID)
    assert ability in caught.value.remedy


def test_not_visible(peer, preparer):
    """A project that is not there is told apart from everything else."""
    with pytest.raises(ProjectNotVisible):
        preparer(peer(answer(404))).details(PROJECT_ID)


def test_nothing_of_a_write_is_logged_but_its_name(peer, preparer, caplog):
    """Neither the token nor what a project is called gets into the log."""
    with caplog.at_level("DEBUG"):
        preparer(peer(answer(201, DONE))).create_route(PROJECT_ID, ROUTE)
    assert "create-route answered 201" in caplog.text
    assert TEAM_TOKEN not in caplog.text
    assert "alerts" not in caplog.text


def test_errors_are_ours(peer, preparer):
    """Whatever happens, what comes out is one of our errors, also with several threads at work."""
    made = preparer(peer(answer(200, DONE), answer(500), answer(422)))
    seen: list[type] = []

    def work() -> None:
        try:
            change(made)
            seen.append(type(None))
        except RotatorError as error:
            seen.append(type(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.__name__ for one in seen) == ["NoneType", "Refused", "UnclearOutcome"]
