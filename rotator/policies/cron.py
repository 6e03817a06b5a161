"""Cron expressions with the semantics of cron itself, by cronsim.

Monday is 1 and Sunday is 0 or 7; day of month and day of week are alternatives when both are given;
a fixed time that a clock change skips comes right after the jump, one that comes twice counts once.
Implements `policies.schedule.NextCron`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_LONGEST_TEXT: Final = 200
# Any instant would do; this one starts a cycle of 28 years in which every date meets every weekday.
_PROBE: Final = datetime(2001, 1, 1, tzinfo=UTC)


def problem_with(expression: str) -> str | None:
    """What is wrong with an expression, in our words; None when it can be used."""
    from cronsim import CronSimError  # noqa: PLC0415  # loaded only where a policy has a cron line

    fields = expression.split()
    if len(expression) > _LONGEST_TEXT or len(fields) != 5:
        return "does not have five fields"
    try:
        next_after(expression, _PROBE)
    except CronSimError as error:
        # cronsim's own words are of the form "Bad day-of-month" and quote no input (cronsim 2.8).
        name = str(error).removeprefix("Bad ")
        return f"has a {name} field that cron does not accept"
    except (ValueError, StopIteration):
        return "never comes"
    return None


def next_after(expression: str, after: datetime) -> datetime:
    """The first instant strictly after `after` (aware), in its zone.

    Raises cronsim's error for an expression that `problem_with` refuses.
    """
    from cronsim import CronSim  # noqa: PLC0415  # as above

    # In the second pass of a repeated hour cronsim starts from the reading of the first one, and its
    # first answer may lie before `after`; it is at most an hour or so off.
    times = CronSim(expression, after)
    while True:
        moment: datetime = next(times)
        if moment.astimezone(UTC) > after.astimezone(UTC):
            return moment
