"""Arguments and options that several commands have alike."""

from __future__ import annotations

from typing import Annotated

import typer

Policies = Annotated[list[str] | None, typer.Argument(metavar="POLICY", hidden=True)]
Label = Annotated[
    list[str] | None,
    typer.Option("-l", "--label", metavar="LABEL=VALUE", help="policies with this label; all of several"),
]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="for the audit trail [ROTATOR_REASON]")
]
