"""`rotator verify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rotator.cli import pick
from rotator.cli.session import Session

if TYPE_CHECKING:
    from rotator.model import Verified


def verify(session: Session, policy: Annotated[str, typer.Argument(metavar="POLICY", hidden=True)]) -> int:
    """Use the token that consumers read now.

    Runs the verifiers of the policy on what its authoritative destination holds. Exit 4 if one of
    them does not pass.
    """
    wiring = session.wiring("team_token")
    chosen = pick.one(wiring.policies, policy)
    from rotator.operations import verify as operation  # noqa: PLC0415

    results = operation.verify(wiring.ports, chosen)
    data = {
        "policy": chosen.name,
        "verified": [
            {"type": one.type, "ok": one.ok, "attempts": one.attempts, "detail": one.detail}
            for one in results
        ],
    }
    session.emit(data, lambda: _table(results))
    return 0 if all(one.ok for one in results) else 4


def _table(results: Sequence[Verified]) -> str:
    from rotator.cli.render import Column, table  # noqa: PLC0415

    columns = (
        Column("verifier", whole=True),
        Column("result", whole=True),
        Column("attempts", whole=True, right=True),
        Column("detail"),
    )
    return table(
        columns, ((one.type, "ok" if one.ok else "failed", str(one.attempts), one.detail) for one in results)
    )
