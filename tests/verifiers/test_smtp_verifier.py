"""The SMTP verifier, against the simulator's relay and against relays that misbehave."""

from __future__ import annotations

import base64
import logging
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rotator.errors import InvalidInput
from rotator.secret import Secret
from rotator.simulator.server import Simulator
from rotator.verifiers.base import Attempt, Verdict
from rotator.verifiers.smtp import SmtpVerifier
from rotator.verifiers.smtp_talk import MAX_ANSWER, MAX_LINE, QUIT_PATIENCE, Talk, TalkEnded
from tests.conftest import FakeClock
from tests.leaks.search import leaks
from tests.simulator_fixture import lettermint
from tests.verifiers.conftest import Authority
from tests.verifiers.scripted_relay import ScriptedRelay, close, drip, echo, reset, silence

TOKEN = Secret("lm_" + "LeakMarker" + "A" * 22)
AUTH_PLAIN = b"AUTH PLAIN " + base64.b64encode(b"\0lettermint\0" + TOKEN.reveal().encode()) + b"\r\n"
NO_HOST = "a..b"
"""Its look-up fails without asking anybody."""
BOTH = pytest.mark.parametrize("implicit", [True, False], ids=["tls", "starttls"])
IN_STARTTLS = ("greeting", "hello", "starttls", "secure", "auth")
IN_TLS = ("greeting", "secure", "auth")
EACH = [*((True, stage) for stage in IN_TLS), *((False, stage) for stage in IN_STARTTLS)]
STAGES = pytest.mark.parametrize(("implicit", "stage"), EACH)
Make = Callable[..., ScriptedRelay]


@pytest.fixture
def make_relay(authority: Authority) -> Iterator[Make]:
    made: list[ScriptedRelay] = []

    def make(implicit: bool = True, context: ssl.SSLContext | None = None, **script) -> ScriptedRelay:
        made.append(ScriptedRelay(context or authority.server(), implicit=implicit, **script))
        return made[-1]

    yield make
    for relay in made:
        relay.close()


def verify(relay: ScriptedRelay | str, *, seconds: float = 3.0, token: Secret = TOKEN) -> Attempt:
    """One attempt, which must end within its time, and say who it is about in words of ours."""
    url = relay if isinstance(relay, str) else relay.url
    began = time.monotonic()
    attempt = SmtpVerifier(url, seconds=seconds).verify(token, key="k")
    assert time.monotonic() - began < seconds + 2
    assert attempt.project is None
    assert attempt.detail.startswith(f"the SMTP relay {url.partition('//')[2]} ")
    return attempt


# --- the simulator's relay ------------------------------------------------------------------------


@pytest.fixture
def lettermint_relay(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Simulator, str, Secret]]:
    """The simulator with its relay, and the one project's id and token."""
    with lettermint(clock) as simulator:
        simulator.open_relay(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(simulator.ca_file))
        ((project, token),) = simulator.furnish(1, smtp_enabled=True).projects
        yield simulator, project, token


def url_of(simulator: Simulator, implicit: bool) -> str:
    return simulator.smtps_url if implicit else simulator.smtp_url


def log_ins(simulator: Simulator) -> list[int | None]:
    return [event.answered for event in simulator.events if event.call == "smtp-auth"]


@BOTH
def test_a_living_token_passes(lettermint_relay, implicit):
    """One log-in, accepted, and no mail sent."""
    simulator, project, token = lettermint_relay
    attempt = verify(url_of(simulator, implicit), token=token)
    assert attempt.verdict is Verdict.PASSED
    assert "235" in attempt.detail
    assert log_ins(simulator) == [235]
    assert simulator.sends(project) == []


@BOTH
def test_a_dead_token_is_presented_once(lettermint_relay, implicit):
    """A refusal is one log-in per attempt; smtplib's own login makes two, so the count can tell."""
    simulator, project, token = lettermint_relay
    simulator.regenerate(project)
    attempt = verify(url_of(simulator, implicit), token=token)
    assert attempt.verdict is Verdict.NOT_YET
    assert "535" in attempt.detail
    assert log_ins(simulator) == [535]
    with (
        smtplib.SMTP_SSL(
            "127.0.0.1", int(simulator.smtps_url.rpartition(":")[2]), context=ssl.create_default_context()
        ) as client,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        client.login("lettermint", token.reveal())
    assert log_ins(simulator) == [535, 535, 535]


def test_a_new_token_that_the_relay_does_not_know_yet(lettermint_relay, clock):
    """NOT_YET while the relay lags behind the API, PASSED from the moment it has caught up."""
    simulator, project, _ = lettermint_relay
    simulator.faults.add("rotate", "relay-lag", seconds=30)
    new = mint(simulator, project)
    assert simulator.is_alive(new)
    clock.advance(29.9)
    assert verify(simulator.smtps_url, token=new).verdict is Verdict.NOT_YET
    clock.advance(0.1)
    assert verify(simulator.smtps_url, token=new).verdict is Verdict.PASSED


def mint(simulator: Simulator, project: str) -> Secret:
    from tests.simulator.support import Api  # noqa: PLC0415 - only here

    team = Api(simulator, simulator.add_team_token())
    return Secret(team("POST", f"/projects/{project}/rotate-token").json["new_token"])


def test_smtp_switched_off(lettermint_relay):
    """A project without SMTP looks like a token that is not known, and the detail names the switch."""
    simulator, _, _ = lettermint_relay
    _, token = simulator.add_project("Without SMTP")
    attempt = verify(simulator.smtps_url, token=token)
    assert attempt.verdict is Verdict.NOT_YET
    assert "switched off for the project" in attempt.detail


@BOTH
@pytest.mark.parametrize(
    ("kind", "params"),
    [("smtp-answer", {"code": 454}), ("smtp-answer", {"code": 421}), ("dropped", {}), ("lost-answer", {})],
)
def test_faults_of_the_relay_prove_nothing(lettermint_relay, implicit, kind, params):
    """A temporary refusal and a lost connection are UNKNOWN, and the next attempt passes."""
    simulator, _, token = lettermint_relay
    simulator.faults.add("smtp-auth", kind, **params)
    url = url_of(simulator, implicit)
    assert verify(url, token=token).verdict is Verdict.UNKNOWN
    assert verify(url, token=token).verdict is Verdict.PASSED


def test_many_threads(lettermint_relay):
    """One verifier serves several threads at once, one log-in each."""
    simulator, _, token = lettermint_relay
    verifier = SmtpVerifier(simulator.smtps_url)
    got: list[Verdict] = []
    threads = [
        threading.Thread(target=lambda: got.append(verifier.verify(token, key="k").verdict)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [Verdict.PASSED] * 8
    assert log_ins(simulator) == [235] * 8


# --- what goes over the wire ----------------------------------------------------------------------


@BOTH
def test_the_conversation(make_relay, implicit):
    """TLS, EHLO with our address, one AUTH PLAIN under TLS, QUIT; nothing of the token before TLS."""
    relay = make_relay(implicit)
    assert verify(relay).verdict is Verdict.PASSED
    hello = (False, b"EHLO [127.0.0.1]\r\n")
    before = [] if implicit else [hello, (False, b"STARTTLS\r\n")]
    within = [(True, hello[1]), (True, AUTH_PLAIN), (True, b"QUIT\r\n")]
    assert relay.heard == [*before, *within]


@BOTH
def test_ipv6(make_relay, implicit):
    """An IPv6 address is used as it is, and named in EHLO as RFC 5321 wants it."""
    try:
        relay = make_relay(implicit, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert verify(relay).verdict is Verdict.PASSED
    assert relay.heard[0][1] == b"EHLO [IPv6:::1]\r\n"


def test_the_first_address_that_accepts(make_relay, authority):
    """A name is tried with each of its addresses until one accepts; `localhost` is mostly ::1 as well."""
    relay = make_relay(True, authority.server("localhost"))
    assert verify(f"smtps://localhost:{relay.url.rpartition(':')[2]}").verdict is Verdict.PASSED
    assert relay.connections == 1


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (235, Verdict.PASSED, "accepted"),
        (535, Verdict.NOT_YET, "refused the token"),
        (534, Verdict.NOT_YET, "refused the token"),
        (525, Verdict.NOT_YET, "refused the token"),
        (550, Verdict.NOT_YET, "refused the token"),
        (554, Verdict.NOT_YET, "refused the token"),
        (499, Verdict.UNKNOWN, "at the moment"),
        (454, Verdict.UNKNOWN, "at the moment"),
        (432, Verdict.UNKNOWN, "at the moment"),
        (421, Verdict.UNKNOWN, "at the moment"),
        (400, Verdict.UNKNOWN, "at the moment"),
        (500, Verdict.FAILED, "does not take AUTH PLAIN"),
        (501, Verdict.FAILED, "does not take AUTH PLAIN"),
        (502, Verdict.FAILED, "does not take AUTH PLAIN"),
        (503, Verdict.FAILED, "does not take AUTH PLAIN"),
        (504, Verdict.FAILED, "does not take AUTH PLAIN"),
        (530, Verdict.FAILED, "does not take AUTH PLAIN"),
        (538, Verdict.FAILED, "does not take AUTH PLAIN"),
        (250, Verdict.UNKNOWN, "proves nothing"),
        (334, Verdict.UNKNOWN, "proves nothing"),
    ],
)
def test_answers_to_auth(make_relay, answer, verdict, words):
    """Each code has its verdict; it is in the detail, and the relay's own words are not."""
    relay = make_relay(auth=b"%d-more of it\r\n%d said the relay\r\n" % (answer, answer))
    attempt = verify(relay)
    assert attempt.verdict is verdict
    assert words in attempt.detail
    assert str(answer) in attempt.detail
    assert "said the relay" not in attempt.detail
    assert len(relay.auths) == 1


@pytest.mark.parametrize("code", [235, 535, 454, 504])
def test_quit_after_an_answer(make_relay, code):
    """Whatever the answer to AUTH, leave is taken."""
    relay = make_relay(auth=b"%d x\r\n" % code)
    verify(relay)
    assert relay.commands == ["EHLO", "AUTH", "QUIT"]


def test_no_word_after_a_question(make_relay):
    """A relay that asks on (334) hears nothing more: any line could count as another attempt."""
    relay = make_relay(auth=b"334 \r\n")
    verify(relay)
    assert relay.commands == ["EHLO", "AUTH"]


@BOTH
@pytest.mark.parametrize("say", [close, reset, silence, drip(b"2"), b"garbage\r\n", b"554 no\r\n"])
def test_quit_decides_nothing(make_relay, implicit, say):
    """Whatever becomes of QUIT, the answer to AUTH counts, and nobody waits long for it."""
    relay = make_relay(implicit, quit=say)
    began = time.monotonic()
    assert verify(relay, seconds=8).verdict is Verdict.PASSED
    assert time.monotonic() - began < QUIT_PATIENCE + 3


@pytest.mark.parametrize(("implicit", "stage"), [one for one in EACH if one[1] != "auth"])
@pytest.mark.parametrize(
    ("code", "verdict"), [(421, Verdict.UNKNOWN), (554, Verdict.FAILED), (251, Verdict.UNKNOWN)]
)
def test_refused_before_auth(make_relay, implicit, stage, code, verdict):
    """4xx before AUTH is UNKNOWN and 5xx FAILED, both with the code and the place, and no token is sent."""
    relay = make_relay(implicit, **{stage: b"%d said the relay\r\n" % code})
    attempt = verify(relay)
    assert attempt.verdict is verdict
    name = {"greeting": "its greeting", "starttls": "STARTTLS"}.get(stage, "EHLO")
    assert f"at {name} ({code})" in attempt.detail
    assert "said the relay" not in attempt.detail
    assert relay.auths == []


# --- TLS or nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize("offer", [b"250 SIZE 10\r\n", b"250 AUTH PLAIN LOGIN\r\n", b"250 XSTARTTLS\r\n"])
def test_starttls_missing_or_stripped(make_relay, offer):
    """Without an offer of STARTTLS nothing is sent, and the sentence says what it may be."""
    relay = make_relay(False, hello=b"250-relay\r\n" + offer)
    attempt = verify(relay)
    assert attempt.verdict is Verdict.FAILED
    assert "offers no STARTTLS, so the token was not sent" in attempt.detail
    assert f"smtps://{relay.url.partition('//')[2]}" in attempt.detail
    assert relay.commands == ["EHLO", "QUIT"]


def test_starttls_agreed_on_and_not_done(make_relay):
    """A relay that agrees and goes on in the clear gets no token."""
    relay = make_relay(
        False,
        starttls=lambda line: (line.say(b"220 go\r\n"), time.sleep(0.2), line.say(b"250 AUTH PLAIN\r\n")),
    )
    attempt = verify(relay)
    assert attempt.verdict is Verdict.UNKNOWN
    assert "TLS failed" in attempt.detail
    assert relay.auths == []


def test_words_slipped_in_before_tls(make_relay):
    """What was said in the clear behind the agreement is not taken for what the relay says under TLS."""
    relay = make_relay(False, starttls=b"220 go\r\n250-relay\r\n250 AUTH PLAIN\r\n")
    attempt = verify(relay)
    assert attempt.verdict is Verdict.UNKNOWN
    assert "in the clear" in attempt.detail
    assert relay.auths == []


@BOTH
@pytest.mark.parametrize(
    "offer", [b"250 SIZE 10\r\n", b"250 AUTH LOGIN CRAM-MD5\r\n", b"250 AUTH XPLAIN\r\n"]
)
def test_auth_plain_is_not_offered(make_relay, implicit, offer):
    """Without an offer of AUTH PLAIN under TLS nothing is sent; an offer from before TLS does not count."""
    relay = make_relay(
        implicit, hello=b"250-relay\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", secure=b"250-relay\r\n" + offer
    )
    attempt = verify(relay)
    assert attempt.verdict is Verdict.FAILED
    assert "does not offer AUTH PLAIN, so the token was not sent" in attempt.detail
    assert relay.auths == []


def test_keywords_in_any_case(make_relay):
    """Keywords are read in whatever case they come (RFC 5321, section 2.4)."""
    relay = make_relay(
        False, hello=b"250-relay\r\n250 StartTLS\r\n", secure=b"250-relay\r\n250 auth login plain\r\n"
    )
    assert verify(relay).verdict is Verdict.PASSED


def test_a_talk_in_the_clear_sends_no_token(make_relay):
    """The last door: a conversation that was not encrypted cannot send a token, whoever asks it to."""
    relay = make_relay(False)
    host, port = "127.0.0.1", int(relay.url.rpartition(":")[2])
    with Talk(host, port, seconds=2, connect_seconds=2) as talk:
        talk.reply()
        with pytest.raises(TalkEnded, match="not encrypted"):
            talk.authenticate("lettermint", TOKEN)
        talk.hello()
    assert relay.auths == []


def certificates(authority: Authority, stranger: Authority) -> dict[str, tuple[ssl.SSLContext, str, str]]:
    now = datetime.now(UTC)
    day = timedelta(days=1)
    return {
        "another name": (
            authority.server("mail.example.com"),
            "not for the name 127.0.0.1",
            "LETTERMINT_SMTP_URL",
        ),
        "another address": (
            authority.server("192.0.2.1"),
            "not for the name 127.0.0.1",
            "LETTERMINT_SMTP_URL",
        ),
        "expired": (authority.server(not_after=now - day), "has expired", "this machine's date"),
        "not valid yet": (authority.server(not_before=now + day), "not valid yet", "this machine's date"),
        "a stranger's": (stranger.server(), "not trusted here", "SSL_CERT_FILE"),
    }


@BOTH
@pytest.mark.parametrize(
    "case", ["another name", "another address", "expired", "not valid yet", "a stranger's"]
)
def test_certificates_that_are_not_accepted(make_relay, make_authority, authority, implicit, case):
    """No token is sent, the verdict is UNKNOWN, and the detail says what is wrong and what to do."""
    context, words, remedy = certificates(authority, make_authority())[case]
    relay = make_relay(implicit, context)
    attempt = verify(relay)
    assert attempt.verdict is Verdict.UNKNOWN
    assert words in attempt.detail
    assert remedy in attempt.detail
    assert relay.auths == []


def test_the_store_is_read_anew(make_relay, make_authority, authority, monkeypatch):
    """An authority that was added to SSL_CERT_FILE counts at once, for a verifier that is in use."""
    relay = make_relay(True)
    verifier = SmtpVerifier(relay.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(make_authority().file))
    assert verifier.verify(TOKEN, key="k").verdict is Verdict.UNKNOWN
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert verifier.verify(TOKEN, key="k").verdict is Verdict.PASSED


# --- relays that misbehave ------------------------------------------------------------------------


@STAGES
@pytest.mark.parametrize("say", [close, reset], ids=["closed", "reset"])
def test_gone_at_each_stage(make_relay, implicit, stage, say):
    """A connection that ends in place of any answer is UNKNOWN, at once."""
    relay = make_relay(implicit, **{stage: say})
    began = time.monotonic()
    attempt = verify(relay, seconds=8)
    assert time.monotonic() - began < 4
    assert attempt.verdict is Verdict.UNKNOWN
    assert "could not be asked" in attempt.detail
    assert len(relay.auths) == (stage == "auth")


@STAGES
@pytest.mark.parametrize(
    "say", [silence, drip(b"2"), drip(b"250-x\r\n", 0.05)], ids=["silent", "drips bytes", "drips lines"]
)
def test_slow_at_each_stage(make_relay, implicit, stage, say):
    """Silence and drops end with the attempt's own time, whatever the stage."""
    relay = make_relay(implicit, **{stage: say})
    began = time.monotonic()
    attempt = verify(relay, seconds=0.4)
    assert 0.3 < time.monotonic() - began < 2
    assert attempt.verdict is Verdict.UNKNOWN


@STAGES
@pytest.mark.parametrize(
    "say", [drip(b"2" * 4000, 0), drip(b"250-x\r\n" * 500, 0)], ids=["one endless line", "endless lines"]
)
def test_floods_at_each_stage(make_relay, implicit, stage, say):
    """An endless answer ends at the bound on its size, long before the time is over."""
    relay = make_relay(implicit, **{stage: say})
    began = time.monotonic()
    attempt = verify(relay, seconds=5)
    assert time.monotonic() - began < 2
    assert attempt.verdict is Verdict.UNKNOWN
    assert (
        f"more than {MAX_LINE} bytes" in attempt.detail or f"longer than {MAX_ANSWER} bytes" in attempt.detail
    )


@pytest.mark.parametrize(("length", "fits"), [(MAX_LINE, True), (MAX_LINE + 1, False)])
def test_the_longest_line(make_relay, length, fits):
    """A line of exactly the bound is read, one byte more is not."""
    relay = make_relay(greeting=(b"220 " + b"x" * (length - 6) + b"\r\n"))
    assert (verify(relay).verdict is Verdict.PASSED) is fits


@pytest.mark.parametrize(("surplus", "fits"), [(0, True), (1, False)])
def test_the_longest_answer(make_relay, surplus, fits):
    """An answer of exactly the bound is read, one byte more is not."""
    line = b"250-" + b"x" * 1018 + b"\r\n"
    last = b"250 AUTH PLAIN" + b" " * (1024 - 16 + surplus) + b"\r\n"
    answer = line * (MAX_ANSWER // 1024 - 1) + last
    assert len(answer) == MAX_ANSWER + surplus
    relay = make_relay(secure=answer)
    assert (verify(relay).verdict is Verdict.PASSED) is fits


@STAGES
@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x01\x02\x00\n",
        b"\r\n",
        b"22 short\r\n",
        b"2200 long\r\n",
        b"199 low\r\n",
        b"600 high\r\n",
        b"220_ready\r\n",
        b"220-one\r\n250 two\r\n",
        b"\xef\xbc\x92\xef\xbc\x92\xef\xbc\x90 wide digits\r\n",
    ],
)
def test_what_is_no_smtp(make_relay, implicit, stage, said):
    """Anything but a reply of RFC 5321 ends the attempt as UNKNOWN."""
    relay = make_relay(implicit, **{stage: said})
    attempt = verify(relay)
    assert attempt.verdict is Verdict.UNKNOWN
    assert "what it says is not SMTP" in attempt.detail


def test_replies_without_text(make_relay):
    """A reply may be a code alone, and lines may end in a line feed alone."""
    relay = make_relay(False, greeting=b"220\n", starttls=b"220\r\n", auth=b"235\r\n")
    assert verify(relay).verdict is Verdict.PASSED


def test_a_port_for_starttls_spoken_to_in_tls(make_relay):
    """A port of the other kind is named as such, with the URL to write."""
    relay = make_relay(False)
    address = relay.url.partition("//")[2]
    attempt = verify(f"smtps://{address}")
    assert attempt.verdict is Verdict.UNKNOWN
    assert f"write smtp://{address}" in attempt.detail


def test_a_port_for_tls_spoken_to_in_the_clear(make_relay):
    """The same the other way round, where such a port waits in silence."""
    relay = make_relay(True)
    address = relay.url.partition("//")[2]
    attempt = verify(f"smtp://{address}", seconds=0.5)
    assert attempt.verdict is Verdict.UNKNOWN
    assert f"write smtps://{address}" in attempt.detail


@BOTH
def test_nobody_listens(make_relay, implicit):
    """A refused connection is UNKNOWN, in the operating system's words."""
    relay = make_relay(implicit)
    relay.close()
    attempt = verify(relay)
    assert attempt.verdict is Verdict.UNKNOWN
    assert "connection refused" in attempt.detail


def test_a_full_queue(make_relay):
    """A host that does not even accept ends within the time for one address."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        try:
            for _ in range(3):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
                waiting.append(one)
            began = time.monotonic()
            url = f"smtps://127.0.0.1:{listener.getsockname()[1]}"
            attempt = SmtpVerifier(url, seconds=5, connect_seconds=0.3).verify(TOKEN, key="k")
        finally:
            for one in waiting:
                one.close()
    assert time.monotonic() - began < 2
    assert attempt.verdict is Verdict.UNKNOWN
    assert "no answer in time" in attempt.detail


@pytest.mark.parametrize("host", [NO_HOST, "a" * 64 + ".b", "[fe80::1%nowhere]"])
def test_names_that_cannot_be_looked_up(host):
    """A name or address that cannot exist is UNKNOWN; none of these asks a name server."""
    attempt = verify(f"smtps://{host}:465")
    assert attempt.verdict is Verdict.UNKNOWN
    assert "cannot be looked up" in attempt.detail


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "lm_a b", "lm_a\nb", "lm_a\0b", "lm_ä", "lm_\udcff"])
def test_tokens_that_cannot_be_sent(make_relay, value):
    """Nobody is called with a token that could not be one, and the detail does not repeat it."""
    relay = make_relay()
    attempt = SmtpVerifier(relay.url).verify(Secret(value), key="k")
    assert attempt.verdict is Verdict.FAILED
    assert "lm_" not in attempt.detail
    assert relay.connections == 0


@pytest.mark.parametrize(
    "url", ["", "relay:465", "https://relay:465", "smtps://", "smtps://relay:x", "smtp://[::1"]
)
def test_urls_that_name_no_relay(url):
    """Any other kind of URL is refused when the verifier is made, with the two kinds there are."""
    with pytest.raises(InvalidInput, match=r"smtps://host:465.*smtp://host:587"):
        SmtpVerifier(url)


@pytest.mark.parametrize(("scheme", "port"), [("smtps", 465), ("smtp", 587)])
def test_ports_that_go_without_saying(scheme, port):
    """Each kind of TLS has its port."""
    assert f"{NO_HOST}:{port}" in SmtpVerifier(f"{scheme}://{NO_HOST}").verify(TOKEN, key="k").detail


# --- nothing secret -------------------------------------------------------------------------------

SAYINGS = {
    "accepts": b"235 ok\r\n",
    "echoes a refusal": echo(535),
    "echoes a temporary refusal": echo(454),
    "echoes a complaint": echo(504),
    "echoes a question": echo(334),
    "echoes nonsense": lambda line: line.say(line.heard),
    "is gone": close,
    "resets": reset,
    "is silent": silence,
    "floods": lambda line: drip(line.heard.strip(), 0)(line),
}


@BOTH
@pytest.mark.parametrize("saying", SAYINGS)
def test_nothing_of_the_token_is_written_down(make_relay, caplog, capfd, implicit, saying):
    """Neither the token nor the AUTH string is in a detail, a log record at DEBUG, or on a standard stream."""
    caplog.set_level(logging.DEBUG)
    relay = make_relay(implicit, auth=SAYINGS[saying])
    attempt = verify(relay, seconds=0.6)
    assert relay.auths == [(True, AUTH_PLAIN)]
    out, err = capfd.readouterr()
    places = {"detail": repr(attempt), "logs": caplog.text, "stdout": out, "stderr": err}
    secrets = [TOKEN.reveal(), AUTH_PLAIN.split()[2].decode()]
    assert leaks(secrets, {name: text.encode() for name, text in places.items()}) == []
    assert leaks(secrets, {"the search finds it": AUTH_PLAIN}) != []


def test_nothing_of_the_token_is_in_an_exception(make_relay):
    """What ends a conversation at AUTH carries no plaintext, not in its text, causes or local variables."""
    relay = make_relay(True)
    talk = Talk("127.0.0.1", int(relay.url.rpartition(":")[2]), seconds=2, connect_seconds=2)
    talk.encrypt()
    talk.reply()
    talk._socket.close()
    with pytest.raises(TalkEnded) as caught:
        talk.authenticate("lettermint", TOKEN)
    shown = [repr(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__)]
    step = caught.value.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename != __file__:
            shown.append(repr(step.tb_frame.f_locals))
        step = step.tb_next
    assert len(shown) > 3
    assert leaks([TOKEN.reveal()], {"exception": "\n".join(shown).encode()}) == []
