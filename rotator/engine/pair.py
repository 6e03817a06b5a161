"""The two projects of a pair must look alike to consumers; every difference that they would feel is told."""

from __future__ import annotations

from rotator.engine.context import Context
from rotator.errors import Refused
from rotator.model import ProjectSetup


def check_pair(context: Context) -> None:
    """Raises Refused with every difference at once."""
    main, standby = context.policy.project, context.policy.standby_project
    assert standby is not None
    found = differences(context.provider.setup(main), context.provider.setup(standby))
    if found:
        raise Refused(
            f"The standby project {standby} differs from {main} in what consumers would feel: {'; '.join(found)}",
            then="Nothing was changed",
            remedy=f"`rotator doctor --prepare-standby {context.policy.name}` shows how to make them alike",
        )


def differences(main: ProjectSetup, standby: ProjectSetup) -> list[str]:
    """What consumers would feel, one sentence part each; empty where the two are alike."""
    found = []
    for name, ours, theirs in (
        ("SMTP", main.smtp_enabled, standby.smtp_enabled),
        ("delivery mode", main.delivery_mode, standby.delivery_mode),
        ("default route", main.default_route, standby.default_route),
    ):
        if ours != theirs:
            found.append(f"{name} is {theirs} there and {ours} in the main project")
    for name, ours_all, theirs_all in (
        ("domain", main.domains, standby.domains),
        ("route", main.routes, standby.routes),
    ):
        if missing := sorted(ours_all - theirs_all):
            found.append(f"{name}s missing there: {', '.join(missing)}")
        if extra := sorted(theirs_all - ours_all):
            found.append(f"{name}s only there: {', '.join(extra)}")
    return found
