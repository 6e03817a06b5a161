"""The simulator driven by the vendor's own SDK, which nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lettermint as sdk
import pytest

from tests.simulator.support import MAIL, UNKNOWN_ID, Scene, invented_token


@contextmanager
def client(scene: Scene, **tokens: object) -> Iterator[sdk.Lettermint]:
    plain = {name: token.reveal() for name, token in tokens.items()}
    with sdk.Lettermint(base_url=scene.simulator.url, timeout=10, **plain) as made:
        yield made


@pytest.fixture
def team(scene: Scene) -> Iterator[sdk.Lettermint]:
    with client(scene, team_token=scene.furnished.team_token) as made:
        yield made


@pytest.fixture
def mailer(scene: Scene) -> Iterator[sdk.Lettermint]:
    with client(scene, sending_token=scene.token) as made:
        yield made


def test_ping_with_either_token(team: sdk.Lettermint, mailer: sdk.Lettermint) -> None:
    """Both kinds of token are answered with pong."""
    assert (team.ping(), mailer.emails.ping()) == ("pong", "pong")


def test_send_and_follow_the_message_to_its_project(
    scene: Scene, team: sdk.Lettermint, mailer: sdk.Lettermint
) -> None:
    """A message id leads over its route to the project whose token sent it."""
    receipt = mailer.emails.send(MAIL, idempotency_key="rotation-1-verify")

    message = team.messages.retrieve(receipt["message_id"])
    route = team.routes.retrieve(message["route_id"])
    events = [event["event"] for event in team.messages.iterate_events(receipt["message_id"])]

    assert receipt["status"] == "pending"
    assert scene.id == route["project_id"]
    assert events == ["queued", "processed", "delivered"]


def test_projects_over_several_pages(scene: Scene, team: sdk.Lettermint) -> None:
    """The SDK's iterator finds every project once, in order, whatever the page size."""
    for number in range(5):
        scene.simulator.add_project(f"More {number}")

    names = [project["name"] for project in team.projects.iterate({"page": {"size": 3}})]

    assert ["Project 1", "Project 2", *(f"More {number}" for number in range(5))] == names


def test_rotate_token(scene: Scene, team: sdk.Lettermint, mailer: sdk.Lettermint) -> None:
    """The answer carries the new token; the old one is refused at once and the new one accepted."""
    answer = team.projects.rotate_token(scene.id)

    with pytest.raises(sdk.AuthenticationError):
        mailer.emails.ping()
    with sdk.Lettermint(answer["new_token"], base_url=scene.simulator.url) as renewed:
        assert renewed.ping() == "pong"
    assert scene.id == answer["data"]["id"]


def test_project_life(team: sdk.Lettermint) -> None:
    """Create, read, update, list routes and delete go through the SDK unchanged."""
    made = team.projects.create({"name": "Standby", "initial_routes": "broadcast", "short_token": True})
    one = made["data"]["id"]

    updated = team.projects.update(one, {"smtp_enabled": True})
    routes = team.routes.list(one)["data"]
    team.projects.delete(one)

    assert len("lm_") + 22 == len(made["api_token"])
    assert updated["data"]["smtp_enabled"] is True
    assert [route["slug"] for route in routes] == ["broadcast"]
    with pytest.raises(sdk.NotFoundError):
        team.projects.retrieve(one)


def test_domains_and_their_projects(scene: Scene, team: sdk.Lettermint) -> None:
    """`update_projects` replaces the whole list of a domain's projects."""
    (first, _), (second, _) = scene.furnished.projects
    domain = team.domains.list({"filter": {"project": first}})["data"][0]

    team.domains.update_projects(domain["id"], {"project_ids": [second]})

    assert [second] == [
        one["id"] for one in team.domains.retrieve(domain["id"], {"include": ["projects"]})["projects"]
    ]
    assert team.domains.list({"filter": {"project": first}})["data"] == []


def test_routes(scene: Scene, team: sdk.Lettermint) -> None:
    """A route can be made, changed, found and deleted."""
    made = team.routes.create(scene.id, {"name": "Night Mail", "route_type": "transactional"})["data"]

    renamed = team.routes.update(made["id"], {"name": "Day Mail", "settings": {"track_opens": True}})["data"]
    slugs = [route["slug"] for route in team.routes.iterate(scene.id, {"page": {"size": 1}})]
    team.routes.delete(made["id"])

    assert (
        made["slug"],
        renamed["name"],
        renamed["settings"],
    ) == ("night-mail", "Day Mail", {"track_opens": True})
    assert slugs == ["transactional", "broadcast", "night-mail"]
    with pytest.raises(sdk.NotFoundError):
        team.routes.retrieve(made["id"])


def test_team(team: sdk.Lettermint) -> None:
    """The team tells that it is verified."""
    assert team.team.retrieve()["verified_at"] is not None


def test_an_invented_token_is_an_authentication_error(scene: Scene) -> None:
    """401 in both error forms: `{error}` on ping, `{message}` elsewhere."""
    with (
        client(scene, sending_token=invented_token(), team_token=invented_token("team")) as stranger,
        pytest.raises(sdk.AuthenticationError) as on_ping,
    ):
        stranger.emails.ping()
    with (
        client(scene, team_token=invented_token("team")) as stranger,
        pytest.raises(sdk.AuthenticationError) as on_read,
    ):
        stranger.projects.list()

    assert (on_ping.value.code, on_read.value.code) == ("UNAUTHENTICATED", None)


def test_a_missing_ability_is_a_permission_error(scene: Scene) -> None:
    """403 carries the code FORBIDDEN and the reference's sentence."""
    reader = scene.simulator.add_team_token(abilities=["read:projects"])

    with client(scene, team_token=reader) as limited, pytest.raises(sdk.PermissionDeniedError) as caught:
        limited.projects.rotate_token(scene.id)

    assert caught.value.code == "FORBIDDEN"
    assert "required abilities" in str(caught.value)


def test_an_unknown_project_is_not_found(team: sdk.Lettermint) -> None:
    """404 for an id that nobody has."""
    with pytest.raises(sdk.NotFoundError):
        team.projects.rotate_token(UNKNOWN_ID)


def test_a_bad_request_names_its_fields(team: sdk.Lettermint) -> None:
    """422 names every field that failed."""
    with pytest.raises(sdk.ValidationError) as caught:
        team.projects.create({"name": "x" * 256})

    assert list(caught.value.errors) == ["name"]


def test_the_rate_limit_says_how_long_to_wait(scene: Scene, team: sdk.Lettermint) -> None:
    """The fourth rotation within a minute is a 429 with Retry-After in seconds."""
    for _ in range(3):
        team.projects.rotate_token(scene.id)

    with pytest.raises(sdk.RateLimitError) as caught:
        team.projects.rotate_token(scene.id)

    assert caught.value.retry_after == 60


def test_idempotency_conflict(mailer: sdk.Lettermint) -> None:
    """One key with two bodies is a conflict."""
    mailer.emails.send(MAIL, idempotency_key="k")

    with pytest.raises(sdk.ConflictError):
        mailer.emails.send({**MAIL, "subject": "Other"}, idempotency_key="k")


def test_a_daily_limit_is_the_string_form(scene: Scene) -> None:
    """400 `{"error": "DailyLimitExceeded"}` is read as a code."""
    small = scene.simulator.add_team("Small", daily_limit=0)
    project, token = scene.simulator.add_project(team=small)
    scene.simulator.add_domain("example.com", team=small, projects=[project])

    with client(scene, sending_token=token) as limited, pytest.raises(sdk.APIError) as caught:
        limited.emails.send({**MAIL, "to": ["someone@example.net"]})

    assert (caught.value.status, caught.value.code) == (400, "DailyLimitExceeded")
