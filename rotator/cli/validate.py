"""`rotator validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rotator import words
from rotator.cli.output import clean, say
from rotator.cli.session import Session


def validate(
    session: Session,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", hidden=True),
    ] = None,
) -> int:
    """Check policies and say all that is wrong.

    PATH is a file or a folder; without one, the policies of the settings are checked. Needs no
    credentials. Exit 2 if there is a problem.
    """
    settings = session.settings()
    from rotator.policies.load import check_policies  # noqa: PLC0415  # pydantic

    where = [Path(path) for path in paths] if paths else [settings.policies]
    problems, warnings = check_policies(where)
    for warning in warnings:
        say(f"warning: {warning}")
    data = {
        "problems": [
            {"file": one.file, "line": one.line, "field": one.field, "message": one.message}
            for one in problems
        ]
    }
    session.emit(data, lambda: "\n".join(clean(str(one)) for one in problems))
    if problems:
        say(f"{words.count(len(problems), 'problem')} found.")
        return 2
    say("The policies are valid.")
    return 0
