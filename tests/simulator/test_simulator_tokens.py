"""Rules of tokens: form, birth, death, abilities, and what a project tells of them."""

from __future__ import annotations

import re
import threading

import pytest

from rotator.secret import Secret
from tests.conftest import FakeClock
from tests.simulator.support import MAIL, Api, Scene, invented_token
from tests.simulator_fixture import lettermint


@pytest.mark.parametrize(("short", "length"), [(False, 32), (True, 22)])
def test_forms_of_project_tokens(scene: Scene, short: bool, length: int) -> None:
    """A project token has 32 or 22 random letters and digits, and keeps its form when rotated."""
    project, token = scene.simulator.add_project(short_token=short)

    minted = scene.rotate(project).json["new_token"]

    for text in (token.reveal(), minted):
        assert re.fullmatch(rf"lm_[0-9A-Za-z]{{{length}}}", text)


def test_form_of_team_tokens(scene: Scene) -> None:
    """A team token has 40 random letters and digits."""
    assert re.fullmatch(r"lm_team_[0-9A-Za-z]{40}", scene.furnished.team_token.reveal())


def test_a_marker_begins_every_token(clock: FakeClock) -> None:
    """With a marker, tokens of every kind carry it and have the same length as ever."""
    with lettermint(clock, marker="LEAK") as simulator:
        scene = Scene(simulator)
        scene.rotate()
        texts = [token.reveal() for token in simulator.issued()]

    assert {35, 48} == {len(text) for text in texts}
    assert all(re.match(r"lm_(team_)?LEAK", text) for text in texts)


@pytest.mark.parametrize("marker", ["x" * 11, "with-dash", "é"])
def test_a_marker_that_would_spoil_tokens_is_refused(marker: str) -> None:
    """A marker that is too long or has other characters is an error."""
    with pytest.raises(ValueError, match="marker"), lettermint(marker=marker):
        pass


def test_a_token_is_shown_once(scene: Scene) -> None:
    """No read, list or update ever shows a token again."""
    token = scene.new_token().reveal()

    replies = [
        scene.team("GET", f"/projects/{scene.id}"),
        scene.team("GET", "/projects"),
        scene.team("PUT", f"/projects/{scene.id}", {"name": "Other"}),
    ]

    assert all(b"lm_" not in reply.body and token.encode() not in reply.body for reply in replies)


def test_the_old_token_dies_at_once(scene: Scene) -> None:
    """After the answer of rotate-token the old token is refused by ping and by send."""
    minted = scene.new_token()

    assert (scene.ping(scene.token), scene.send(scene.token).status) == (401, 401)
    assert (scene.ping(minted), scene.send(minted).status) == (200, 202)
    assert (scene.simulator.is_alive(scene.token), scene.simulator.is_alive(minted)) == (False, True)


def test_only_the_original_rotates(scene: Scene) -> None:
    """A dashboard token outlives a rotation of its project."""
    bridge = scene.simulator.add_token(scene.id)

    scene.rotate()

    assert (scene.ping(bridge), scene.ping(scene.token)) == (200, 401)


def test_each_token_can_be_revoked(scene: Scene) -> None:
    """Revoking one token leaves the others alone, whether it is a dashboard, original or team token."""
    bridge = scene.simulator.add_token(scene.id)

    scene.simulator.revoke(bridge)

    assert (scene.ping(bridge), scene.ping(scene.token)) == (401, 200)
    scene.simulator.revoke(scene.token)
    assert (scene.ping(scene.token), scene.ping(scene.furnished.team_token)) == (401, 200)
    scene.simulator.revoke(scene.furnished.team_token)
    assert scene.rotate().status == 401


def test_a_revoked_original_can_be_rotated(scene: Scene) -> None:
    """A project whose original was revoked gets a new original."""
    scene.simulator.revoke(scene.token)

    assert scene.ping(scene.new_token()) == 200


def test_kinds_of_tokens_are_not_interchangeable(scene: Scene) -> None:
    """A project token opens no team call, a team token sends nothing, and each keeps to its header."""
    team, project = scene.furnished.team_token.reveal(), scene.token.reveal()

    assert scene.mailer("GET", "/projects").status == 401
    assert scene.team("POST", "/send", MAIL).status == 401
    assert scene.nobody("GET", "/ping", headers={"Authorization": f"Bearer {project}"}).status == 401
    assert scene.nobody("GET", "/projects", headers={"x-lettermint-token": team}).status == 401


def test_no_token_at_all(scene: Scene) -> None:
    """Without a token even ping is refused."""
    assert (scene.nobody("GET", "/ping").status, scene.ping(invented_token())) == (401, 401)


def test_a_restricted_token_is_forbidden_from_elsewhere(scene: Scene) -> None:
    """A token bound to other addresses is a 403, bound to ours or freed it works."""
    scene.simulator.restrict(scene.token, ["192.0.2.1"])
    assert (scene.ping(scene.token), scene.send().status) == (403, 403)
    assert scene.simulator.is_alive(scene.token)

    scene.simulator.restrict(scene.token, ["192.0.2.1", "127.0.0.1"])
    assert scene.ping(scene.token) == 200

    scene.simulator.restrict(scene.token, [])
    assert scene.ping(scene.token) == 403
    scene.simulator.restrict(scene.token, None)
    assert scene.ping(scene.token) == 200


def test_a_mint_keeps_the_restriction(scene: Scene) -> None:
    """The new original is bound as the old one was; a dashboard token beside it is not."""
    bridge = scene.simulator.add_token(scene.id)
    scene.simulator.restrict(scene.token, ["192.0.2.1"])

    assert (scene.ping(scene.new_token()), scene.ping(bridge)) == (403, 200)


@pytest.mark.parametrize(
    ("ability", "method", "path", "status"),
    [
        ("write:projects", "POST", "/projects/{id}/rotate-token", 200),
        ("read:projects", "POST", "/projects/{id}/rotate-token", 403),
        ("read:projects", "GET", "/projects/{id}", 200),
        ("write:projects", "GET", "/projects/{id}", 200),
        ("read:routes", "GET", "/projects/{id}", 403),
        ("read:routes", "GET", "/projects/{id}/routes", 200),
        ("read:domains", "GET", "/domains", 200),
        ("write:routes", "GET", "/domains", 403),
        ("read:team", "GET", "/team", 200),
        ("read:projects", "GET", "/team", 403),
        ("read:team", "GET", "/ping", 200),
    ],
)
def test_abilities(scene: Scene, ability: str, method: str, path: str, status: int) -> None:
    """A call needs its own ability; a write ability includes the read of the same resource."""
    reply = scene.with_abilities(ability)(method, path.format(id=scene.id))

    assert status == reply.status


def test_an_unknown_ability_is_refused(scene: Scene) -> None:
    """A misspelt ability is an error, not a token that can do nothing."""
    with pytest.raises(ValueError, match="write:project"):
        scene.simulator.add_team_token(abilities=["write:project"])


@pytest.mark.parametrize(
    "method_and_tail", [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/rotate-token")]
)
def test_a_project_of_another_team_is_not_there(scene: Scene, method_and_tail: tuple[str, str]) -> None:
    """Another team's project is a 404 for every call, and nothing happens to it."""
    method, tail = method_and_tail

    reply = scene.other_team()(method, f"/projects/{scene.id}{tail}", {"name": "Taken"})

    assert reply.status == 404
    assert scene.simulator.is_alive(scene.token)
    assert scene.project()["name"] == "Project 1"


def test_metadata_describes_the_original(scene: Scene, clock: FakeClock) -> None:
    """Use of the original moves `token_last_used_*`, use of a dashboard token does not."""
    bridge = scene.simulator.add_token(scene.id)
    scene.send(bridge)
    assert tuple(scene.project()[f"token_last_used_{name}"] for name in ("at", "ip")) == (None, None)

    clock.advance(61)
    scene.send()

    assert tuple(scene.project()[f"token_last_used_{name}"] for name in ("at", "ip")) == (
        "2026-11-21T12:01:01Z",
        "127.0.0.1",
    )


@pytest.mark.parametrize(("ping_is_use", "shown"), [(True, "2026-11-21T12:00:00Z"), (False, None)])
def test_whether_a_ping_is_a_use_is_a_setting(clock: FakeClock, ping_is_use: bool, shown: str | None) -> None:
    """No source tells whether ping moves `token_last_used_at`, so both can be had."""
    with lettermint(clock, ping_is_use=ping_is_use) as simulator:
        scene = Scene(simulator)
        scene.ping(scene.token)

        assert shown == scene.project()["token_last_used_at"]


def test_a_refused_call_is_no_use(scene: Scene) -> None:
    """A send that is refused leaves `token_last_used_at` alone."""
    scene.send(to=[])

    assert scene.project()["token_last_used_at"] is None


def test_a_mint_renews_the_metadata(scene: Scene, clock: FakeClock) -> None:
    """After a mint `token_generated_at` is its time and the new original has never been used."""
    scene.send()
    clock.advance(5)

    data = scene.rotate().json["data"]

    assert data == scene.project()
    assert (data["token_generated_at"], data["token_last_used_at"]) == ("2026-11-21T12:00:05Z", None)


def test_use_by_a_consumer_elsewhere(scene: Scene) -> None:
    """`use` stands for a consumer on another machine."""
    scene.simulator.use(scene.id, ip="198.51.100.9")

    assert scene.project()["token_last_used_ip"] == "198.51.100.9"


def test_regenerate_is_a_mint_out_of_band(scene: Scene, clock: FakeClock) -> None:
    """The dashboard's Regenerate kills the original and moves `token_generated_at`."""
    clock.advance(9)

    token = scene.simulator.regenerate(scene.id)

    assert (scene.ping(scene.token), scene.ping(token)) == (401, 200)
    assert scene.project()["token_generated_at"] == "2026-11-21T12:00:09Z"
    assert [mint.via for mint in scene.simulator.mints(scene.id)] == ["dashboard"]


def test_a_deleted_project_takes_its_tokens_along(scene: Scene) -> None:
    """Tokens of a deleted project are dead, and its truth can still be asked for."""
    bridge = scene.simulator.add_token(scene.id)
    scene.rotate()

    scene.team("DELETE", f"/projects/{scene.id}")

    assert scene.ping(bridge) == 401
    assert len(scene.simulator.mints(scene.id)) == 1
    with pytest.raises(ValueError, match="no such project"):
        scene.simulator.add_token(scene.id)


def test_the_truth_of_a_mint(scene: Scene, clock: FakeClock) -> None:
    """A mint's record bounds the old token's life: alive up to it, refused from it on."""
    clock.advance(1.5)
    scene.ping(scene.token)
    clock.advance(0.25)
    scene.rotate()
    scene.ping(scene.token)

    mint = scene.simulator.mints(scene.id)[0]
    pings = [event for event in scene.simulator.events if event.call == "ping"]

    assert mint.old_dead_from == mint.new_alive_from == mint.at
    assert mint.at.boot == 1001.75
    assert [(True, mint.old), (False, mint.old)] == [(one.executed, one.token) for one in pings]
    assert pings[0].at.boot < mint.at.boot <= pings[1].at.boot


def test_truth_under_many_threads() -> None:
    """On the real clock, no ping with the old token succeeds after the mint and none fails before."""
    with lettermint(read_limit=10**6) as simulator:
        scene = Scene(simulator)
        stop = threading.Event()

        def hammer() -> None:
            while not stop.is_set():
                scene.ping(scene.token)

        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        while sum(event.executed for event in simulator.events) < 20:
            stop.wait(0.01)
        scene.rotate()
        while simulator.events[-1].executed or simulator.events[-1].call != "ping":
            stop.wait(0.01)
        stop.set()
        for thread in threads:
            thread.join()
        died = simulator.mints(scene.id)[0].old_dead_from.boot
        events = simulator.events

    assert list(range(1, len(events) + 1)) == [event.seq for event in events]
    assert sorted(event.at.boot for event in events) == [event.at.boot for event in events]
    pings = [event for event in events if event.call == "ping"]
    assert all(event.executed == (event.at.boot < died) for event in pings)
    assert {True, False} == {event.executed for event in pings}


def test_answers_carry_no_plain_token_into_the_truth(scene: Scene) -> None:
    """Events, mints and messages name tokens by digest only."""
    scene.send()
    scene.rotate()

    told = repr((scene.simulator.events, scene.simulator.mints(scene.id), scene.simulator.sends(scene.id)))

    assert not any(token.reveal() in told for token in scene.simulator.issued())


def test_a_foreign_token_is_an_error_for_the_python_methods(scene: Scene) -> None:
    """Revoking what was never issued is an error; asking whether it lives is not."""
    with pytest.raises(ValueError, match="never issued"):
        scene.simulator.revoke(invented_token())
    assert not scene.simulator.is_alive(invented_token())
    assert not scene.simulator.is_alive(Secret("lm_"))


def test_headers_with_odd_tokens_are_401(scene: Scene) -> None:
    """A header that holds no token of ours is a 401, not an error of the simulator."""
    for value in ("", "lm_", "x" * 5000):
        assert scene.nobody("GET", "/ping", headers={"x-lettermint-token": value}).status == 401
    assert Api(scene.simulator)("GET", "/team", headers={"Authorization": "Basic abc"}).status == 401
