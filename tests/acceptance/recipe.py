"""The code that policies/README.md gives to consumers, taken out of it, and programs that send with it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tests.crash.harness import ROOT

README = ROOT / "policies" / "README.md"
BLOCK = re.compile(r"<!-- recipe: ([\w-]+) -->\n```python\n(.*?)```\n", re.DOTALL)
PACE = 0.1
"""Seconds between two sends of one consumer."""


def blocks() -> dict[str, str]:
    """The blocks of code by their names, in the order of the document."""
    return dict(BLOCK.findall(README.read_text(encoding="utf-8")))


@contextmanager
def loaded(api: str) -> Iterator[ModuleType]:
    """All blocks but the examples of use as one module, whose sends go to `api`."""
    recipe: Any = ModuleType("recipe")
    for name, code in blocks().items():
        if not name.endswith("-use"):
            exec(compile(code, f"{README.name}: {name}", "exec"), recipe.__dict__)
    recipe.API = api
    try:
        yield recipe
    finally:
        recipe.HTTP.close()


def message(number: int) -> dict[str, Any]:
    return {
        "from": "billing@example.com",
        "to": ["ok@testing.lettermint.co"],
        "subject": f"Invoice {number}",
        "text": "Thank you for your order.",
    }


class Consumer:
    """Sends one message after the other in a thread, each under a key of its own.

    With a `patience` of 0 a refusal is final: the recipe without its repetition.
    """

    def __init__(self, recipe: Any, name: str, tokens: Any, **options: float) -> None:
        self.name, self.tokens, self.options = name, tokens, options
        self.sent: list[str] = []
        """Keys of what was sent, as its caller sees it."""
        self.failures: list[Exception] = []
        self._recipe = recipe
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def _run(self) -> None:
        while not self._stop.wait(PACE):
            key = f"{self.name}-{self.attempts}"
            try:
                self._recipe.send(self.tokens, message(self.attempts), idempotency_key=key, **self.options)
            except Exception as error:  # noqa: BLE001  # whatever a caller would see is a failure
                self.failures.append(error)
            else:
                self.sent.append(key)

    @property
    def attempts(self) -> int:
        return len(self.sent) + len(self.failures)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def sending(consumers: Sequence[Consumer], at_least: int = 4) -> Iterator[None]:
    """All send while the block runs, and each attempts `at_least` before it and after it."""
    for consumer in consumers:
        consumer.start()
    try:
        attempt_more(consumers, at_least)
        yield
        attempt_more(consumers, at_least)
    finally:
        for consumer in consumers:
            consumer.stop()


def attempt_more(consumers: Sequence[Consumer], number: int) -> None:
    wanted = [(consumer, consumer.attempts + number) for consumer in consumers]
    give_up_at = time.monotonic() + 40
    while any(consumer.attempts < count for consumer, count in wanted):
        assert time.monotonic() < give_up_at, "they do not send any more"
        time.sleep(PACE / 10)
