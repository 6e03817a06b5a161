"""The answer of an HTTP API that speaks JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """Its status and whole text. The text is not in the repr: it may hold anything, secrets too."""

    status: int
    text: str = field(repr=False, default="")

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The text as an object; empty for anything else."""
        try:
            found = json.loads(self.text)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
