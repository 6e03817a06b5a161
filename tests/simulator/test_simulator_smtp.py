"""The SMTP relay, driven by smtplib, which nobody here wrote."""

from __future__ import annotations

import base64
import logging
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from rotator.secret import Secret
from rotator.simulator.__main__ import main
from rotator.simulator.faults import Faults
from rotator.simulator.records import short_digest
from rotator.simulator.server import Simulator
from tests.conftest import FakeClock
from tests.leaks.search import leaks
from tests.simulator.support import Scene, invented_token
from tests.simulator_fixture import ROOT, admin, lettermint, lettermint_process

SENDER = "rotation@example.com"
TO = "ok@testing.lettermint.co"
BOTH = pytest.mark.parametrize("implicit", [True, False], ids=["tls", "starttls"])
LOST = (smtplib.SMTPServerDisconnected, ConnectionError, ssl.SSLError)


@pytest.fixture
def scene(scene: Scene, tmp_path: Path) -> Scene:
    """With a relay, and SMTP switched on for the first project only."""
    scene.simulator.open_relay(tmp_path / "ca.pem")
    switch(scene, on=True)
    return scene


def switch(scene: Scene, *, on: bool) -> None:
    assert scene.team("PUT", f"/projects/{scene.id}", {"smtp_enabled": on}).status == 200


def connect(simulator: Simulator, implicit: bool = True, *, encrypt: bool = True) -> smtplib.SMTP:
    """Greeted, and under TLS that was checked against the simulator's authority."""
    trust = ssl.create_default_context(cafile=simulator.ca_file)
    if implicit:
        port = int(simulator.smtps_url.rpartition(":")[2])
        return smtplib.SMTP_SSL("127.0.0.1", port, "client", timeout=10, context=trust)
    client = smtplib.SMTP("127.0.0.1", int(simulator.smtp_url.rpartition(":")[2]), "client", timeout=10)
    if encrypt:
        client.starttls(context=trust)
    return client


def auth(
    scene: Scene,
    token: Secret | None = None,
    *,
    implicit: bool = True,
    mechanism: str = "plain",
    user: str = "lettermint",
) -> int:
    """The code of one log-in."""
    with connect(scene.simulator, implicit) as client:
        client.ehlo()
        client.user, client.password = user, (token or scene.token).reveal()
        try:
            return client.auth(mechanism.upper(), getattr(client, f"auth_{mechanism}"))[0]
        except smtplib.SMTPAuthenticationError as refusal:
            return refusal.smtp_code


def mail(**headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = f"Check <{SENDER}>", TO, "Token rotation check"
    message.set_content("Token rotation check")
    for written, value in headers.items():
        name = written.replace("_", "-")
        del message[name]
        message[name] = value
    return message


def deliver(
    scene: Scene, message: EmailMessage | None = None, *, to: str = TO, implicit: bool = True, **headers: str
) -> tuple[int, str]:
    """Logs in and sends; the code and text of the answer to DATA."""
    with connect(scene.simulator, implicit) as client:
        client.login("lettermint", scene.token.reveal())
        assert client.mail(SENDER)[0] == client.rcpt(to)[0] == 250
        code, text = client.data((message or mail(**headers)).as_bytes())
        return code, text.decode()


def events(scene: Scene, call: str = "smtp-auth"):
    return [event for event in scene.simulator.events if event.call == call]


# --- TLS ------------------------------------------------------------------------------------------


def test_urls(scene: Scene) -> None:
    """Both URLs are those that LETTERMINT_SMTP_URL takes, on loopback."""
    assert scene.simulator.smtp_url.startswith("smtp://127.0.0.1:")
    assert scene.simulator.smtps_url.startswith("smtps://127.0.0.1:")
    assert scene.simulator.ca_file.read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_auth_is_offered_under_tls_only(scene: Scene) -> None:
    """Before STARTTLS there is no offer and a 538; after it, and on the other port, PLAIN and LOGIN."""
    with connect(scene.simulator, implicit=False, encrypt=False) as client:
        client.ehlo()
        assert client.has_extn("starttls")
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AA==")[0] == 538
        client.starttls(context=ssl.create_default_context(cafile=scene.simulator.ca_file))
        client.ehlo()
        assert not client.has_extn("starttls")
        assert set(client.esmtp_features["auth"].split()) == {"PLAIN", "LOGIN"}
    with connect(scene.simulator) as client:
        client.ehlo()
        assert not client.has_extn("starttls")
        assert set(client.esmtp_features["auth"].split()) == {"PLAIN", "LOGIN"}
    assert events(scene) == []


@BOTH
def test_the_certificate_is_of_an_authority_of_its_own(scene: Scene, implicit: bool, caplog) -> None:
    """A client that does not know the authority goes away, and neither side makes a fuss about it."""
    trust = ssl.create_default_context()
    if implicit:
        port = int(scene.simulator.smtps_url.rpartition(":")[2])
        with pytest.raises(ssl.SSLCertVerificationError):
            smtplib.SMTP_SSL("127.0.0.1", port, "client", context=trust)
    else:
        client = connect(scene.simulator, implicit=False, encrypt=False)
        with pytest.raises(ssl.SSLCertVerificationError):
            client.starttls(context=trust)
        client.close()
    assert auth(scene, implicit=implicit) == 235
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


# --- who may log in -------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_log_in(scene: Scene, implicit: bool, mechanism: str) -> None:
    """A living project token of a project with SMTP: accepted, and told in the truth log and the project."""
    assert auth(scene, implicit=implicit, mechanism=mechanism) == 235
    (event,) = events(scene)
    assert (event.project, event.token) == (scene.id, short_digest(scene.token.reveal()))
    assert (event.status, event.answered, event.executed) == (235, 235, True)
    assert event.ip == "127.0.0.1"
    assert scene.project()["token_last_used_ip"] == "127.0.0.1"


def not_switched_on(scene: Scene) -> Secret:
    switch(scene, on=False)
    return scene.token


def revoked(scene: Scene) -> Secret:
    scene.simulator.revoke(scene.token)
    return scene.token


def rotated(scene: Scene) -> Secret:
    scene.rotate()
    return scene.token


def deleted(scene: Scene) -> Secret:
    assert scene.team("DELETE", f"/projects/{scene.id}").status == 200
    return scene.token


def restricted(scene: Scene) -> Secret:
    scene.simulator.restrict(scene.token, ["192.0.2.1"])
    return scene.token


NOT_LET_IN: dict[str, Callable[[Scene], Secret]] = {
    "SMTP is off": not_switched_on,
    "revoked": revoked,
    "rotated": rotated,
    "project deleted": deleted,
    "another address": restricted,
    "a team token": lambda scene: scene.furnished.team_token,
    "invented": lambda _: invented_token(),
    "not ASCII": lambda _: Secret("lm_äöü"),
}


@pytest.mark.parametrize("case", NOT_LET_IN)
def test_refused_log_ins(scene: Scene, case: str) -> None:
    """Whatever the reason, the answer is 535 and does not tell it; nothing counts as a use."""
    token = NOT_LET_IN[case](scene)
    with connect(scene.simulator) as client:
        client.ehlo()
        presented = base64.b64encode(f"\0lettermint\0{token.reveal()}".encode()).decode()
        assert client.docmd("AUTH", f"PLAIN {presented}") == (
            535,
            b"5.7.8 Authentication credentials invalid",
        )
        assert client.mail(SENDER)[0] == 530
    (event,) = events(scene)
    assert (event.status, event.executed, event.token) == (535, False, short_digest(token.reveal()))
    if case != "project deleted":
        assert scene.project()["token_last_used_at"] is None


@pytest.mark.parametrize("user", ["", "Lettermint", "lettermint ", "root"])
def test_the_user_is_lettermint(scene: Scene, user: str) -> None:
    """A living token under any other name is refused."""
    assert auth(scene, user=user) == 535


def test_every_token_of_a_project_logs_in(scene: Scene) -> None:
    """One made in the dashboard does, and outlives rotate-token."""
    bridge = scene.simulator.add_token(scene.id)
    new = scene.new_token()
    assert [auth(scene, token) for token in (bridge, new, scene.token)] == [235, 235, 535]


def test_attempts_are_counted_per_token(scene: Scene) -> None:
    """Each AUTH that presents a token is one event of it, refused or not."""
    other = scene.simulator.regenerate(scene.id)
    for token in (scene.token, scene.token, other):
        auth(scene, token)
    counted = [event.token for event in events(scene)]
    assert counted == [short_digest(one.reveal()) for one in (scene.token, scene.token, other)]


@pytest.mark.parametrize(
    ("command", "code"),
    [("AUTH PLAIN ???", 501), ("AUTH PLAIN AAAA", 501), ("AUTH CRAM-MD5", 504), ("AUTH", 501)],
)
def test_broken_log_ins(scene: Scene, command: str, code: int) -> None:
    """What presents no token is refused by its form, and is no attempt."""
    with connect(scene.simulator) as client:
        client.ehlo()
        assert client.docmd(command)[0] == code
    assert events(scene) == []


# --- messages -------------------------------------------------------------------------------------


@BOTH
def test_a_message(scene: Scene, implicit: bool) -> None:
    """It is accepted and recorded as one of `/send` is, under the id that the answer tells."""
    code, text = deliver(scene, implicit=implicit)
    assert code == 250
    (sent,) = scene.simulator.sends(scene.id)
    assert text.endswith(sent.id)
    assert (sent.sender, sent.to, sent.result) == (SENDER, (TO,), "delivered")
    assert sent.token == short_digest(scene.token.reveal())
    assert sent.request["text"] == "Token rotation check"
    shown = scene.team("GET", f"/messages/{sent.id}").json
    assert (shown["subject"], shown["from_name"], shown["type"]) == (
        "Token rotation check",
        "Check",
        "outbound",
    )
    (event,) = events(scene, "smtp-send")
    assert (event.project, event.status, event.executed) == (scene.id, 250, True)


def test_nothing_is_taken_without_a_log_in(scene: Scene) -> None:
    """MAIL and VRFY want a log-in first (530); after one VRFY tells nothing (252)."""
    with connect(scene.simulator) as client:
        client.ehlo()
        assert client.mail(SENDER)[0] == 530
        assert client.rcpt(TO)[0] == 503
        assert client.docmd("DATA")[0] == 503
        assert client.verify(TO)[0] == 530
        client.login("lettermint", scene.token.reveal())
        assert client.verify(TO)[0] == 252
    assert scene.simulator.sends(scene.id) == []


def test_headers_that_do_something(scene: Scene) -> None:
    """Route, tag, metadata and idempotency key are those of `/send`."""
    headers = {
        "X_Lettermint_Route": "broadcast",
        "X_LM_Tag": "check",
        "X_LM_Metadata_Order": "17",
        "Idempotency_Key": "rotation-1",
    }
    assert deliver(scene, **headers)[0] == 250
    (sent,) = scene.simulator.sends(scene.id)
    route = scene.team("GET", f"/routes/{sent.route}").json
    assert route["slug"] == "broadcast"
    assert (sent.request["tag"], sent.request["metadata"]) == ("check", {"order": "17"})
    assert sent.idempotency_key == "rotation-1"


def test_idempotency(scene: Scene) -> None:
    """The same message under one key is sent once; another one under it is a conflict, for the moment."""
    first, again = (deliver(scene, Idempotency_Key="k") for _ in range(2))
    other = deliver(scene, Idempotency_Key="k", Subject="Something else")
    assert first == again
    assert (first[0], other[0]) == (250, 450)
    assert len(scene.simulator.sends(scene.id)) == 1


@pytest.mark.parametrize(
    ("address", "result"),
    [("hardbounce", "hard_bounced"), ("softbounce", "soft_bounced"), ("ok", "delivered")],
)
def test_test_addresses(scene: Scene, address: str, result: str) -> None:
    """They do what they do over HTTP, and are not billed."""
    deliver(scene, to=f"{address}@testing.lettermint.co")
    (sent,) = scene.simulator.sends(scene.id)
    assert (sent.result, sent.billed) == (result, False)


def html_only() -> EmailMessage:
    message = mail()
    message.set_content("<p>Check</p>", subtype="html")
    return message


def with_both() -> EmailMessage:
    message = mail()
    message.add_alternative("<p>Check</p>", subtype="html")
    return message


def with_nothing() -> EmailMessage:
    message = mail()
    message.set_content("")
    del message["Subject"]
    return message


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (html_only, {"html": "<p>Check</p>"}),
        (with_both, {"text": "Token rotation check", "html": "<p>Check</p>"}),
        (with_nothing, {"subject": "(no subject)"}),
    ],
)
def test_parts_of_a_message(scene: Scene, make: Callable[[], EmailMessage], found: dict[str, str]) -> None:
    """Text and HTML become the fields of `/send`; neither is needed, nor a subject."""
    assert deliver(scene, make())[0] == 250
    (sent,) = scene.simulator.sends(scene.id)
    kept = {name: sent.request[name] for name in ("text", "html") if name in sent.request}
    assert kept == {name: text for name, text in found.items() if name != "subject"}
    assert sent.request["subject"] == found.get("subject", "Token rotation check")


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"From": "somebody@elsewhere.example"}, "domain is not verified"),
        ({"From": "nobody"}, "email address"),
        ({"X_Lettermint_Route": "none"}, "route is invalid"),
    ],
)
def test_messages_that_send_would_refuse(scene: Scene, headers: dict[str, str], words: str) -> None:
    """A 422 of `/send` is a 550 here, with its words."""
    code, text = deliver(scene, **headers)
    assert code == 550
    assert words in text
    assert scene.simulator.sends(scene.id) == []


def test_a_spend_limit(scene: Scene) -> None:
    """Where `/send` says DailyLimitExceeded, the relay says so for the moment (452)."""
    team = scene.simulator.add_team("Small", daily_limit=0)
    scene.id, scene.token = scene.simulator.add_project(team=team, smtp_enabled=True)
    scene.simulator.add_domain("small.example", team=team, projects=[scene.id])
    message = mail(From="a@small.example")
    assert deliver(scene, message, to="b@example.org") == (452, "5.6.0 DailyLimitExceeded")
    assert deliver(scene, message)[0] == 250


def test_a_token_that_dies_after_the_log_in(scene: Scene) -> None:
    """Each message is accepted by what is true when it comes."""
    with connect(scene.simulator) as client:
        client.login("lettermint", scene.token.reveal())
        scene.rotate()
        client.mail(SENDER)
        client.rcpt(TO)
        assert client.data(mail().as_bytes())[0] == 530
    assert scene.simulator.sends(scene.id) == []


def test_a_message_that_makes_no_sense(scene: Scene, caplog) -> None:
    """Any bytes are answered somehow, and the relay goes on."""
    with connect(scene.simulator) as client:
        client.login("lettermint", scene.token.reveal())
        for content in (
            b"",
            b"\xff\xfe\r\n\r\n\0",
            b"Content-Type: text/plain; charset=no-such\r\nFrom: a@example.com\r\n\r\nabc\xff",
        ):
            client.mail(SENDER)
            client.rcpt(TO)
            assert client.data(content)[0] in (250, 451, 550)
            client.rset()
    assert auth(scene) == 235


# --- propagation and faults -----------------------------------------------------------------------


def test_the_relay_may_lag_behind_the_api(scene: Scene, clock: FakeClock) -> None:
    """With `relay-lag` it takes the old token and refuses the new one for so long, both sides of the limit."""
    scene.simulator.faults.add("rotate", "relay-lag", seconds=30)
    new = scene.new_token()
    assert (scene.ping(scene.token), scene.ping(new)) == (401, 200)
    assert (auth(scene), auth(scene, new)) == (235, 535)
    clock.advance(29.9)
    assert (auth(scene), auth(scene, new)) == (235, 535)
    clock.advance(0.1)
    assert (auth(scene), auth(scene, new)) == (535, 235)


def test_the_next_mint_lags_on_its_own(scene: Scene, clock: FakeClock) -> None:
    """The lag of one mint is not that of the next."""
    scene.simulator.faults.add("rotate", "relay-lag", seconds=30)
    second = scene.new_token()
    third = scene.new_token()
    assert [auth(scene, token) for token in (scene.token, second, third)] == [235, 535, 235]
    clock.advance(30)
    assert [auth(scene, token) for token in (scene.token, second, third)] == [535, 535, 235]


def test_what_is_slow_at_the_api_is_slow_here(scene: Scene, clock: FakeClock) -> None:
    """`slow-new-token` and `slow-dead-token` hold for the relay as well."""
    scene.simulator.faults.add("rotate", "slow-new-token", seconds=5)
    scene.simulator.faults.add("rotate", "slow-dead-token", seconds=8)
    new = scene.new_token()
    seen = []
    for _ in range(3):
        seen.append((auth(scene), auth(scene, new)))
        clock.advance(5)
    assert seen == [(235, 535), (235, 235), (535, 235)]


@BOTH
def test_a_code_of_choice(scene: Scene, implicit: bool) -> None:
    """`smtp-answer` answers in place of the rules, which do not see the call unless it says so."""
    scene.simulator.faults.add("smtp-auth", "smtp-answer", code=454)
    scene.simulator.faults.add("smtp-auth", "smtp-answer", code=535, executed=True)
    assert [auth(scene, implicit=implicit) for _ in range(3)] == [454, 535, 235]
    told = [(one.status, one.answered, one.executed, one.faults) for one in events(scene)]
    assert told == [
        (None, 454, False, ("smtp-answer",)),
        (235, 535, True, ("smtp-answer",)),
        (235, 235, True, ()),
    ]


@BOTH
@pytest.mark.parametrize(("kind", "executed"), [("dropped", False), ("lost-answer", True)])
@pytest.mark.parametrize("hang", [0.0, 0.2])
def test_dropped_connections(
    scene: Scene, clock: FakeClock, implicit: bool, kind: str, executed: bool, hang: float
) -> None:
    """A log-in and a message can lose their connection, before or after they were executed."""
    for call, act in (("smtp-auth", auth), ("smtp-send", deliver)):
        scene.simulator.faults.add(call, kind, hang=hang)
        with pytest.raises(LOST):
            act(scene, implicit=implicit)
        last = events(scene, call)[-1]
        assert (last.executed, last.answered, last.faults) == (executed, None, (kind,))
    assert len(scene.simulator.sends(scene.id)) == executed
    assert clock.waits == [hang, hang] * bool(hang)
    assert deliver(scene, implicit=implicit)[0] == 250


def test_latency_is_on_the_clock_given(scene: Scene, clock: FakeClock) -> None:
    """Latency before and after the execution passes on the simulator's clock: a fake one is not waited for."""
    scene.simulator.faults.add("smtp-auth", "latency", seconds=50)
    scene.simulator.faults.add("smtp-auth", "answer-latency", seconds=70)
    began = time.monotonic()
    assert auth(scene) == 235
    assert time.monotonic() - began < 5
    assert clock.waits == [50, 70]
    (event,) = events(scene)
    assert event.arrived.seconds_until(event.at) == 50


def test_a_latency_holds_up_nobody_else(tmp_path: Path) -> None:
    """While one log-in waits in real time, another one is answered."""
    with lettermint() as simulator:
        scene = Scene(simulator)
        simulator.open_relay(tmp_path / "ca.pem")
        switch(scene, on=True)
        simulator.faults.add("smtp-auth", "latency", seconds=1.5)
        codes: list[int] = []
        slow = threading.Thread(target=lambda: codes.append(auth(scene)))
        slow.start()
        while simulator.faults.waiting():
            time.sleep(0.01)
        assert auth(scene) == 235
        assert codes == []
        slow.join()
        assert codes == [235]


def test_faults_of_one_project_only(scene: Scene) -> None:
    """A fault for another project leaves a log-in alone."""
    scene.simulator.faults.add("smtp-auth", "dropped", project=scene.furnished.projects[1][0])
    assert auth(scene) == 235
    scene.simulator.faults.add("smtp-auth", "smtp-answer", code=421, project=scene.id)
    assert auth(scene) == 421


@pytest.mark.parametrize(
    ("call", "kind", "params", "words"),
    [
        ("smtp-auth", "error-before", {}, "calls over HTTP"),
        ("smtp-auth", "read-lag", {"seconds": 1}, "rotate only"),
        ("ping", "smtp-answer", {"code": 454}, "the SMTP relay"),
        ("ping", "relay-lag", {"seconds": 1}, "rotate only"),
        ("*", "relay-lag", {"seconds": 1}, "rotate only"),
        ("smtp-quit", "dropped", {}, "smtp-auth, smtp-send"),
        ("smtp-auth", "smtp-answer", {"code": 399}, "400 to 599"),
        ("smtp-auth", "smtp-answer", {"code": 600}, "400 to 599"),
        ("smtp-auth", "smtp-answer", {"code": "454"}, "400 to 599"),
        ("smtp-auth", "smtp-answer", {}, "takes code, executed"),
    ],
)
def test_faults_that_mean_nothing(call: str, kind: str, params: dict[str, object], words: str) -> None:
    """A kind is set only for calls that it means something for, with a code that is a refusal."""
    with pytest.raises(ValueError, match=words):
        Faults().add(call, kind, **params)


def test_faults_for_all_calls() -> None:
    """Under `*` each kind hits the calls that it means something for, and no others."""
    faults = Faults()
    for kind in ("error-before", "latency"):
        faults.add("*", kind, times=None, **({"seconds": 1} if kind == "latency" else {}))
    faults.add("*", "smtp-answer", times=None, code=400)
    assert set(faults.take("ping", None).names) == {"error-before", "latency"}
    assert set(faults.take("unknown", None).names) == {"error-before", "latency"}
    assert set(faults.take("smtp-auth", None).names) == {"smtp-answer", "latency"}


# --- its life -------------------------------------------------------------------------------------


def test_stop_and_start(scene: Scene) -> None:
    """Stopped, connections end and nothing listens; started again, ports, authority and world are the same."""
    simulator = scene.simulator
    before = (simulator.smtp_url, simulator.smtps_url, simulator.ca_file.read_bytes())
    idle = [connect(simulator, implicit) for implicit in (True, False)]
    simulator.stop()
    for client in idle:
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()
    for implicit in (True, False):
        with pytest.raises(ConnectionRefusedError):
            connect(simulator, implicit)
    simulator.stop()
    simulator.start()
    assert (simulator.smtp_url, simulator.smtps_url, simulator.ca_file.read_bytes()) == before
    assert [auth(scene, implicit=implicit) for implicit in (True, False)] == [235, 235]


def test_a_relay_made_before_the_start(clock: FakeClock, tmp_path: Path) -> None:
    """It listens from the start on."""
    simulator = Simulator(clock=clock)
    simulator.open_relay(tmp_path / "ca.pem")
    with simulator:
        scene = Scene(simulator)
        switch(scene, on=True)
        assert auth(scene) == 235


def test_stop_wakes_log_ins_that_wait(tmp_path: Path) -> None:
    """A log-in in a latency does not hold up stopping."""
    with lettermint() as simulator:
        scene = Scene(simulator)
        simulator.open_relay(tmp_path / "ca.pem")
        simulator.faults.add("smtp-auth", "latency", seconds=60)
        failures: list[Exception] = []

        def log_in() -> None:
            try:
                auth(scene)
            except Exception as problem:  # noqa: BLE001 - whichever way the connection ends
                failures.append(problem)

        waiting = threading.Thread(target=log_in)
        waiting.start()
        while simulator.faults.waiting():
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    waiting.join(5)
    assert len(failures) == 1


@pytest.mark.parametrize("which", ["smtp_port", "smtps_port"])
def test_a_port_that_is_taken(clock: FakeClock, tmp_path: Path, which: str) -> None:
    """Opening fails, leaves nothing listening, and can be tried again."""
    with socket.create_server(("127.0.0.1", 0)) as other, lettermint(clock) as simulator:
        taken = other.getsockname()[1]
        before = set(threading.enumerate())
        with pytest.raises(OSError, match="in use"):
            simulator.open_relay(tmp_path / "ca.pem", **{which: taken})
        assert set(threading.enumerate()) <= before
        with pytest.raises(RuntimeError, match="open_relay"):
            _ = simulator.smtp_url
        simulator.open_relay(tmp_path / "ca.pem")
        with pytest.raises(RuntimeError, match="has an SMTP relay"):
            simulator.open_relay(tmp_path / "ca.pem")


def test_a_start_that_fails_for_the_relay(clock: FakeClock, tmp_path: Path) -> None:
    """Where the relay's port was taken meanwhile, the API does not listen either, and a later start works."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        simulator = Simulator(clock=clock)
        simulator.open_relay(tmp_path / "ca.pem", smtp_port=other.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            simulator.start()
    with simulator:
        assert auth(Scene(simulator)) == 535


def test_without_a_relay(simulator: Simulator) -> None:
    """Nobody who does not ask for it gets one, and its URLs say how to."""
    for name in ("smtp_url", "smtps_url", "ca_file"):
        with pytest.raises(RuntimeError, match="open_relay"):
            getattr(simulator, name)


def test_a_ca_file_that_cannot_be_written(simulator: Simulator, tmp_path: Path) -> None:
    """A folder that is not there is an OSError, and no relay is made."""
    with pytest.raises(FileNotFoundError):
        simulator.open_relay(tmp_path / "none" / "ca.pem")
    with pytest.raises(RuntimeError, match="open_relay"):
        _ = simulator.smtp_url


@pytest.fixture
def printed(tmp_path: Path) -> Iterator[dict]:
    with lettermint_process("--projects", "1", "--ca-file", str(tmp_path / "ca.pem")) as line:
        yield line


def test_the_process(printed: dict, tmp_path: Path) -> None:
    """With --ca-file it prints both URLs, and its projects may use SMTP; its truth is told over HTTP."""
    trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    (project,) = printed["projects"]
    assert printed["ca_file"] == str(tmp_path / "ca.pem")
    with smtplib.SMTP_SSL(
        "127.0.0.1", int(printed["smtps_url"].rpartition(":")[2]), "client", context=trust
    ) as client:
        assert client.login("lettermint", project["token"])[0] == 235
    with smtplib.SMTP("127.0.0.1", int(printed["smtp_url"].rpartition(":")[2]), "client") as client:
        client.starttls(context=trust)
        assert client.login("lettermint", project["token"])[0] == 235
    found = admin(printed["admin_url"], "GET", f"events?call=smtp-auth&project={project['id']}")["events"]
    assert [one["answered"] for one in found] == [235, 235]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--smtp-port", "2525"],
        ["--smtps-port", "0"],
        ["--ca-file", "{folder}/none/ca.pem"],
        ["--ca-file", "{folder}/ca.pem", "--smtp-port", "99999"],
        ["--ca-file", "{folder}/ca.pem", "--smtps-port", "{taken}"],
    ],
)
def test_arguments_that_cannot_be(simulator: Simulator, capsys, tmp_path: Path, arguments: list[str]) -> None:
    """A port without --ca-file, a file that cannot be written and a bad port are usage errors, exit 2."""
    import signal  # noqa: PLC0415 - main blocks signals, which this takes back

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with pytest.raises(SystemExit) as caught:
            main([one.format(folder=tmp_path, taken=simulator.port) for one in arguments])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_only_a_relay_loads_the_libraries() -> None:
    """A simulator without a relay starts without aiosmtpd and trustme."""
    script = (
        "import sys; from rotator.simulator.server import Simulator\n"
        "with Simulator() as simulator: simulator.furnish()\n"
        "print({'aiosmtpd', 'trustme', 'cryptography', 'asyncio'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert printed.stdout == "set()\n"


@BOTH
def test_nothing_of_a_token_is_logged(
    clock: FakeClock, tmp_path: Path, caplog, capfd, implicit: bool
) -> None:
    """At DEBUG, no log record and no standard stream holds a token: log-ins good, bad and broken, messages."""
    caplog.set_level(logging.DEBUG)
    with lettermint(clock, marker="LeakMarker") as simulator:
        scene = Scene(simulator)
        simulator.open_relay(tmp_path / "ca.pem")
        switch(scene, on=True)
        for mechanism in ("plain", "login"):
            auth(scene, implicit=implicit, mechanism=mechanism)
        deliver(scene, mail(Subject=scene.token.reveal()), implicit=implicit)
        simulator.revoke(scene.token)
        auth(scene, implicit=implicit)
        with connect(simulator, implicit) as client:
            client.ehlo()
            client.docmd("AUTH", f"PLAIN {scene.token.reveal()}")
            client.docmd(f"AUTHPLAIN {scene.token.reveal()}")
            client.docmd("AUTH LOGIN")
            client.docmd(scene.token.reveal())
        out, err = capfd.readouterr()
        events = repr(simulator.events)
    places = {"log": caplog.text, "stdout": out, "stderr": err, "truth": events}
    assert leaks([scene.token.reveal()], {name: text.encode() for name, text in places.items()}) == []
