"""Every knob for faults, over real HTTP."""

from __future__ import annotations

import http.client
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from rotator.simulator.faults import KINDS, Faults
from tests.conftest import FakeClock
from tests.simulator.support import Scene
from tests.simulator_fixture import lettermint

DROPPED = (http.client.RemoteDisconnected, ConnectionResetError)


def alive(scene: Scene) -> bool:
    return scene.simulator.is_alive(scene.token)


def last_rotate(scene: Scene):
    return [event for event in scene.simulator.events if event.call == "rotate"][-1]


def test_a_lost_answer_was_executed(scene: Scene) -> None:
    """The connection drops, the old token is dead, and the truth says that nothing was answered."""
    scene.simulator.faults.add("rotate", "lost-answer")

    with pytest.raises(DROPPED):
        scene.rotate()

    event = last_rotate(scene)
    assert (event.executed, event.status, event.answered, event.faults) == (True, 200, None, ("lost-answer",))
    assert not alive(scene)
    assert scene.rotate().status == 200


def test_dropped_before_execution(scene: Scene) -> None:
    """The connection drops, nothing was executed, and no slot of the rate limit was taken."""
    scene.simulator.faults.add("rotate", "dropped", times=5)

    for _ in range(5):
        with pytest.raises(DROPPED):
            scene.rotate()

    event = last_rotate(scene)
    assert (event.executed, event.status, event.answered) == (False, None, None)
    assert alive(scene)
    assert scene.rotate().status == 200


@pytest.mark.parametrize("page", [False, True])
@pytest.mark.parametrize(
    ("kind", "status", "survives"), [("error-before", 503, True), ("error-after", 502, False)]
)
def test_5xx_on_either_side_of_the_execution(
    scene: Scene, kind: str, status: int, survives: bool, page: bool
) -> None:
    """Before: the token lives. After: it is dead. Both as JSON or as a proxy's page."""
    scene.simulator.faults.add("rotate", kind, page=page)

    reply = scene.rotate()

    assert (status, survives) == (reply.status, alive(scene))
    assert ("text/html" if page else "application/json") == reply.content_type
    assert reply.body.startswith(b"<html>" if page else b'{"error"')


@pytest.mark.parametrize("status", [500, 504, 599])
def test_the_5xx_can_be_chosen(scene: Scene, status: int) -> None:
    """Any server error can be had, on any call."""
    scene.simulator.faults.add("send", "error-before", status=status)

    assert status == scene.send().status


def test_late_execution(scene: Scene, clock: FakeClock) -> None:
    """Just before its time nothing has happened, at its time the old token dies, with nobody calling."""
    arrived = clock.boot()
    scene.simulator.faults.add("rotate", "late", seconds=8)
    with pytest.raises(DROPPED):
        scene.rotate()

    clock.advance(7.999)
    assert alive(scene)
    assert scene.simulator.mints(scene.id) == []
    clock.advance(0.001)
    assert not alive(scene)

    clock.advance(100)
    mint = scene.simulator.mints(scene.id)[0]
    held_back, executed = (event for event in scene.simulator.events if event.call == "rotate")
    assert arrived + 8 == mint.old_dead_from.boot == executed.at.boot
    assert (held_back.executed, executed.executed) == (False, True)
    assert executed.arrived == held_back.arrived


def test_late_executions_keep_their_order(scene: Scene, clock: FakeClock) -> None:
    """Two calls that run late run in the order of their times, and the truth stays in order."""
    scene.simulator.faults.add("rotate", "late", seconds=9)
    scene.simulator.faults.add("rotate", "late", seconds=3)
    for _ in range(2):
        with pytest.raises(DROPPED):
            scene.rotate()

    clock.advance(20)
    first, second = scene.simulator.mints(scene.id)

    assert (6, first.new) == (second.at.boot - first.at.boot, second.old)
    boots = [event.at.boot for event in scene.simulator.events]
    assert sorted(boots) == boots


def test_a_late_call_runs_by_the_rules_of_its_time(scene: Scene, clock: FakeClock) -> None:
    """A team token that is revoked meanwhile no longer rotates."""
    scene.simulator.faults.add("rotate", "late", seconds=5)
    with pytest.raises(DROPPED):
        scene.rotate()
    scene.simulator.revoke(scene.furnished.team_token)

    clock.advance(5)

    assert alive(scene)
    assert (last_rotate(scene).status, last_rotate(scene).executed) == (401, False)


def test_a_hanging_call_outlasts_its_caller() -> None:
    """With `hang` the connection stays silent until the caller's own time-out."""
    with lettermint() as simulator:
        scene = Scene(simulator)
        simulator.faults.add("rotate", "lost-answer", hang=30)
        began = time.monotonic()

        with pytest.raises(TimeoutError):
            scene.team("POST", f"/projects/{scene.id}/rotate-token", timeout=0.2)

        assert not alive(scene)
    assert time.monotonic() - began < 10  # stopping the simulator does not wait for the hang


def test_latency_before_and_after(scene: Scene, clock: FakeClock) -> None:
    """One moves the execution, the other only the answer."""
    began = clock.boot()
    scene.simulator.faults.add("rotate", "latency", seconds=2)
    scene.simulator.faults.add("rotate", "answer-latency", seconds=5)

    assert scene.rotate().status == 200

    event = last_rotate(scene)
    assert (event.arrived.boot - began, event.at.boot - began, clock.boot() - began) == (0, 2, 7)
    assert event.faults == ("latency", "answer-latency")


def test_latency_on_the_real_clock() -> None:
    """Latency really takes that long, and does not hold up other callers."""
    with lettermint() as simulator:
        scene = Scene(simulator)
        simulator.faults.add("team", "latency", seconds=0.3)
        began = time.monotonic()

        assert scene.team("GET", "/team").status == 200

        assert time.monotonic() - began >= 0.3


def test_a_new_token_that_spreads_slowly(scene: Scene, clock: FakeClock) -> None:
    """The new token is refused until just before its time and accepted at it; the old one is dead."""
    scene.simulator.faults.add("rotate", "slow-new-token", seconds=4)
    token = scene.new_token()

    clock.advance(3.999)
    assert (scene.ping(token), scene.ping(scene.token)) == (401, 401)
    clock.advance(0.001)
    assert scene.ping(token) == 200
    mint = scene.simulator.mints(scene.id)[0]
    assert mint.new_alive_from.boot - mint.at.boot == 4


def test_an_old_token_that_dies_slowly(scene: Scene, clock: FakeClock) -> None:
    """The old token answers until just before its time and is refused at it; the new one lives at once."""
    scene.simulator.faults.add("rotate", "slow-dead-token", seconds=4)
    token = scene.new_token()

    clock.advance(3.999)
    assert (scene.ping(token), scene.ping(scene.token)) == (200, 200)
    clock.advance(0.001)
    assert scene.ping(scene.token) == 401
    mint = scene.simulator.mints(scene.id)[0]
    assert mint.old_dead_from.boot - mint.at.boot == 4


def test_a_read_that_lags(scene: Scene, clock: FakeClock) -> None:
    """GET shows the old `token_generated_at` until its time; the answer of the mint shows the new one."""
    before = scene.project()["token_generated_at"]
    clock.advance(10)
    scene.simulator.faults.add("rotate", "read-lag", seconds=4)
    minted = scene.rotate().json["data"]["token_generated_at"]

    clock.advance(3.999)
    assert before == scene.project()["token_generated_at"]
    clock.advance(0.001)
    assert minted == scene.project()["token_generated_at"]
    assert before != minted


def test_a_wrong_content_type(scene: Scene) -> None:
    """The body is right, the header is not."""
    scene.simulator.faults.add("rotate", "wrong-content-type", content_type="text/plain")

    reply = scene.rotate()

    assert reply.content_type == "text/plain"
    assert "new_token" in reply.json


def test_a_truncated_body(scene: Scene) -> None:
    """The connection ends in the middle of the body that its header promised."""
    scene.simulator.faults.add("rotate", "truncated")

    with pytest.raises(http.client.IncompleteRead):
        scene.rotate()

    assert not alive(scene)


@pytest.mark.parametrize("size", [1, 64 * 1024, 3_000_000])
def test_an_oversized_body(scene: Scene, size: int) -> None:
    """The body is followed by that much white space, all of it announced."""
    normal = len(scene.team("GET", "/team").body)
    scene.simulator.faults.add("team", "oversized", size=size)

    reply = scene.team("GET", "/team")

    assert (normal + size, str(normal + size)) == (len(reply.body), reply.headers["content-length"])
    assert reply.json["name"] == "Example"


def test_a_malformed_answer(scene: Scene) -> None:
    """A 200 of rotate-token without `new_token`; any other field can be left out as well."""
    scene.simulator.faults.add("rotate", "malformed")
    scene.simulator.faults.add("project", "malformed", field="token_generated_at")

    assert {"data", "message"} == set(scene.rotate().json)
    assert not alive(scene)
    assert "token_generated_at" not in scene.project()
    assert "token_generated_at" in scene.project()


@pytest.mark.parametrize("status", [404, 405, 410])
def test_an_endpoint_that_is_gone(scene: Scene, status: int) -> None:
    """rotate-token answers 404, 405 or 410 while the project can still be read."""
    scene.simulator.faults.add("rotate", "gone", status=status, times=None)

    assert [status, status] == [scene.rotate().status, scene.rotate().status]
    assert alive(scene)
    assert scene.team("GET", f"/projects/{scene.id}").status == 200


def test_too_many_requests(scene: Scene, clock: FakeClock) -> None:
    """429 in the form of the call, with Retry-After in seconds, as a date, or left out."""
    scene.simulator.faults.add("rotate", "too-many", retry_after=7)
    scene.simulator.faults.add("rotate", "too-many", retry_after=7, http_date=True)
    scene.simulator.faults.add("rotate", "too-many", retry_after=None)
    scene.simulator.faults.add("send", "too-many")

    seconds, date, neither, sent = scene.rotate(), scene.rotate(), scene.rotate(), scene.send()

    assert [reply.status for reply in (seconds, date, neither, sent)] == [429] * 4
    assert seconds.headers["retry-after"] == "7"
    assert (parsedate_to_datetime(date.headers["retry-after"]) - clock.now()).total_seconds() == 7
    assert "retry-after" not in neither.headers
    assert ({"message"}, {"error"}) == (set(seconds.json), set(sent.json))
    assert alive(scene)


@pytest.mark.parametrize("executed", [False, True])
def test_any_other_status(scene: Scene, executed: bool) -> None:
    """A status of one's own, on a call that was executed or was not."""
    scene.simulator.faults.add("rotate", "status", status=418, executed=executed)

    assert scene.rotate().status == 418
    assert executed is not alive(scene)


@pytest.mark.parametrize("times", [1, 3])
def test_a_fault_hits_so_many_calls(scene: Scene, times: int) -> None:
    """The next N calls are hit, the one after is not."""
    scene.simulator.faults.add("team", "error-before", times=times)

    statuses = [scene.team("GET", "/team").status for _ in range(times + 1)]

    assert [503] * times + [200] == statuses
    assert scene.simulator.faults.waiting() == []


def test_a_fault_can_hit_always_until_removed(scene: Scene) -> None:
    """`times=None` never wears out; removing or clearing ends it."""
    one = scene.simulator.faults.add("team", "error-before", times=None)
    scene.simulator.faults.add("ping", "error-before", times=None)
    assert [scene.team("GET", "/team").status for _ in range(9)] == [503] * 9

    scene.simulator.faults.remove(one)
    assert (scene.team("GET", "/team").status, scene.ping(scene.token)) == (200, 503)
    scene.simulator.faults.clear()
    assert scene.ping(scene.token) == 200


def test_skip_lets_calls_pass_first(scene: Scene) -> None:
    """`skip=2` hits the third call."""
    scene.simulator.faults.add("team", "error-before", skip=2)

    assert [scene.team("GET", "/team").status for _ in range(4)] == [200, 200, 503, 200]


def test_a_fault_of_one_project(scene: Scene) -> None:
    """With a project given, calls of other projects pass, told by path or by token."""
    (first, one), (second, two) = scene.furnished.projects
    scene.simulator.faults.add("rotate", "error-before", project=second)
    scene.simulator.faults.add("ping", "error-before", project=second)

    assert (scene.ping(one), scene.ping(two)) == (200, 503)
    assert (scene.rotate(first).status, scene.rotate(second).status) == (200, 503)


def test_a_fault_of_any_call(scene: Scene) -> None:
    """`*` hits whatever comes next."""
    scene.simulator.faults.add("*", "error-before")

    assert (scene.send().status, scene.team("GET", "/team").status) == (503, 200)


def test_outcomes_queue_up_and_other_slots_combine(scene: Scene, clock: FakeClock) -> None:
    """Two outcomes hit two calls one after the other; a latency goes along with the first."""
    began = clock.boot()
    scene.simulator.faults.add("team", "error-before", status=500)
    scene.simulator.faults.add("team", "gone", status=410)
    scene.simulator.faults.add("team", "latency", seconds=3)

    assert [scene.team("GET", "/team").status for _ in range(3)] == [500, 410, 200]
    assert clock.boot() - began == 3


def test_a_fault_on_an_unknown_path_does_no_harm(scene: Scene) -> None:
    """A path that names no call is hit by `*` only."""
    scene.simulator.faults.add("team", "error-before")
    scene.simulator.faults.add("*", "error-before", skip=1)

    assert [scene.team("GET", "/nowhere").status for _ in range(2)] == [404, 503]


@pytest.mark.parametrize(
    ("call", "kind", "params"),
    [
        ("rotat", "dropped", {}),
        ("rotate", "explode", {}),
        ("rotate", "dropped", {"seconds": 1}),
        ("rotate", "latency", {}),
        ("rotate", "latency", {"seconds": -1}),
        ("rotate", "latency", {"seconds": "1"}),
        ("rotate", "late", {"seconds": True}),
        ("rotate", "dropped", {"hang": 10**10}),
        ("rotate", "gone", {"status": 403}),
        ("rotate", "error-before", {"status": 499}),
        ("rotate", "error-after", {"status": 600}),
        ("rotate", "error-after", {"status": "500"}),
        ("rotate", "status", {"status": 199}),
        ("rotate", "status", {"status": 600}),
        ("rotate", "dropped", {"times": 0}),
        ("ping", "read-lag", {"seconds": 1}),
        ("*", "slow-new-token", {"seconds": 1}),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(call: str, kind: str, params: dict) -> None:
    """Misspelt names, missing or wrong parameters are an error, and nothing is set."""
    faults = Faults()

    with pytest.raises(ValueError, match=r"\w"):
        faults.add(call, kind, **params)

    assert faults.waiting() == []


def test_every_kind_is_tested() -> None:
    """The names of all kinds occur in the tests above or in those of the relay, so none goes untested."""
    here = Path(__file__)
    tests = here.read_text() + here.with_name("test_simulator_smtp.py").read_text()

    assert [kind for kind in KINDS if f'"{kind}"' not in tests] == []
