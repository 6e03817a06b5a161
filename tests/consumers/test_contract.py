"""What every kind of consumer does, whatever it is."""

from __future__ import annotations

import threading

import pytest

from rotator.consumers.base import Consumer, Standing
from rotator.errors import Unreachable
from tests.consumers.conftest import CALL, LATER, Case

LOOKS = 12
"""More than any rollout of the stand-ins takes; they move on each look."""


def settled(consumer: Consumer, mark: str) -> Standing:
    for _ in range(LOOKS):
        standing = consumer.standing(CALL, mark)
        if standing.done:
            break
    return standing


def test_it_is_told_and_comes_to_its_end(case: Case) -> None:
    """Told once it does one thing, and says so at the end, in words."""
    mark = case.consumer.mark()
    case.consumer.tell(CALL)
    standing = settled(case.consumer, mark)
    assert (standing.done, standing.stuck) == (True, False)
    assert standing.detail
    assert case.heard() == [CALL.id]


def test_a_preflight_disturbs_nobody(case: Case) -> None:
    """Nothing is heard of it, however often; and what comes after it works."""
    for _ in range(3):
        case.consumer.preflight()
    assert case.heard() == []
    mark = case.consumer.mark()
    case.consumer.tell(CALL)
    settled(case.consumer, mark)
    assert case.heard() == [CALL.id]


def test_what_was_told_is_not_told_again(case: Case) -> None:
    """The same call has one effect, also after it came to its end; another call has another."""
    mark = case.consumer.mark()
    for _ in range(2):
        case.consumer.tell(CALL)
        assert settled(case.consumer, mark).done
    assert case.heard() == [CALL.id]
    case.consumer.tell(LATER)
    for _ in range(LOOKS):
        case.consumer.standing(LATER, mark)
    assert case.heard() == [CALL.id, LATER.id]


def test_an_answer_that_was_lost(case: Case) -> None:
    """Trying again may help, says the error; told again it has had its one effect."""
    mark = case.consumer.mark()
    case.lose_answer()
    with pytest.raises(Unreachable):
        case.consumer.tell(CALL)
    case.consumer.tell(CALL)
    assert settled(case.consumer, mark).done
    assert case.heard() == [CALL.id]


def test_several_tell_at_once(case: Case) -> None:
    """From several threads the same call has one effect."""
    mark = case.consumer.mark()
    failed: list[BaseException] = []

    def tell() -> None:
        try:
            case.consumer.tell(CALL)
        except BaseException as error:  # noqa: BLE001  # asserted below
            failed.append(error)

    threads = [threading.Thread(target=tell) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert settled(case.consumer, mark).done
    assert case.heard() == [CALL.id]


def test_who_is_away_may_be_tried_again(case: Case) -> None:
    """Nobody listens: every call over the network says that it is safe to try again."""
    case.go_away()
    with pytest.raises(Unreachable) as caught:
        case.consumer.tell(CALL)
    assert caught.value.remedy
    assert case.heard() == []


def test_it_names_itself(case: Case) -> None:
    """For people, and without an address that is a secret."""
    assert case.consumer.describe() in (
        "Deployment shop/mailer",
        "StatefulSet shop/mailer",
        "DaemonSet shop/mailer",
        "ExternalSecret shop/mailer",
        "webhook at 127.0.0.1",
    )
