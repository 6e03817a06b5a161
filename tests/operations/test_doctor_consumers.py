"""What `doctor` says of consumers, and that none of them notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from rotator.consumers.base import Call, Standing
from rotator.errors import CredentialRejected, InvalidInput, RateLimited, Refused, RotatorError, Unreachable
from rotator.model import DestinationSpec, Policy, Strategy
from rotator.operations.doctor.consumers import examine_consumers
from rotator.operations.doctor.parts import Parts
from rotator.operations.doctor.report import Check, Findings, Result

ENTRIES: tuple[Mapping[str, Any], ...] = (
    {"type": "external-secret", "namespace": "shop", "name": "mailer"},
    {"type": "webhook", "url": "https://mailer.example.com/reload"},
)


@dataclass
class Asked:
    """A consumer whose preflight gives what it is told to give, and that must not be told anything."""

    name: str
    problem: RotatorError | None = None
    asked: list[str] = field(default_factory=list)

    def preflight(self) -> None:
        self.asked.append("preflight")
        if self.problem is not None:
            raise self.problem

    def describe(self) -> str:
        return self.name

    def mark(self) -> str:
        raise AssertionError

    def tell(self, call: Call) -> None:
        raise AssertionError

    def standing(self, call: Call, mark: str) -> Standing:
        raise AssertionError


@dataclass(frozen=True)
class OnlyConsumers:
    consumer: Callable[[Mapping[str, Any]], Asked]


def examined(consumer: Callable[[Mapping[str, Any]], Asked]) -> list[Check]:
    policy = Policy(
        "billing", "p", Strategy.IN_PLACE, (DestinationSpec("file", "file:/x"),), consumers=ENTRIES
    )
    found = Findings("billing")
    examine_consumers(policy, cast("Parts", OnlyConsumers(consumer)), found)
    return found.checks


def test_each_is_tried_in_its_order() -> None:
    """One check each, with its name, and nothing but the preflight is asked of it."""
    made = [Asked("ExternalSecret shop/mailer"), Asked("webhook at mailer.example.com")]
    waiting = list(made)
    checks = examined(lambda _: waiting.pop(0))
    assert [(check.name, check.result, check.subject) for check in checks] == [
        ("consumer", Result.OK, "ExternalSecret shop/mailer"),
        ("consumer", Result.OK, "webhook at mailer.example.com"),
    ]
    assert all(one.asked == ["preflight"] for one in made)


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (CredentialRejected("Kubernetes does not allow it (403)", remedy="Give it a Role"), 2),
        (InvalidInput("No Kubernetes cluster can be asked", remedy="Name it"), 2),
        (Refused("There is no Deployment shop/mailer (404)", remedy="Make it"), 1),
        (Unreachable("Kubernetes gave no answer", then="It is safe to repeat"), 6),
        (RateLimited("too many requests", retry_after=1.0, then="It is safe to repeat"), 6),
    ],
)
def test_one_that_fails_has_a_hint_and_stops_no_other(problem: RotatorError, code: int) -> None:
    """What is wrong, what to do, and the exit code of its kind; the next one is tried all the same."""
    waiting = [Asked("first", problem), Asked("second")]
    failed, well = examined(lambda _: waiting.pop(0))
    assert (failed.result, failed.code, failed.subject) == (Result.FAILED, code, "first")
    assert failed.hint
    assert well.result is Result.OK


def test_one_that_cannot_be_made_is_a_finding() -> None:
    """Its type stands for a name that nobody knows."""

    def make(entry: Mapping[str, Any]) -> Asked:
        raise InvalidInput(f"{entry['type']} needs a package", remedy="Install it")

    assert [(check.subject, check.code) for check in examined(make)] == [
        ("external-secret", 2),
        ("webhook", 2),
    ]
