"""A year of 50 policies in 6 zones, in simulated time: a daemon that asks the planner, beside a calculation
that knows nothing of it (`due_oracle`)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from rotator.model import Policy, Schedule, Strategy, Window
from rotator.planner import Facts, decide
from rotator.policies.cron import next_after
from tests.policies import due_oracle as oracle
from tests.policies.due_oracle import Written

BEGIN = datetime(2027, 6, 1, tzinfo=UTC)  # so that the year has a 29th of February
END = datetime(2028, 6, 1, tzinfo=UTC)
# Nothing runs for a week in between: what is missed comes once.
STOPPED = datetime(2027, 12, 20, 11, 30, tzinfo=UTC)
AWAKE = datetime(2027, 12, 27, 17, 45, 10, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
DAY, HOUR = 86_400, 3_600
OFFICE, EVERY_DAY = (0, 1, 2, 3), (0, 1, 2, 3, 4, 5, 6)
ZONES = (
    "Europe/Amsterdam",
    "America/New_York",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kathmandu",
)
SCHEDULES = (
    Written("", every=30 * DAY, days=OFFICE, start=540, end=960, jitter=2 * HOUR, max_age=45 * DAY),
    Written("", every=7 * DAY),
    Written("", cron="0 9 * * 1"),
    Written("", cron="30 2 * * *"),
    Written("", cron="*/20 2 * * sun"),
    Written("", every=10 * DAY, days=(4,), start=1320, end=360),
    Written("", every=14 * DAY, days=(6,), start=130, end=170, jitter=DAY, max_age=23 * DAY),
    Written("", cron="0 0 1,15 * *", days=(1, 2, 5), start=0, end=30),
    Written("", cron="0 4 29 * *", jitter=3 * HOUR),
    Written("", every=25 * HOUR, days=EVERY_DAY, start=540, end=600),
    Written("", cron="15 0 13 * fri", max_age=6 * DAY + 1),
)


@dataclass
class Kept:
    """A policy, when its token was generated, and when it was rotated in this year."""

    plain: Written
    policy: Policy
    anchor: datetime
    rotated: list[datetime] = field(default_factory=list)


def fifty() -> list[Kept]:
    """No two are alike; tokens are up to a month old, some to the microsecond."""
    found = []
    for n in range(50):
        plain = replace(SCHEDULES[n % len(SCHEDULES)], zone=ZONES[n % len(ZONES)])
        schedule = Schedule(
            every=timedelta(seconds=plain.every) if plain.every else None,
            cron=plain.cron,
            timezone=plain.zone,
            window=Window(plain.days, plain.start, plain.end) if plain.days else None,
            jitter=timedelta(seconds=plain.jitter),
            max_age=timedelta(seconds=plain.max_age) if plain.max_age else None,
        )
        policy = Policy(f"policy-{n}", f"p{n}", Strategy.IN_PLACE, (), schedule=schedule)
        age = timedelta(hours=13 * n, seconds=n * n, microseconds=n % 3)
        found.append(Kept(plain, policy, BEGIN - age))
    return found


def serve(policies: list[Kept]) -> None:
    """Wakes when the planner said, rotates what is due, and asks again."""
    queue = [(BEGIN, n) for n in range(len(policies))]
    while queue:
        now, n = heapq.heappop(queue)
        kept = policies[n]
        decision = decide(kept.policy, Facts(kept.anchor, next_after), now)
        if decision.due:
            if now not in (BEGIN, AWAKE):
                assert not decide(kept.policy, Facts(kept.anchor, next_after), now - INSTANT).due
            kept.rotated.append(now)
            kept.anchor = now
            decision = decide(kept.policy, Facts(now, next_after), now)
        assert not decision.due
        assert decision.due_at is not None
        assert decision.due_at > now
        wakes = AWAKE if STOPPED <= decision.due_at < AWAKE else decision.due_at
        if wakes < END:
            heapq.heappush(queue, (wakes, n))


def expected(kept: Kept) -> list[datetime]:
    """The same by the other calculation, one date after the other."""
    found: list[datetime] = []
    anchor = kept.anchor
    while True:
        at = oracle.starts(kept.plain, kept.policy.name, anchor, found[-1] if found else BEGIN)
        if STOPPED <= at < AWAKE:
            at = oracle.starts(kept.plain, kept.policy.name, anchor, AWAKE)
        if at >= END:
            return found
        found.append(at)
        anchor = at


def test_each_due_instant_of_a_year_is_that_of_the_independent_calculation() -> None:
    """Over clock changes in both directions, a leap day and a week without a daemon, to the microsecond."""
    policies = fifty()
    assert len({(kept.plain, kept.policy.name) for kept in policies}) == 50
    independent = [expected(kept) for kept in policies]
    serve(policies)
    for kept, instants in zip(policies, independent, strict=True):
        assert kept.rotated == instants, kept.plain
    assert sum(len(instants) for instants in independent) > 2000
    # A date missed while nothing ran is made up for once, at the start or when the window opens.
    made_up = [[at for at in kept.rotated if AWAKE <= at < AWAKE + timedelta(hours=1)] for kept in policies]
    assert max(map(len, made_up)) == 1
    assert sum(map(len, made_up)) >= 10
    assert not any(STOPPED <= at < AWAKE for kept in policies for at in kept.rotated)
