"""The admin paths, the server's life, and the simulator as a process of its own."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest

from rotator.secret import Secret
from rotator.simulator.__main__ import main
from rotator.simulator.server import Simulator
from tests.conftest import FakeClock
from tests.simulator.support import MAIL, Api, Scene, invented_token
from tests.simulator_fixture import ROOT, admin, lettermint, lettermint_process


def test_a_world_made_over_http(clock: FakeClock) -> None:
    """Teams, tokens, projects and domains made over the admin paths behave as those made in Python."""
    with lettermint(clock) as simulator:
        url = simulator.admin_url
        simulator.add_team("First")
        team = admin(url, "POST", "teams", {"name": "Remote"})
        project = admin(url, "POST", "projects", {"name": "One", "team": team["team"], "short_token": True})
        admin(
            url,
            "POST",
            "domains",
            {"domain": "example.com", "team": team["team"], "projects": [project["id"]]},
        )
        bridge = Secret(admin(url, "POST", f"projects/{project['id']}/tokens", {})["token"])
        reader = admin(url, "POST", "team-tokens", {"team": team["team"], "abilities": ["read:team"]})
        admin(url, "POST", f"projects/{project['id']}/use", {"ip": "192.0.2.9"})
        regenerated = Secret(admin(url, "POST", f"projects/{project['id']}/regenerate")["token"])

        assert not simulator.is_alive(Secret(project["token"]))
        assert simulator.is_alive(bridge)
        assert simulator.is_alive(regenerated)
        assert simulator.team_of(bridge) == team["team"] == reader["team"] == project["team"]
        assert Api(simulator, bridge)("POST", "/send", MAIL).status == 202


def test_the_truth_over_http(scene: Scene) -> None:
    """Events, mints, sends and life of tokens are told as JSON, without any token in clear."""
    url = scene.simulator.admin_url
    scene.send(key="k")
    scene.rotate()
    scene.ping(scene.token)

    events = admin(url, "GET", "events")["events"]
    mints = admin(url, "GET", f"projects/{scene.id}/mints")["mints"]
    sends = admin(url, "GET", f"projects/{scene.id}/sends")["sends"]

    assert [(one["call"], one["status"]) for one in events] == [("send", 202), ("rotate", 200), ("ping", 401)]
    assert [one["seq"] for one in admin(url, "GET", "events?since=1")["events"]] == [2, 3]
    assert [one["seq"] for one in admin(url, "GET", f"events?call=ping&project={scene.id}")["events"]] == [3]
    assert events[1]["at"] == mints[0]["at"] == mints[0]["old_dead_from"]
    assert mints[0]["at"] == {"wall": "2026-11-21T12:00:00.000Z", "boot": 1000.0, "boot_id": "boot-1"}
    assert ("k", mints[0]["old"]) == (sends[0]["idempotency_key"], sends[0]["token"])
    assert admin(url, "POST", "tokens/alive", {"token": scene.token.reveal()}) == {"alive": False}
    told = json.dumps([events, mints, sends])
    assert not any(token.reveal() in told for token in scene.simulator.issued())


def test_revoking_over_http(scene: Scene) -> None:
    """A token is revoked by its value, sent in the body."""
    admin(scene.simulator.admin_url, "POST", "tokens/revoke", {"token": scene.token.reveal()})

    assert scene.ping(scene.token) == 401


def test_restricting_over_http(scene: Scene) -> None:
    """A token is bound to addresses and freed again."""
    token = scene.token.reveal()

    for allowed, status in ((["192.0.2.1"], 403), (None, 200)):
        admin(scene.simulator.admin_url, "POST", "tokens/restrict", {"token": token, "allowed_ips": allowed})
        assert scene.ping(scene.token) == status


def test_faults_over_http(scene: Scene) -> None:
    """Faults are set, listed with what is left of them, removed and cleared."""
    url = scene.simulator.admin_url
    one = admin(url, "POST", "faults", {"call": "ping", "kind": "error-before", "times": 2, "status": 500})[
        "id"
    ]
    admin(url, "POST", "faults", {"call": "rotate", "kind": "late", "seconds": 3})
    assert scene.ping(scene.token) == 500

    assert [
        (fault["call"], fault["times"], fault.get("status"))
        for fault in admin(url, "GET", "faults")["faults"]
    ] == [("ping", 1, 500), ("rotate", 1, None)]
    admin(url, "DELETE", f"faults/{one}")
    assert [fault["call"] for fault in admin(url, "GET", "faults")["faults"]] == ["rotate"]
    admin(url, "DELETE", "faults")
    assert scene.simulator.faults.waiting() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nothing", None, 404),
        ("GET", "", None, 404),
        ("PUT", "faults", {}, 404),
        ("POST", "faults", {"call": "ping"}, 422),
        ("POST", "faults", {"call": "ping", "kind": "explode"}, 422),
        ("POST", "teams", {"colour": "red"}, 422),
        ("POST", "teams", [], 422),
        ("POST", "projects", {"team": "none"}, 422),
        ("POST", "projects", {"team": ""}, 422),
        ("POST", "projects", {"delivery_mode": "paused"}, 422),
        ("GET", "projects/none/mints", None, 422),
        ("POST", "tokens/revoke", {}, 422),
        ("POST", "tokens/revoke", {"token": invented_token().reveal()}, 422),
        ("GET", "events?since=x", None, 422),
    ],
)
def test_admin_mistakes_are_told(scene: Scene, method: str, path: str, body: object, status: int) -> None:
    """An unknown path is a 404 and a wrong body a 422; neither shows a token."""
    with pytest.raises(HTTPError) as caught:
        admin(scene.simulator.admin_url, method, path, body)

    with caught.value as answer:
        assert status == answer.code
        assert b"lm_Z" not in answer.read()


def test_admin_calls_leave_no_trace(scene: Scene) -> None:
    """Admin calls are neither events nor hit by faults."""
    scene.simulator.faults.add("*", "dropped", times=None)

    assert admin(scene.simulator.admin_url, "GET", "events") == {"events": []}


def test_a_connection_is_kept_alive(scene: Scene) -> None:
    """Several requests go over one connection."""
    target = urlsplit(scene.simulator.url)
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=10)
    headers = {"x-lettermint-token": scene.token.reveal()}
    try:
        connection.connect()
        port = connection.sock.getsockname()[1]
        for _ in range(3):
            connection.request("POST", "/v1/send", json.dumps(MAIL), headers)
            answer = connection.getresponse()
            answer.read()
            assert (202, port) == (answer.status, connection.sock.getsockname()[1])
    finally:
        connection.close()


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "40000000"}, {"Transfer-Encoding": "chunked"}, {"Content-Length": "x"}]
)
def test_a_body_that_cannot_be_taken(scene: Scene, headers: dict[str, str]) -> None:
    """A body that is too large or of unknown length is refused unread, and the connection closed."""
    target = urlsplit(scene.simulator.url)
    with socket.create_connection((target.hostname, target.port), timeout=10) as raw:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        raw.sendall("\r\n".join(["POST /v1/send HTTP/1.1", "Host: x", *lines, "", ""]).encode())
        received = b"".join(iter(lambda: raw.recv(4096), b""))

    assert received.startswith(b"HTTP/1.1 413 ")


def test_start_and_stop(clock: FakeClock) -> None:
    """Stopped, nothing answers and connections are closed; started again, port and world are the same."""
    simulator = Simulator(clock=clock)
    with simulator:
        scene = Scene(simulator)
        url = simulator.url
        target = urlsplit(url)
        idle = socket.create_connection((target.hostname, target.port), timeout=10)
        assert scene.ping(scene.token) == 200
        with pytest.raises(RuntimeError, match="is running"):
            simulator.start()

    with idle:
        assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        scene.ping(scene.token)
    simulator.stop()
    with simulator:
        assert url == simulator.url
        assert scene.ping(scene.token) == 200


def test_stop_wakes_calls_that_wait() -> None:
    """A call in a latency does not hold up stopping."""
    with lettermint() as simulator:
        scene = Scene(simulator)
        simulator.faults.add("team", "latency", seconds=60)
        with pytest.raises(TimeoutError):
            scene.team("GET", "/team", timeout=0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_it_listens_on_loopback_only(simulator: Simulator) -> None:
    """The address is 127.0.0.1, and the port that was given or found is in the URL."""
    assert f"http://127.0.0.1:{simulator.port}/v1" == simulator.url
    assert simulator._server.server_address[0] == "127.0.0.1"


def test_without_a_team_nothing_can_be_made(simulator: Simulator) -> None:
    """A project needs a team, and the error says how to get one."""
    with pytest.raises(ValueError, match="add_team"):
        simulator.add_project()


def test_the_process_prints_one_line_and_serves() -> None:
    """Its line of JSON is enough to work with it, and its truth compares with our boot clock."""
    with lettermint_process("--projects", "3", "--rotate-limit", "1", "--marker", "MARK") as line:
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        project = line["projects"][2]
        target = urlsplit(line["url"])
        statuses = []
        for _ in range(2):
            connection = http.client.HTTPConnection(target.hostname, target.port, timeout=10)
            connection.request(
                "POST",
                f"{target.path}/projects/{project['id']}/rotate-token",
                headers={"Authorization": f"Bearer {line['team_token']}"},
            )
            statuses.append(connection.getresponse().status)
            connection.close()
        mint = admin(line["admin_url"], "GET", f"projects/{project['id']}/mints")["mints"][0]

        assert statuses == [200, 429]
        assert before <= mint["at"]["boot"] <= time.clock_gettime(time.CLOCK_BOOTTIME)
        assert project["token"].startswith("lm_MARK")
        assert line["domain"] == "example.com"
        assert len(line["projects"]) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_in_peace(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it with exit code 0, one line of output and nothing on stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "rotator.simulator"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        first = process.stdout.readline()
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)

    assert (process.returncode, rest, errors) == (0, "", "")
    assert json.loads(first)["url"].endswith("/v1")


@pytest.mark.parametrize("arguments", [["--marker", "a-b"], ["--port", "99999"], ["--port", "{taken}"]])
def test_arguments_that_cannot_be(
    simulator: Simulator, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """A bad marker, a port that does not exist and one that is taken are usage errors, exit 2."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with pytest.raises(SystemExit) as caught:
            main([one.format(taken=simulator.port) for one in arguments])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_only_the_standard_library_is_loaded() -> None:
    """The simulator runs where nothing but Python is installed."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import rotator.simulator.__main__;"
        "print({name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )

    printed = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(ROOT)], capture_output=True, text=True, check=True
    )

    assert {"rotator", "__main__"} >= eval(printed.stdout)
