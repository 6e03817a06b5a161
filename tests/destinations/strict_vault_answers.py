"""What every part of the strict Vault fake answers with, and the server's ways with JSON and time."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

DENIED = "permission denied"
LACKS_POLICY = "1 error occurred:\n\t* permission denied\n\n"
"""A living token without the capability; a dead token gets the bare text."""


@dataclass
class Answer:
    status: int
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)


class VaultError(Exception):
    """An error answer: its status and its texts (none for something that is just not there)."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.answer = Answer(status, {"errors": list(errors)})


def unsupported() -> VaultError:
    return VaultError(405, "1 error occurred:\n\t* unsupported operation\n\n")


def envelope(
    data: Any = None, *, auth: Any = None, warnings: list[str] | None = None, lease: int = 0
) -> dict[str, Any]:
    """The frame around every answer with content."""
    return {
        "request_id": str(uuid.uuid4()),
        "lease_id": "",
        "renewable": False,
        "lease_duration": lease,
        "data": data,
        "wrap_info": None,
        "warnings": warnings,
        "auth": auth,
    }


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse(raw: bytes) -> dict[str, Any]:
    """A request's body; an empty one is no fields at all."""
    if not raw:
        return {}
    try:
        body = json.loads(raw, parse_constant=_no_constant, parse_float=_float)
    except ValueError as error:
        raise VaultError(400, f"failed to decode JSON input: {error}") from None
    if not isinstance(body, dict):
        raise VaultError(400, "failed to decode JSON input: not an object")
    return body


class Fraction(float):
    """A number that was not written as an integer; where one is needed the server takes no other."""


def _float(text: str) -> Fraction:
    number = Fraction(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"json: cannot unmarshal number {text} into Go value of type float64")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"invalid character in {name}")
