"""Every answer that the contract lists for a served path, over HTTP, against its schema."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from jsonschema import ValidationError

from tests.conftest import FakeClock
from tests.simulator.support import CONTRACT, UNKNOWN_ID, Reply, Scene, check_contract, invented_token
from tests.simulator_fixture import lettermint

NOT_SERVED = {
    ("/team", "put"),
    *(
        (path, method)
        for path in CONTRACT["paths"]
        if path.startswith("/webhooks")
        for method in CONTRACT["paths"][path]
    ),
}
Case = Callable[[Scene], Reply]


def spent(method: str, path: str) -> Case:
    """The same call until its tier has no room."""

    def case(scene: Scene) -> Reply:
        for _ in range(301):
            reply = scene.team(method, path.format(id=scene.id), {})
            if reply.status == 429:
                return reply
        raise AssertionError("no limit was reached")

    return case


def team_cases(path: str, method: str) -> dict[tuple[str, str, int], Case]:
    """401, 403 and 429, which every team call has."""
    there = path.replace("{projectId}", "{id}")
    return {
        (path, method, 401): lambda scene: scene.with_token(invented_token("team"))(
            method, there.format(id=scene.id), {}
        ),
        (path, method, 403): lambda scene: scene.with_abilities("read:messages")(
            method, there.format(id=scene.id), {}
        ),
        (path, method, 429): spent(method, there),
    }


def project_404(method: str, tail: str = "") -> Case:
    return lambda scene: scene.team(method, f"/projects/{UNKNOWN_ID}{tail}", {})


def conflict(scene: Scene) -> Reply:
    scene.send(key="one", subject="first")
    return scene.send(key="one", subject="second")


def restricted(scene: Scene) -> Reply:
    scene.simulator.restrict(scene.token, ["192.0.2.1"])
    return scene.send()


def over_limit(scene: Scene) -> Reply:
    team = scene.simulator.add_team("Small", daily_limit=0)
    project, token = scene.simulator.add_project(team=team)
    scene.simulator.add_domain("example.com", team=team, projects=[project])
    return scene.send(token, to=["someone@example.net"])


def faulty_send(kind: str, **params: object) -> Case:
    def case(scene: Scene) -> Reply:
        scene.simulator.faults.add("send", kind, **params)
        return scene.send()

    return case


ONE = "/projects/{projectId}"
ROTATE = ONE + "/rotate-token"
CASES: dict[tuple[str, str, int], Case] = {
    ("/ping", "GET", 200): lambda scene: scene.mailer("GET", "/ping"),
    ("/ping", "GET", 401): lambda scene: scene.with_token(invented_token())("GET", "/ping"),
    ("/ping", "GET", 429): spent("GET", "/ping"),
    **team_cases("/team", "GET"),
    ("/team", "GET", 200): lambda scene: scene.team("GET", "/team", query={"include": "features,addons"}),
    **team_cases("/projects", "GET"),
    ("/projects", "GET", 200): lambda scene: scene.team("GET", "/projects"),
    **team_cases("/projects", "POST"),
    ("/projects", "POST", 201): lambda scene: scene.team("POST", "/projects", {"name": "B"}),
    ("/projects", "POST", 422): lambda scene: scene.team("POST", "/projects", {}),
    **team_cases(ONE, "GET"),
    (ONE, "GET", 200): lambda scene: scene.team(
        "GET",
        f"/projects/{scene.id}",
        query={"include": "routes,routesCount,domains,domainsCount,messageStats"},
    ),
    (ONE, "GET", 404): project_404("GET"),
    **team_cases(ONE, "PUT"),
    (ONE, "PUT", 200): lambda scene: scene.team("PUT", f"/projects/{scene.id}", {"smtp_enabled": True}),
    (ONE, "PUT", 404): project_404("PUT"),
    (ONE, "PUT", 422): lambda scene: scene.team("PUT", f"/projects/{scene.id}", {"delivery_mode": "x"}),
    **team_cases(ONE, "DELETE"),
    (ONE, "DELETE", 200): lambda scene: scene.team("DELETE", f"/projects/{scene.id}"),
    (ONE, "DELETE", 404): project_404("DELETE"),
    **team_cases(ROTATE, "POST"),
    (ROTATE, "POST", 200): lambda scene: scene.rotate(),
    (ROTATE, "POST", 404): project_404("POST", "/rotate-token"),
    ("/send", "POST", 202): lambda scene: scene.send(),
    ("/send", "POST", 400): over_limit,
    ("/send", "POST", 401): lambda scene: scene.send(invented_token()),
    ("/send", "POST", 403): restricted,
    ("/send", "POST", 409): conflict,
    ("/send", "POST", 422): lambda scene: scene.send(to=[]),
    ("/send", "POST", 429): faulty_send("too-many"),
    ("/send", "POST", 500): faulty_send("error-before", status=500),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]} {case[0]} {case[2]}")
def test_every_documented_answer_validates(scene: Scene, case: tuple[str, str, int]) -> None:
    """Each status that the contract lists for a call has the documented type and schema."""
    path, method, status = case

    reply = CASES[case](scene)

    assert status == reply.status, reply.body
    check_contract(path, method, reply)


def test_the_table_leaves_no_documented_answer_out() -> None:
    """Every status of every served operation of the contract is in the table above."""
    documented = {
        (path, method.upper(), int(status))
        for path, methods in CONTRACT["paths"].items()
        for method, operation in methods.items()
        if method != "parameters" and (path, method) not in NOT_SERVED
        for status in operation["responses"]
    }

    assert documented == set(CASES)


def test_the_check_itself_can_fail(scene: Scene) -> None:
    """An answer without a required field does not pass the contract check."""
    scene.simulator.faults.add("rotate", "malformed")

    with pytest.raises(ValidationError, match="new_token"):
        check_contract(ROTATE, "POST", scene.rotate())


@pytest.mark.parametrize("mode", ["live", "sandbox"])
def test_a_send_validates_in_both_delivery_modes(clock: FakeClock, mode: str) -> None:
    """A 202 validates in a live and in a sandbox project."""
    with lettermint(clock) as simulator:
        scene = Scene(simulator)
        scene.team("PUT", f"/projects/{scene.id}", {"delivery_mode": mode})

        check_contract("/send", "POST", scene.send())


def test_times_are_rfc3339_with_whole_seconds(scene: Scene) -> None:
    """`token_generated_at` has whole seconds, so two mints of one second look alike to a reader."""
    first = scene.rotate().json["data"]["token_generated_at"]

    second = scene.rotate().json["data"]["token_generated_at"]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first)
    assert first == second


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/ping", 405),
        ("GET", "/webhooks", 404),
        ("PATCH", "/projects", 405),
    ],
)
def test_what_is_not_served_is_said_plainly(scene: Scene, method: str, path: str, status: int) -> None:
    """An unknown path is a 404, a wrong method a 405, both with a JSON body."""
    reply = scene.team(method, path)

    assert (status, "application/json") == (reply.status, reply.content_type)
