"""`rotator doctor` on a site, and what it must say about one thing that is wrong."""

from __future__ import annotations

import ctypes
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rotator.clock import SystemClock
from tests.acceptance.site import Site
from tests.crash.harness import Ended

WELL = ("ok", "unknown")
"""Results that leave the exit code at 0 and ask nothing of a person."""


@dataclass(frozen=True)
class Examined:
    """One report."""

    ended: Ended
    report: dict[str, Any]

    @property
    def code(self) -> int:
        return self.ended.code

    @property
    def checks(self) -> list[dict[str, Any]]:
        return list(self.report["checks"])

    def of(self, name: str, subject: str = "") -> list[dict[str, Any]]:
        """The checks of a name, about things whose name holds `subject`."""
        return [one for one in self.checks if one["check"] == name and subject in one["subject"]]

    def results(self, name: str, subject: str = "") -> list[str]:
        return [one["result"] for one in self.of(name, subject)]

    @property
    def failed(self) -> set[str]:
        return {one["check"] for one in self.checks if one["result"] == "failed"}

    @property
    def warned(self) -> set[str]:
        return {one["check"] for one in self.checks if one["result"] == "warning"}


def examine(site: Site, *names: str, prepare: Mapping[str, Any] | None = None) -> Examined:
    ended = site.run("doctor", *names, "-o", "json", prepare=prepare)
    assert "Traceback" not in ended.errors, ended.errors
    assert ended.output, ended.errors
    report = json.loads(ended.output)
    assert report["ok"] is (ended.code == 0)
    for one in report["checks"]:
        assert one["detail"], one
        assert bool(one["hint"]) == (one["result"] != "ok"), one
    return Examined(ended, report)


def assert_found(
    seen: Examined,
    check: str,
    *,
    code: int,
    detail: tuple[str, ...] = (),
    hint: tuple[str, ...],
    subject: str = "",
    only: bool = True,
) -> None:
    """Asserts that the check failed (with code 0: warned), in these words, and with `only` no other one did."""
    wanted = "failed" if code else "warning"
    found = [one for one in seen.of(check, subject) if one["result"] == wanted]
    assert found, [one for one in seen.checks if one["result"] not in WELL]
    for part, words in (("detail", detail), ("hint", hint)):
        text = " ".join(one[part] for one in found)
        for word in words:
            assert word in text, text
    if code:
        assert seen.code == code, seen.failed
    if only:
        assert (seen.failed if code else seen.warned) == {check}
        assert code or not seen.failed


# called in a child before its command


def wrong_clock(seconds: float) -> None:
    """The clock of this machine is wrong by so much."""
    right = SystemClock.now
    SystemClock.now = lambda self: right(self) + timedelta(seconds=seconds)  # type: ignore[method-assign]  # in a child of its own


def without_privilege() -> None:
    """File modes hold for this process even if it is root's (capabilities(7), capset(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    assert libc.capget(header, data) == 0
    sets = list(struct.unpack("6I", data.raw))
    override_and_search = 1 << 1 | 1 << 2
    for kind in (0, 1):  # effective and permitted
        sets[kind] &= ~override_and_search
    assert libc.capset(header, struct.pack("6I", *sets)) == 0
