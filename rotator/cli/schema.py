"""`rotator schema`."""

from __future__ import annotations

from rotator.cli.output import emit_json
from rotator.cli.session import Session


def schema(session: Session) -> int:  # noqa: ARG001  # every verb takes it
    """Print the JSON Schema of policy files."""
    from rotator.policies.load import json_schema  # noqa: PLC0415  # pydantic

    emit_json(json_schema())
    return 0
