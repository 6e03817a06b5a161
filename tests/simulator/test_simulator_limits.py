"""Rate tiers of a team token, both sides of each limit."""

from __future__ import annotations

import pytest

from tests.conftest import FakeClock
from tests.simulator.support import Scene
from tests.simulator_fixture import lettermint

NOON = 1795262400  # 2026-11-21T12:00:00Z


def shown(reply) -> tuple[int, int, int]:
    return tuple(int(reply.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("GET", "/team", 300),
        ("GET", "/ping", 300),
        ("PUT", "/projects/{id}", 60),
        ("POST", "/projects/{id}/rotate-token", 3),
    ],
)
def test_each_tier_ends_where_documented(scene: Scene, method: str, path: str, limit: int) -> None:
    """The last call of a tier is carried out, the one after is a 429."""
    target = path.format(id=scene.id)

    statuses = [scene.team(method, target).status for _ in range(limit + 1)]

    assert [200] * limit + [429] == statuses


def test_a_slot_is_free_after_exactly_a_minute(scene: Scene, clock: FakeClock) -> None:
    """Just before 60 s the window still counts the first call, at 60 s it does not."""
    scene.rotate()
    clock.advance(20)
    scene.rotate()
    scene.rotate()

    clock.advance(39.999)
    early = scene.rotate()
    clock.advance(0.001)
    on_time = scene.rotate()
    again = scene.rotate()

    assert (early.status, on_time.status, again.status) == (429, 200, 429)
    assert (early.headers["retry-after"], again.headers["retry-after"]) == ("1", "20")


def test_headers_count_down(scene: Scene, clock: FakeClock) -> None:
    """Limit, what remains, and the Unix second at which waiting is over, on successes and refusals."""
    first = scene.rotate()
    clock.advance(10)
    second, third, refused = scene.rotate(), scene.rotate(), scene.rotate()

    assert [shown(reply) for reply in (first, second, third, refused)] == [
        (3, 2, NOON + 60),
        (3, 1, NOON + 60),
        (3, 0, NOON + 60),
        (3, 0, NOON + 60),
    ]
    assert refused.headers["retry-after"] == "50"
    assert "retry-after" not in third.headers


def test_every_team_answer_has_the_headers(scene: Scene) -> None:
    """404, 403 and 422 carry them too; answers to a project token do not."""
    replies = [
        scene.team("GET", "/projects/none"),
        scene.team("POST", "/projects", {}),
        scene.with_abilities("read:team")("GET", "/projects"),
    ]

    assert [reply.status for reply in replies] == [404, 422, 403]
    assert all("x-ratelimit-reset" in reply.headers for reply in replies)
    assert "x-ratelimit-reset" not in scene.send().headers


def test_a_refused_call_takes_no_slot_and_does_nothing(scene: Scene) -> None:
    """A 429 leaves the token alone."""
    for _ in range(3):
        token = scene.new_token()

    assert scene.rotate().status == 429
    assert scene.simulator.is_alive(token)
    assert len(scene.simulator.mints(scene.id)) == 3


def test_tiers_and_tokens_have_their_own_windows(scene: Scene) -> None:
    """A spent rotate tier leaves reads alone, and another team token has its own."""
    for _ in range(3):
        scene.rotate()

    other = scene.with_token(scene.simulator.add_team_token())
    assert scene.team("GET", "/projects").status == 200
    assert other("POST", f"/projects/{scene.id}/rotate-token").status == 200


def test_a_jump_of_the_wall_clock_frees_nothing(scene: Scene, clock: FakeClock) -> None:
    """Windows run on the boot clock."""
    for _ in range(3):
        scene.rotate()

    clock.jump_wall(3600)

    assert scene.rotate().status == 429


def test_limits_are_settings(clock: FakeClock) -> None:
    """`rotate_limit` 10 is the other end of the documented range."""
    with lettermint(clock, rotate_limit=10) as simulator:
        scene = Scene(simulator)

        assert [scene.rotate().status for _ in range(11)] == [200] * 10 + [429]
