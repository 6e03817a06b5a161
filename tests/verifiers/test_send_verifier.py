"""The send verifier: one message, one verdict, and whose token it was."""

from __future__ import annotations

import pytest

from rotator.errors import InvalidInput, RateLimited, Unreachable
from rotator.model import VerifySpec
from rotator.provider.base import SendAnswer, SendConflict, SendReceipt, SendRejected
from rotator.secret import Secret
from rotator.verifiers.base import Verdict
from rotator.verifiers.send import SendVerifier

TOKEN = Secret("lm_" + "A" * 32)
SPEC = VerifySpec("send", sender="rotation@example.com")
ACCEPTED = SendReceipt(SendAnswer.ACCEPTED, "m-1")


class SendOnly:
    """A provider that takes one kind of send, and knows projects of messages one look after another."""

    def __init__(self, answer, *projects) -> None:
        self.answer = answer
        self.projects = list(projects) or [None]
        self.sent = []
        self.looked = []

    def send(self, token, message, idempotency_key):
        self.sent.append((token, message, idempotency_key))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def project_of_message(self, message_id):
        self.looked.append(message_id)
        found = self.projects.pop(0) if len(self.projects) > 1 else self.projects[0]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (ACCEPTED, Verdict.PASSED, "202"),
        (SendReceipt(SendAnswer.DEAD), Verdict.NOT_YET, "401"),
        (SendReceipt(SendAnswer.FORBIDDEN), Verdict.FAILED, "IP restriction"),
        (SendRejected("Not taken: domain not verified"), Verdict.FAILED, "domain not verified"),
        (SendConflict("Still at it"), Verdict.UNKNOWN, "Still at it"),
        (Unreachable("No road"), Verdict.UNKNOWN, "No road"),
        (RateLimited("Too fast", retry_after=5), Verdict.UNKNOWN, "Too fast"),
    ],
)
def test_verdicts(clock, answer, verdict, words):
    """Each answer has its verdict, with the reason in its detail."""
    attempt = SendVerifier(SendOnly(answer, "p"), SPEC, clock).verify(TOKEN, key="k")
    assert attempt.verdict is verdict
    assert words in attempt.detail
    assert attempt.project == ("p" if verdict is Verdict.PASSED else None)


def test_what_is_sent(clock):
    """The message goes from the policy's sender to the test address, under the caller's key."""
    provider = SendOnly(ACCEPTED, "p")
    SendVerifier(provider, SPEC, clock).verify(TOKEN, key="rotation-1-verify")
    ((token, message, key),) = provider.sent
    assert token is TOKEN
    assert (message.sender, message.to) == ("rotation@example.com", "ok@testing.lettermint.co")
    assert key == "rotation-1-verify"


def test_recipient_of_the_policy(clock):
    """A recipient in the policy is used instead of the default."""
    provider = SendOnly(ACCEPTED, "p")
    spec = VerifySpec("send", sender="a@example.com", to="b@example.com")
    SendVerifier(provider, spec, clock).verify(TOKEN, key="k")
    assert provider.sent[0][1].to == "b@example.com"


def test_same_message_every_time(clock):
    """Another attempt, later and by another process, sends the very same message."""
    provider = SendOnly(ACCEPTED, "p")
    SendVerifier(provider, SPEC, clock).verify(TOKEN, key="k")
    clock.advance(90_000)
    SendVerifier(provider, SPEC, clock).verify(TOKEN, key="k")
    assert provider.sent[0] == provider.sent[1]


def test_no_sender(clock):
    """A send verification without a sender is refused when it is made."""
    with pytest.raises(InvalidInput, match="from"):
        SendVerifier(SendOnly(ACCEPTED), VerifySpec("send"), clock)


@pytest.mark.parametrize(
    ("projects", "found", "looks"),
    [(["p"], "p", 1), ([None, "p"], "p", 2), ([None, None, "p"], "p", 3), ([None, None, None, "p"], None, 3)],
)
def test_identity_is_looked_for(clock, projects, found, looks):
    """The message is looked for three times, a second apart, and an identity that cannot be had does
    not spoil the verdict."""
    provider = SendOnly(ACCEPTED, *projects)
    attempt = SendVerifier(provider, SPEC, clock).verify(TOKEN, key="k")
    assert (attempt.verdict, attempt.project) == (Verdict.PASSED, found)
    assert provider.looked == ["m-1"] * looks
    assert clock.waits == [1.0] * (looks - 1)


@pytest.mark.parametrize("error", [Unreachable("No road"), RateLimited("Too fast", retry_after=5)])
def test_identity_is_no_condition(clock, error):
    """A failure to look for the identity is no failure of the token."""
    provider = SendOnly(ACCEPTED, error)
    attempt = SendVerifier(provider, SPEC, clock).verify(TOKEN, key="k")
    assert (attempt.verdict, attempt.project) == (Verdict.PASSED, None)
    assert len(provider.looked) == 1
    assert attempt.unasked == error.happened


def test_no_message_id(clock):
    """An accepted message without an id is accepted, and nothing is looked for."""
    provider = SendOnly(SendReceipt(SendAnswer.ACCEPTED, None), "p")
    attempt = SendVerifier(provider, SPEC, clock).verify(TOKEN, key="k")
    assert (attempt.verdict, attempt.project, provider.looked) == (Verdict.PASSED, None, [])
