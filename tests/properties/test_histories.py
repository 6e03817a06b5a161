"""The property suite: whatever happens in whatever order, no history ends badly.

Each example is one policy of one form. Commands, deaths of the process at any of its doors, faults of the provider
and of the stores, other people and time come in any order; then nothing goes wrong any more, runs come as cron would
make them come, and the invariant holds: readers hold a living token or the policy says needs attention, every
rotation is at rest, nothing lives that nobody knows of, the audit chain verifies, no token is outside a store.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rotator.model import Trigger
from tests.properties.history import DOORS, FORMS, HOUR, History

EXAMPLES = 50
"""Of each form in the default profile; a fresh seed every time would make a red run hard to repeat."""
LONG_EXAMPLES = 500
STEPS = 8

MINT_FAULTS = st.sampled_from(
    [
        ("lost-answer", {}),
        ("dropped", {}),
        ("error-before", {}),
        ("error-after", {}),
        ("truncated", {}),
        ("malformed", {}),
        ("too-many", {"retry_after": 2}),
        ("late", {"seconds": 1}),
        ("slow-new-token", {"seconds": 5}),
        ("slow-dead-token", {"seconds": 20}),
    ]
)
READ_FAULTS = st.sampled_from([("error-before", {}), ("dropped", {}), ("truncated", {})])


class Histories(RuleBasedStateMachine):
    """One history; `form` says whose."""

    form = ""

    def __init__(self) -> None:
        super().__init__()
        self.history: History | None = None

    @initialize()
    def begin(self) -> None:
        """A policy whose token lives and is stored."""
        self.history = History(self.form)

    @rule(trigger=st.sampled_from([None, Trigger.MANUAL, Trigger.SCHEDULE, Trigger.EMERGENCY]))
    def command(self, trigger: Trigger | None) -> None:
        """A person, a schedule or cron."""
        self.history.command(trigger)

    @rule(door=st.sampled_from(DOORS), nth=st.integers(1, 6), after=st.booleans())
    def die_in_the_next_command(self, door: str, nth: int, *, after: bool) -> None:
        """The process ends at one of its doors, and somebody begins another one."""
        self.history.told.append(f"dies {'after' if after else 'before'} {door} {nth}")
        self.history.die_at(door, nth, after=after)
        self.history.command(Trigger.MANUAL)

    @rule(fault=MINT_FAULTS, times=st.integers(1, 3))
    def mints_go_wrong(self, fault: tuple[str, dict[str, float]], times: int) -> None:
        """The next calls of rotate-token fail in some way."""
        kind, parameters = fault
        self.history.told.append(f"{kind} for {times} mints")
        self.history.bench.simulator.faults.add("rotate", kind, times=times, **parameters)

    @rule(call=st.sampled_from(["project", "ping"]), fault=READ_FAULTS, times=st.integers(1, 3))
    def reads_go_wrong(self, call: str, fault: tuple[str, dict[str, float]], times: int) -> None:
        """The next reads fail."""
        self.history.told.append(f"{fault[0]} for {times} of {call}")
        self.history.bench.simulator.faults.add(call, fault[0], times=times, **fault[1])

    @rule(times=st.integers(1, 40))
    def stores_refuse(self, times: int) -> None:
        """The stores take no write for a while."""
        self.history.told.append(f"{times} writes refused")
        self.history.refuse_writes(times)

    @rule(seconds=st.sampled_from([1.0, 20.0, HOUR, 3 * HOUR, 31 * 24 * HOUR]))
    def time_passes(self, seconds: float) -> None:
        """Nothing happens for a while."""
        self.history.told.append(f"{seconds:g} s pass")
        self.history.clock.advance(seconds)

    @rule(seconds=st.sampled_from([3600.0, -3600.0]))
    def wall_clock_jumps(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.history.told.append(f"the clock jumps by {seconds:g} s")
        self.history.clock.jump_wall(seconds)

    @precondition(lambda self: self.history is not None and not self.history.meddled)
    @rule()
    def somebody_else_mints(self) -> None:
        """A person presses Regenerate in the dashboard."""
        self.history.told.append("somebody else mints")
        self.history.somebody_else_mints()

    def teardown(self) -> None:
        """Nothing goes wrong any more: the history must end well."""
        if self.history is None:
            return
        try:
            self.history.calm_down()
            wrong = self.history.at_rest()
            assert not wrong, "\n".join([*wrong, "what happened:", *self.history.told])
        finally:
            self.history.close()


@pytest.mark.parametrize("form", FORMS)
def test_every_history_ends_well(form: str, *, long: bool) -> None:
    """For each form: whatever happened, afterwards the invariant holds."""
    machine = type(f"HistoriesOf{form}", (Histories,), {"form": form})
    case = machine.TestCase
    case.settings = settings(
        max_examples=LONG_EXAMPLES if long else EXAMPLES,
        stateful_step_count=STEPS,
        derandomize=not long,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()


def test_a_repair_that_fails_is_no_comfort() -> None:
    """Found by the long run: somebody else killed the token, every mint that would repair it got lost, and the
    policy looked merely failed."""
    machine = type("Regression", (Histories,), {"form": "standby"})()
    machine.begin()
    machine.somebody_else_mints()
    for times in (1, 1, 3):
        machine.mints_go_wrong(fault=("lost-answer", {}), times=times)
    machine.die_in_the_next_command(after=False, door="mint", nth=6)
    machine.teardown()
