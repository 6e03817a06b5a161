"""What the simulator answers, and the four forms of an error that the vendor uses.

Forms and the statuses they belong to: error tables of SDK 3.2.0 (`_generated/operations.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

JSON: Final = "application/json"
HTML: Final = "text/html; charset=UTF-8"

ABILITY_MISSING: Final = "This token does not have the required abilities to perform this action."


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and extra headers. A `str` body is text; anything else is sent as JSON."""

    status: int
    body: Any
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        """The body as it goes over the wire."""
        if isinstance(self.body, str) and self.content_type != JSON:
            return self.body.encode()
        return json.dumps(self.body, separators=(",", ":")).encode()


class Refusal(Exception):
    """A rule said no; carries the answer. Raised before anything was changed."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


def message(status: int, text: str) -> Answer:
    """`{"message": …}`."""
    return Answer(status, {"message": text})


def error(status: int, code: str, text: str) -> Answer:
    """`{"error": {"code": …, "message": …, "details": {}}}`."""
    return Answer(status, {"error": {"code": code, "message": text, "details": {}}})


def error_string(status: int, code: str) -> Answer:
    """`{"error": "Code"}`."""
    return Answer(status, {"error": code})


def invalid(**fields: str) -> Refusal:
    """422 with `{"message": …, "errors": {field: [text]}}`; the message is that of the first field."""
    errors = {name.rstrip("_"): [text] for name, text in fields.items()}
    first = next(iter(errors.values()))[0]
    return Refusal(Answer(422, {"message": first, "errors": errors}))


def not_found() -> Refusal:
    """404: absent, or not visible to this token; the API does not tell which."""
    return Refusal(message(404, "Not found."))


def forbidden(text: str = ABILITY_MISSING) -> Refusal:
    """403 in the form of the Team API reference."""
    return Refusal(error(403, "FORBIDDEN", text))
