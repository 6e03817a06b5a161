"""Rules of POST /send and of the messages that come of it."""

from __future__ import annotations

import threading

import pytest

from tests.conftest import FakeClock
from tests.simulator.support import MAIL, Scene
from tests.simulator_fixture import lettermint

DAY = 24 * 3600


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"from": None}, "from"),
        ({"from": "nobody"}, "from"),
        ({"to": None}, "to"),
        ({"to": []}, "to"),
        ({"to": ["nobody"]}, "to"),
        ({"to": "ok@testing.lettermint.co"}, "to"),
        ({"cc": [7]}, "cc"),
        ({"subject": None}, "subject"),
        ({"subject": "x" * 999}, "subject"),
        ({"text": "xx"}, "text"),
        ({"html": "xx"}, "html"),
        ({"to": [f"a{n}@example.net" for n in range(51)]}, "to"),
        ({"route": "missing"}, "route"),
        ({"sandbox_result": "lost"}, "sandbox_result"),
    ],
)
def test_what_a_message_must_have(scene: Scene, changes: dict, field: str) -> None:
    """A field that is missing, malformed or over its limit is a 422 that names it; nothing is sent."""
    reply = scene.send(**changes)

    assert (422, [field]) == (reply.status, list(reply.json["errors"]))
    assert scene.simulator.sends(scene.id) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "x" * 998},
        {"text": "xxx"},
        {"text": None, "html": None},
        {"to": [f"a{n}@example.net" for n in range(50)]},
        {"route": "broadcast"},
    ],
)
def test_what_just_passes(scene: Scene, changes: dict) -> None:
    """The last value inside each limit is accepted."""
    assert scene.send(**changes).status == 202


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"'])
def test_a_body_that_is_no_object(scene: Scene, body: bytes) -> None:
    """Anything but a JSON object is a 422."""
    assert scene.mailer("POST", "/send", body).status == 422


def test_the_senders_domain_must_be_verified_and_attached(scene: Scene) -> None:
    """A foreign, an unverified and a detached domain are refused in the `{error}` form."""
    (first, _), (second, other) = scene.furnished.projects
    scene.simulator.add_domain("pending.example", status="pending_verification", projects=[first])
    scene.simulator.add_domain("second.example", projects=[second])

    for domain in ("elsewhere.example", "pending.example", "second.example", "sub.example.com"):
        reply = scene.send(**{"from": f"a@{domain}"})
        assert (reply.status, reply.json["error"]["code"]) == (422, "VALIDATION_ERROR")
    assert scene.send(other, **{"from": "a@SECOND.example"}).status == 202


def test_an_unverified_team_writes_to_itself_only(scene: Scene) -> None:
    """A team that is not verified may send to its own account address."""
    team = scene.simulator.add_team(verified=False, account_email="Owner@example.com")
    project, token = scene.simulator.add_project(team=team)
    scene.simulator.add_domain("example.com", team=team, projects=[project])

    assert scene.send(token).status == 422
    assert scene.send(token, to=["owner@example.com"]).status == 202
    assert scene.with_token(team)("GET", "/team").json["verified_at"] is None


def test_a_daily_limit_counts_live_messages_of_24_hours(scene: Scene, clock: FakeClock) -> None:
    """Test addresses do not count, and a message stops counting after 24 h."""
    team = scene.simulator.add_team(daily_limit=1)
    project, token = scene.simulator.add_project(team=team)
    scene.simulator.add_domain("example.com", team=team, projects=[project])
    real = {"to": ["someone@example.net"]}

    assert [
        scene.send(token).status,
        scene.send(token, **real).status,
        scene.send(token, **real).status,
        scene.send(token).status,
    ] == [202, 202, 400, 202]
    clock.advance(DAY - 0.001)
    assert scene.send(token, **real).status == 400
    clock.advance(0.001)
    assert scene.send(token, **real).status == 202


@pytest.mark.parametrize(
    ("to", "status"),
    [
        ("ok@testing.lettermint.co", "delivered"),
        ("anything@testing.lettermint.co", "delivered"),
        ("softbounce@testing.lettermint.co", "soft_bounced"),
        ("HardBounce@testing.lettermint.co", "hard_bounced"),
        ("spamcomplaint@testing.lettermint.co", "spam_complaint"),
        ("dsn@testing.lettermint.co", "failed"),
        ("someone@example.net", "delivered"),
    ],
)
def test_test_addresses_choose_the_event(scene: Scene, to: str, status: str) -> None:
    """The local part of a test address decides what becomes of a message."""
    message = scene.send(to=[to]).json["message_id"]

    assert status == scene.team("GET", f"/messages/{message}").json["status"]
    events = scene.team("GET", f"/messages/{message}/events").json["data"]
    assert ["queued", "processed", status] == [event["event"] for event in events]


def test_test_addresses_do_not_count(scene: Scene) -> None:
    """Statistics know real recipients only."""
    scene.send()
    scene.send(to=["someone@example.net"])

    listed = scene.team("GET", "/projects").json["data"][0]["last_28_days"]

    assert listed["messages_transactional"] == 1


def test_a_sandbox_project_simulates(scene: Scene) -> None:
    """Its answer says so; the result asked for holds unless a test address overrides it."""
    scene.team("PUT", f"/projects/{scene.id}", {"delivery_mode": "sandbox"})

    plain = scene.send(to=["a@example.net"]).json
    asked = scene.send(to=["a@example.net"], sandbox_result="deferred").json
    overridden = scene.send(to=["hardbounce@testing.lettermint.co"], sandbox_result="opened").json

    assert [(one["sandbox"], one["sandbox_result"]) for one in (plain, asked, overridden)] == [
        (True, "delivered"),
        (True, "deferred"),
        (True, "hard_bounced"),
    ]
    assert scene.team("GET", f"/messages/{asked['message_id']}").json["status"] == "processed"


def test_a_live_answer_says_nothing_of_a_sandbox(scene: Scene) -> None:
    """In a live project `sandbox_result` is not simulated and not mentioned."""
    assert {"message_id", "status"} == set(scene.send(sandbox_result="failed").json)


def test_a_message_is_seen_by_its_team_only(scene: Scene) -> None:
    """Another team gets a 404 for the message and for its events."""
    message = scene.send().json["message_id"]
    stranger = scene.other_team()

    assert [stranger("GET", f"/messages/{message}{tail}").status for tail in ("", "/events")] == [404, 404]


def test_a_message_leads_to_the_right_project(scene: Scene) -> None:
    """Message, route, project: the way by which a token's project is told."""
    (first, one), (second, two) = scene.furnished.projects

    def project_of(token) -> str:
        message = scene.send(token).json["message_id"]
        route = scene.team("GET", f"/messages/{message}").json["route_id"]
        return scene.team("GET", f"/routes/{route}").json["project_id"]

    assert [first, second] == [project_of(one), project_of(two)]


def test_same_key_same_body_is_the_first_answer(scene: Scene, clock: FakeClock) -> None:
    """A replay within 24 h returns the first message id and sends nothing; after it, it is sent anew."""
    first = scene.send(key="k")
    clock.advance(DAY - 0.001)
    replay = scene.send(key="k")
    clock.advance(0.001)
    anew = scene.send(key="k")

    assert (first.status, replay.status, anew.status) == (202, 202, 202)
    assert first.json == replay.json
    assert first.json != anew.json
    assert [message.idempotency_key for message in scene.simulator.sends(scene.id)] == ["k", "k"]


def test_same_key_other_body_is_a_conflict(scene: Scene) -> None:
    """The second body is refused and not sent; the order of its fields does not make another body."""
    scene.send(key="k")

    turned = dict(reversed(MAIL.items()))
    assert scene.send(key="k", subject="Other").status == 409
    assert scene.mailer("POST", "/send", turned, headers={"Idempotency-Key": "k"}).status == 202
    assert len(scene.simulator.sends(scene.id)) == 1


def test_keys_are_per_project_and_outlive_a_rotation(scene: Scene) -> None:
    """Another project does not know the key; the same project does, with its new token too."""
    _, (_, other) = scene.furnished.projects
    first = scene.send(key="k").json

    assert first != scene.send(other, key="k").json
    assert first == scene.send(scene.new_token(), key="k").json


def test_a_refused_send_does_not_use_up_its_key(scene: Scene) -> None:
    """After a 422 the same key may carry another body."""
    scene.send(key="k", to=[])

    assert scene.send(key="k").status == 202


def test_a_key_is_busy_until_the_first_answer_has_left() -> None:
    """While the first request is still being answered its key is a conflict, afterwards it is replayed."""
    with lettermint() as simulator:
        scene = Scene(simulator)
        simulator.faults.add("send", "answer-latency", seconds=1)
        first = threading.Thread(target=scene.send, kwargs={"key": "k"})
        first.start()
        while not simulator.sends(scene.id):
            first.join(0.01)

        meanwhile = scene.send(key="k").status
        first.join()

        assert (meanwhile, scene.send(key="k").status) == (409, 202)
        assert len(simulator.sends(scene.id)) == 1


@pytest.mark.parametrize(("length", "status"), [(1, 202), (255, 202), (256, 422), (0, 422)])
def test_length_of_a_key(scene: Scene, length: int, status: int) -> None:
    """A key has 1 to 255 characters."""
    assert status == scene.send(key="k" * length).status
