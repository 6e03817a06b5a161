"""The ping verifier, and its proof that ping can tell tokens apart."""

from __future__ import annotations

import threading

import pytest

from rotator.errors import RateLimited, Unreachable
from rotator.provider.base import PingAnswer
from rotator.secret import Secret
from rotator.verifiers.base import Verdict
from rotator.verifiers.ping import PingVerifier

TOKEN = Secret("lm_" + "A" * 32)


class PingOnly:
    """A provider that answers pings: one answer for the token, one after another for invented ones."""

    def __init__(self, answer=PingAnswer.ALIVE, *control) -> None:
        self.answer = answer
        self.control = list(control) or [PingAnswer.DEAD]
        self.invented: list[Secret] = []
        self._lock = threading.Lock()

    def ping(self, token: Secret) -> PingAnswer:
        if token == TOKEN:
            answer = self.answer
        else:
            with self._lock:
                self.invented.append(token)
                answer = self.control.pop(0) if len(self.control) > 1 else self.control[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (PingAnswer.ALIVE, Verdict.PASSED, "accepted"),
        (PingAnswer.DEAD, Verdict.NOT_YET, "401"),
        (PingAnswer.FORBIDDEN, Verdict.FAILED, "IP restriction"),
        (Unreachable("No road"), Verdict.UNKNOWN, "No road"),
        (RateLimited("Too fast", retry_after=5), Verdict.UNKNOWN, "Too fast"),
    ],
)
def test_verdicts(answer, verdict, words):
    """Each answer has its verdict, and a project is never claimed."""
    attempt = PingVerifier(PingOnly(answer)).verify(TOKEN, key="k")
    assert attempt.verdict is verdict
    assert words in attempt.detail
    assert attempt.project is None


def test_control_runs_once():
    """An invented, well-formed token is tried once per verifier."""
    provider = PingOnly()
    verifier = PingVerifier(provider)
    for _ in range(3):
        assert verifier.verify(TOKEN, key="k").verdict is Verdict.PASSED
    (invented,) = provider.invented
    assert invented.is_project_token
    assert len(invented.reveal()) == 35


def test_invented_tokens_differ():
    """No invented token is used twice, so nobody can register it."""
    providers = PingOnly(), PingOnly()
    for provider in providers:
        PingVerifier(provider).verify(TOKEN, key="k")
    assert providers[0].invented != providers[1].invented


def test_ping_that_accepts_everything():
    """When ping accepts an invented token it proves nothing, and the verdict says so."""
    attempt = PingVerifier(PingOnly(PingAnswer.ALIVE, PingAnswer.ALIVE)).verify(TOKEN, key="k")
    assert attempt.verdict is Verdict.FAILED
    assert "proves nothing" in attempt.detail


def test_control_is_refused_another_way():
    """A 403 to the invented token is no proof either way."""
    attempt = PingVerifier(PingOnly(PingAnswer.ALIVE, PingAnswer.FORBIDDEN)).verify(TOKEN, key="k")
    assert attempt.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("first", [Unreachable("No road"), PingAnswer.ALIVE, PingAnswer.FORBIDDEN])
def test_control_is_tried_again(first):
    """Only a control that held is remembered."""
    provider = PingOnly(PingAnswer.ALIVE, first, PingAnswer.DEAD)
    verifier = PingVerifier(provider)
    assert verifier.verify(TOKEN, key="k").verdict is not Verdict.PASSED
    assert verifier.verify(TOKEN, key="k").verdict is Verdict.PASSED
    assert verifier.verify(TOKEN, key="k").verdict is Verdict.PASSED
    assert len(provider.invented) == 2


def test_dead_token_needs_no_control():
    """A refusal counts without the control: it shows by itself that ping looks at tokens."""
    provider = PingOnly(PingAnswer.DEAD)
    PingVerifier(provider).verify(TOKEN, key="k")
    assert provider.invented == []


def test_threads_share_the_control():
    """Several threads at once run one control."""
    provider = PingOnly()
    verifier = PingVerifier(provider)
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(verifier.verify(TOKEN, key="k").verdict)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [Verdict.PASSED] * 8
    assert len(provider.invented) == 1
