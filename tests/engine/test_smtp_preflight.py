"""Preflight where a policy verifies by SMTP: the project's switch, and the verifier itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rotator.model import State, Trigger
from tests.engine.bench import Bench
from tests.simulator.support import Api

SMTP = [{"type": "ping"}, {"type": "smtp"}]


@pytest.fixture
def smtp_bench(make_bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Verifies by ping and SMTP at the simulator's relay; SMTP is switched off at the project."""
    made = make_bench(verify=SMTP)
    made.simulator.open_relay(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.simulator.ca_file))
    made.settings = replace(made.settings, smtp_url=made.simulator.smtps_url)
    made.new_process()
    return made


def switch(bench: Bench, *, on: bool) -> None:
    team = Api(bench.simulator, bench.simulator.add_team_token())
    assert team("PUT", f"/projects/{bench.project}", {"smtp_enabled": on}).status == 200


def log_ins(bench: Bench) -> list[int | None]:
    return [event.answered for event in bench.simulator.events if event.call == "smtp-auth"]


def test_smtp_switched_off_is_refused(smtp_bench: Bench) -> None:
    """Nothing is changed, nothing is logged in, and the remedy names the switch, its call and the policy's key."""
    before = smtp_bench.secret_file.read_bytes()
    rotation = smtp_bench.rotate()
    assert (rotation.state, rotation.exit_code) == (State.REFUSED, 1)
    said = rotation.message
    for words in (
        f"SMTP is switched off for project {smtp_bench.project}",
        "Nothing was changed",
        "dashboard",
        f"PUT /projects/{smtp_bench.project}",
        '{"smtp_enabled": true}',
        "take `smtp` out of `verify`",
    ):
        assert words in said
    assert smtp_bench.rotate_calls == 0
    assert smtp_bench.secret_file.read_bytes() == before
    assert list(smtp_bench.folder.glob("billing.json?*")) == []
    assert log_ins(smtp_bench) == []
    smtp_bench.assert_audit_holds()


def test_the_remedy_works(smtp_bench: Bench) -> None:
    """Once it is switched on, the same rotation goes through, one log-in before the mint and one after."""
    smtp_bench.rotate()
    switch(smtp_bench, on=True)
    rotation = smtp_bench.rotate()
    assert rotation.state is State.COMPLETED
    assert [(one.type, one.ok) for one in rotation.verified] == [("ping", True), ("smtp", True)]
    assert log_ins(smtp_bench) == [235, 235]
    smtp_bench.assert_served()


def test_the_relay_hears_of_a_token_late(smtp_bench: Bench) -> None:
    """A relay that lags behind the API is asked again until it knows the new token."""
    switch(smtp_bench, on=True)
    smtp_bench.simulator.faults.add("rotate", "relay-lag", seconds=20)
    rotation = smtp_bench.rotate()
    assert rotation.state is State.COMPLETED
    answers = log_ins(smtp_bench)
    assert set(answers[1:-1]) == {535}
    assert answers[0] == answers[-1] == 235
    assert rotation.verified[1].attempts == len(answers) - 1


def test_a_first_issue_needs_the_switch_too(make_bench: Callable[..., Bench]) -> None:
    """Where no token is stored yet, nothing but the switch can tell beforehand that SMTP would fail."""
    bench = make_bench(verify=SMTP, stored=False)
    rotation = bench.rotate()
    assert rotation.state is State.REFUSED
    assert "SMTP is switched off" in rotation.message
    assert bench.rotate_calls == 0


def test_other_verifiers_do_not_care(bench: Bench) -> None:
    """A policy without an smtp verifier rotates a project without SMTP."""
    assert bench.rotate().state is State.COMPLETED


def test_an_emergency_only_warns(smtp_bench: Bench) -> None:
    """The leaked token dies all the same; what did not work beforehand is said."""
    rotation = smtp_bench.rotate(Trigger.EMERGENCY)
    assert smtp_bench.mints == 1
    assert not smtp_bench.simulator.is_alive(smtp_bench.first)
    assert f"SMTP is switched off for project {smtp_bench.project}." in rotation.message
    smtp_bench.assert_served()


def test_a_relay_that_cannot_be_reached(smtp_bench: Bench, tmp_path: Path, monkeypatch) -> None:
    """A certificate that is not trusted stops the rotation before anything is changed; safe to repeat."""
    switch(smtp_bench, on=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    rotation = smtp_bench.rotate()
    assert (rotation.state, rotation.exit_code) == (State.FAILED, 6)
    assert "SSL_CERT_FILE" in rotation.message
    assert smtp_bench.rotate_calls == 0
    assert log_ins(smtp_bench) == []
