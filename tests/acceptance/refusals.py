"""What a refusal must leave behind (nothing), and what it must say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.acceptance.site import Entry, Site
from tests.crash.harness import Ended


@dataclass
class Expected:
    """The exit code, and words of what happened, what happens next, and what the reader may do."""

    code: int
    happened: tuple[str, ...]
    then: str = "Nothing was"
    remedy: str = ""


@contextmanager
def unchanged(entry: Entry) -> Iterator[None]:
    """Whatever runs inside calls no rotate-token and leaves the secret as it was, byte for byte."""
    content, alive = entry.store.content(), entry.simulator.is_alive(entry.first)
    yield
    assert entry.store.content() == content
    assert entry.rotate_calls == 0
    assert entry.simulator.is_alive(entry.first) == alive


def assert_says(ended: Ended, expected: Expected) -> None:
    """The exit code, and each part of the message on standard error, in this order."""
    assert ended.code == expected.code, ended.errors
    place = 0
    for words in (*expected.happened, expected.then, expected.remedy):
        place = ended.errors.find(words, place)
        assert place >= 0, f"{words!r} is not said where it belongs:\n{ended.errors}"
    assert "Traceback" not in ended.errors


def refused(site: Site, entry: Entry, expected: Expected, *argv: str) -> Ended:
    """Runs `rotator rotate` (or `argv`), which must refuse as expected and change nothing."""
    with unchanged(entry):
        ended = site.run(*(argv or ("rotate", entry.name, "--yes", "-o", "json")))
    assert_says(ended, expected)
    return ended
