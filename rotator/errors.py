"""Every error that rotator raises on purpose.

RotatorError
├── InvalidInput            exit 2: usage, settings, credentials or policies are wrong
│   ├── InvalidPolicies     all problems of all policy files at once
│   └── CredentialRejected  a credential of ours was refused (401, 403)
├── Refused                 exit 1: a precondition does not hold; nothing was changed
│   └── EndpointGone        exit 4: the provider no longer rotates this token
├── Held                    exit 5: a person froze the policy
├── Busy                    exit 5: another process has the lease
│   └── LeaseLost           the lease was ours and is not any more
├── Unreachable             exit 6: certainly not executed; safe to repeat
│   └── RateLimited         the same, and the other side said how long to wait
├── UnclearOutcome          exit 4: a call may or may not have been executed
├── VersionConflict         exit 1: compare-and-set lost; read again, merge again
├── JournalUnavailable      exit 6: the journal cannot be read or written
├── AuditUnavailable        exit 6: the audit log cannot take a line
├── NeedsAttention          exit 4: a person must look
└── Interrupted             exit 130 or 143: stopped by a signal; resumable

`retryable` is part of the type, so nobody keeps a list of exceptions to retry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class RotatorError(Exception):
    """Says what happened, what happens next, and what the reader may do.

    No message ever carries a token, a header, or a body that an outside system sent: callers pass
    text they wrote themselves, or text cut and scrubbed at the port it came from.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    code: ClassVar[str] = "failed"
    """Short name for logs and audit events."""

    def __init__(self, happened: str, *, then: str = "", remedy: str = "") -> None:
        super().__init__(happened)
        self.happened = happened
        self.then = then
        self.remedy = remedy

    def __str__(self) -> str:
        return sentences(self.happened, self.then, self.remedy)


def sentences(*parts: str) -> str:
    """The parts that say something, each ended as a sentence."""
    ended = (".", "!", "?", ":", "\n")
    return " ".join(part if part.endswith(ended) else f"{part}." for part in parts if part)


class InvalidInput(RotatorError):
    """Usage, settings, credentials or policies are wrong; nothing was changed."""

    exit_code = 2
    code = "invalid-input"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a policy file. `line` counts from 1; 0 means the file as a whole."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"


class InvalidPolicies(InvalidInput):
    """All problems of all policy files, in file and line order."""

    code = "invalid-policies"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems)
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"{count} problem{'' if count == 1 else 's'} in the policies, nothing was done:\n{lines}\n",
            remedy="Mend them and try `rotator validate`.",
        )


class CredentialRejected(InvalidInput):
    """The other side refused a credential of ours (401), or said that it may not do this (403)."""

    code = "credential-rejected"


class Refused(RotatorError):
    """A precondition does not hold. Raised before anything was changed."""

    code = "refused"


class EndpointGone(Refused):
    """rotate-token answers 404, 405 or 410 while the project can still be read.

    The call is marked legacy by the vendor (its OpenAPI contract of September 2026, SDK 3.2.0).
    """

    exit_code = 4
    code = "endpoint-gone"


class Held(RotatorError):
    """A person froze the policy with `rotator hold`."""

    exit_code = 5
    code = "held"


class Busy(RotatorError):
    """Another live process has the lease of the project."""

    exit_code = 5
    code = "busy"


class LeaseLost(Busy):
    """Somebody else took the lease while we were working; we stop before the next write."""

    code = "lease-lost"


class Unreachable(RotatorError):
    """The other side could not be reached, or said to come back later. Certainly not executed."""

    exit_code = 6
    retryable = True
    code = "unreachable"


class RateLimited(Unreachable):
    """Refused for its rate (429). `retry_after` is in seconds from now."""

    code = "rate-limited"

    def __init__(self, happened: str, *, retry_after: float, then: str = "", remedy: str = "") -> None:
        super().__init__(happened, then=then, remedy=remedy)
        self.retry_after = retry_after


class UnclearOutcome(RotatorError):
    """Time-out, reset, 5xx or an unreadable answer: the call may have been executed.

    Never retried blindly: the engine looks at the evidence first.
    """

    exit_code = 4
    code = "unclear"


class VersionConflict(RotatorError):
    """The place changed between our read and our write (compare-and-set lost)."""

    retryable = True
    code = "version-conflict"


class JournalUnavailable(RotatorError):
    """The journal cannot be opened, read or written."""

    exit_code = 6
    retryable = True
    code = "journal"


class AuditUnavailable(RotatorError):
    """The audit log cannot take a line."""

    exit_code = 6
    retryable = True
    code = "audit"


class NeedsAttention(RotatorError):
    """Something that a person must look at. `attention` is one of `model.ATTENTION_CODES`."""

    exit_code = 4
    code = "needs-attention"

    def __init__(self, attention: str, happened: str, *, then: str = "", remedy: str = "") -> None:
        super().__init__(happened, then=then, remedy=remedy)
        self.attention = attention


class Interrupted(RotatorError):
    """A signal asked us to stop; what was begun is in the journal and resumable."""

    code = "interrupted"

    def __init__(self, signal_number: int) -> None:
        super().__init__(
            "Stopped by a signal",
            then="What was begun is in the journal",
            remedy="Any later `rotator run` or `rotator rotate` takes it up again.",
        )
        self.signal_number = signal_number
        self.interrupted_exit_code = 128 + signal_number


def exit_code_of(error: BaseException) -> int:
    """The process exit code that this error alone leads to."""
    if isinstance(error, Interrupted):
        return error.interrupted_exit_code
    return error.exit_code if isinstance(error, RotatorError) else 1


def combine_exit_codes(codes: list[int]) -> int:
    """The exit code of several rotations: any 4 makes 4; all alike make that code; else 3."""
    if not codes:
        return 0
    for interrupted in (130, 143):
        if interrupted in codes:
            return interrupted
    if 4 in codes:
        return 4
    return codes[0] if len(set(codes)) == 1 else 3
