"""What `doctor` finds: one check, one result, and for everything that is not well the thing to change.

A check fails when a rotation would not go through, or a person must act; its exit code is the one that
a rotation would end with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rotator.errors import RotatorError, combine_exit_codes, exit_code_of, sentences

UNUSABLE = 2
"""Exit code of a setting, a credential or a permission that is wrong."""
ATTENTION = 4
"""Exit code of what a person must look at."""


class Result(StrEnum):
    """How one check ended."""

    OK = "ok"
    WARNING = "warning"
    """A rotation goes through; a person should know all the same."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It rests on a check that failed, or there is nothing to check."""
    UNKNOWN = "unknown"
    """It cannot be found out by looking, or not from here."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `policy` is None for what all policies share."""

    name: str
    """What kind of check; stable, for programs."""
    result: Result
    detail: str
    hint: str = ""
    """Names the permission, setting, file or command to change; set for everything but ok."""
    policy: str | None = None
    subject: str = ""
    """The thing itself, where there may be several of a kind: a place, a verifier, a file."""
    code: int = 0
    """The exit code that it leads to alone; not 0 exactly when it failed."""

    def view(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "check": self.name,
            "subject": self.subject,
            "result": self.result.value,
            "detail": self.detail,
            "hint": self.hint,
        }


@dataclass(frozen=True)
class Identity:
    """Who we are to one store."""

    store: str
    identity: str


@dataclass(frozen=True)
class Report:
    """All of it, in the order in which it is shown: what all policies share, then policy by policy."""

    identities: tuple[Identity, ...]
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """0 when nothing failed. What needs attention counts where nothing else failed."""
        failed = [check.code for check in self.checks if check.result is Result.FAILED]
        return combine_exit_codes([code for code in failed if code != ATTENTION] or failed)

    def view(self) -> dict[str, Any]:
        return {
            "ok": self.exit_code == 0,
            "identities": [{"store": one.store, "identity": one.identity} for one in self.identities],
            "checks": [check.view() for check in self.checks],
        }


@dataclass
class Findings:
    """Collects checks about one policy, or about what all share. Written by one thread."""

    policy: str | None = None
    checks: list[Check] = field(default_factory=list)

    def ok(self, name: str, detail: str, *, subject: str = "") -> None:
        self._add(name, Result.OK, detail, "", subject)

    def warning(self, name: str, detail: str, hint: str, *, subject: str = "") -> None:
        self._add(name, Result.WARNING, detail, hint, subject)

    def unknown(self, name: str, detail: str, hint: str, *, subject: str = "") -> None:
        self._add(name, Result.UNKNOWN, detail, hint, subject)

    def skipped(self, name: str, why: str, hint: str, *, subject: str = "") -> None:
        self._add(name, Result.SKIPPED, why, hint, subject)

    def failed(self, name: str, detail: str, hint: str, *, code: int, subject: str = "") -> None:
        self._add(name, Result.FAILED, detail, hint, subject, code)

    def error(self, name: str, error: RotatorError, *, subject: str = "") -> None:
        """A check that ended in one of our errors, which know what to do about themselves."""
        hint = sentences(error.remedy) or sentences(error.then)
        self._add(name, Result.FAILED, sentences(error.happened), hint, subject, exit_code_of(error))

    def has_failed(self, *names: str) -> bool:
        """Whether a check of one of these names failed."""
        return any(check.result is Result.FAILED and check.name in names for check in self.checks)

    def _add(self, name: str, result: Result, detail: str, hint: str, subject: str, code: int = 0) -> None:
        self.checks.append(Check(name, result, detail, hint, self.policy, subject, code))
