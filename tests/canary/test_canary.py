"""A canary counts what a consumer would have felt, and its troubles stay its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from rotator.canary import CACHE, FASTEST, SLOWEST, Canary, message_of, parse_rate
from rotator.destinations.base import Content, Reading
from rotator.errors import InvalidInput, RateLimited, Unreachable
from rotator.model import CanaryCount, DestinationSpec, Policy, Strategy, VerifySpec
from rotator.provider.base import SendAnswer, SendReceipt, SendRejected, TestMessage
from rotator.secret import Secret
from tests.conftest import FakeClock

FIRST = Secret("lm_" + "A" * 32)
SECOND = Secret("lm_" + "B" * 32)
MESSAGE = TestMessage("rotation@example.com", "ok@testing.lettermint.co", "Canary", "Text")


class FlightClock(FakeClock):
    """Its time moves by the canary's waits only, and after so many of them the canary lands."""

    def __init__(self, attempts: int) -> None:
        super().__init__()
        self._left = attempts

    def wait(self, seconds: float, stop: threading.Event | None = None) -> bool:
        super().wait(seconds)
        self._left -= 1
        if self._left <= 0:
            assert stop is not None
            stop.set()
        return False


@dataclass
class Place:
    """A destination that serves what it is told to, and counts its readers."""

    token: Secret | None = FIRST
    reads: int = 0
    error: Exception | None = None

    def read(self) -> Reading:
        self.reads += 1
        if self.error is not None:
            raise self.error
        if self.token is None:
            return Reading(Content.MISSING, "1")
        return Reading(Content.TOKEN, "1", self.token)


@dataclass
class Post:
    """A provider that takes mail with one token. `script` is called with each attempt's number first."""

    alive: Secret = FIRST
    script: Callable[[int], object] = lambda _: None
    sent: list[tuple[Secret, str]] = field(default_factory=list)

    def send(self, token: Secret, message: TestMessage, idempotency_key: str) -> SendReceipt:
        assert message == MESSAGE
        self.sent.append((token, idempotency_key))
        self.script(len(self.sent))
        return SendReceipt(SendAnswer.ACCEPTED if token == self.alive else SendAnswer.DEAD)


def flown(place: Place, post: Post, *, attempts: int, clock: FlightClock | None = None) -> CanaryCount:
    """Ten a second; the clock ends it, and only then it is asked to land."""
    clock = clock or FlightClock(attempts)
    canary = Canary(post, place, MESSAGE, rate=10.0, clock=clock, name="billing")
    canary.start()
    canary._thread.join(10)
    count = canary.land()
    assert canary.land() == count
    return count


def test_nothing_fails_while_the_token_lives() -> None:
    """Thirty sends at ten a second: no failure, and gaps of one interval."""
    post = Post()
    assert flown(Place(), post, attempts=30) == CanaryCount(attempts=30, failures=0, longest_gap=0.1)
    assert len({key for _, key in post.sent}) == 30


def test_token_is_kept_as_a_consumer_keeps_it() -> None:
    """One read serves the sends of one second; after that the place is asked again."""
    place = Place()
    flown(place, Post(), attempts=1 + round(10 * CACHE))
    assert place.reads == 2
    flown(kept := Place(), Post(), attempts=round(10 * CACHE))
    assert kept.reads == 1


def test_refused_token_counts_once_and_is_read_again() -> None:
    """The token dies and another is served: one failure, and the next attempt uses the new one."""
    place, post = Place(), Post()

    def replaced(attempt: int) -> None:
        if attempt == 5:
            place.token = post.alive = SECOND

    post.script = replaced
    assert flown(place, post, attempts=10) == CanaryCount(attempts=10, failures=1, longest_gap=0.2)
    assert [token for token, _ in post.sent] == [FIRST] * 5 + [SECOND] * 5
    assert place.reads == 2


def test_dead_token_in_the_place_fails_until_it_is_replaced() -> None:
    """The gap goes from the last accepted send to the first that is accepted again."""
    place, post = Place(), Post()

    def dies_and_comes_back(attempt: int) -> None:
        if attempt == 4:
            post.alive = SECOND
        if attempt == 9:
            place.token = SECOND

    post.script = dies_and_comes_back
    assert flown(place, post, attempts=12) == CanaryCount(attempts=12, failures=6, longest_gap=0.7)


@pytest.mark.parametrize("attempts", [1, 7])
def test_gap_that_does_not_end_is_told(attempts: int) -> None:
    """Where no send was ever accepted, the whole flight is the gap."""
    count = flown(Place(), Post(alive=SECOND), attempts=attempts)
    assert count == CanaryCount(attempts, attempts, round(attempts / 10, 3))


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("The provider did not answer"),
        RateLimited("Too many", retry_after=3),
        SendRejected("The sender is not verified"),
        InvalidInput("The store refused us"),
        ZeroDivisionError("a defect of ours"),
    ],
)
@pytest.mark.parametrize("where", ["reading", "sending"])
def test_whatever_goes_wrong_is_a_failure_and_no_more(error: Exception, where: str) -> None:
    """Errors of the store and of the provider, and even a defect, count and end nothing."""
    place, post = Place(), Post()

    def fail(attempt: int) -> None:
        if where == "sending" and attempt == 2:
            raise error

    post.script = fail
    if where == "reading":
        place.error = error
        assert flown(place, post, attempts=3) == CanaryCount(3, 3, 0.3)
    else:
        assert flown(place, post, attempts=3) == CanaryCount(3, 1, 0.2)


def test_place_without_a_token_is_a_failure() -> None:
    """A consumer could not have sent anything."""
    post = Post()
    assert flown(Place(token=None), post, attempts=2).failures == 2
    assert post.sent == []


def test_reason_is_logged_once_for_each_spell(caplog: pytest.LogCaptureFixture) -> None:
    """Five refusals in a row are one line, without the token."""
    flown(Place(), Post(alive=SECOND), attempts=5)
    assert [record.getMessage() for record in caplog.records] == [
        "canary of billing: attempt 1 failed: the token was refused (401)"
    ]


def test_slow_answer_costs_no_later_sends() -> None:
    """The sends that a slow answer held up are left out and not made up for in a burst."""
    clock = FlightClock(4)
    post = Post(script=lambda attempt: clock.advance(0.25 if attempt == 2 else 0))
    assert flown(Place(), post, attempts=4, clock=clock).attempts == 4
    assert clock.waits == pytest.approx([0.1, 0.05, 0.1, 0.1])


@pytest.mark.parametrize(
    ("text", "rate"), [("10/s", 10.0), ("1/s", 1.0), ("0.5/s", 0.5), ("0.1/s", SLOWEST), ("50/s", FASTEST)]
)
def test_rate_is_sends_per_second(text: str, rate: float) -> None:
    """Whole numbers and fractions, both limits included."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "10/m",
        "/s",
        "0/s",
        "0.09/s",
        "0.099/s",
        "50.1/s",
        "51/s",
        "-1/s",
        "1e1/s",
        " 1/s",
        "٣/s",
        "nan/s",
    ],
)
def test_other_rates_are_refused(text: str) -> None:
    """The refusal shows what was written and what is accepted."""
    with pytest.raises(InvalidInput, match=r"accepted: 0\.1/s to 50/s, such as 10/s") as caught:
        parse_rate(text)
    assert repr(text) in str(caught.value)


def test_long_nonsense_is_cut() -> None:
    """What is shown of a rate is short, whatever it was."""
    with pytest.raises(InvalidInput) as caught:
        parse_rate("9" * 5000)
    assert len(str(caught.value)) < 250


def policy(*verify: VerifySpec) -> Policy:
    place = DestinationSpec("file", "file:/x", options={"path": "/x"})
    return Policy("billing", "p", Strategy.IN_PLACE, (place,), verify=verify)


def test_message_is_addressed_as_the_verification_is() -> None:
    """The first `send` verification says from whom and to whom; the recipient has its default."""
    found = message_of(policy(VerifySpec("ping"), VerifySpec("send", "a@example.com", "b@example.com")))
    assert found is not None
    assert (found.sender, found.to) == ("a@example.com", "b@example.com")
    default = message_of(policy(VerifySpec("send", "a@example.com")))
    assert default is not None
    assert default.to == "ok@testing.lettermint.co"


def test_without_a_sender_there_is_no_message() -> None:
    """A ping says nothing about who may send."""
    assert message_of(policy(VerifySpec("ping"))) is None
