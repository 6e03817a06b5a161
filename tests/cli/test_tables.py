"""What a person sees: whole names, 80 columns, colour only where it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rotator import words
from rotator.cli import tables, tables_of_rehearsal
from rotator.cli.render import Column, table
from rotator.clock import Instant
from rotator.model import (
    Attention,
    Bounds,
    DestinationRecord,
    DestinationState,
    Emergency,
    Order,
    Policy,
    Rotation,
    State,
    StepOutcome,
    StepRecord,
    Strategy,
    Trigger,
    Verified,
)
from rotator.operations.rehearsals import Rehearsed
from rotator.operations.rehearse import Told
from rotator.views import PolicyStatus, RehearsalStatus
from tests.cli.workshop import LONG_NAME, Ran, Workshop

Rotator = Callable[..., Ran]
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PROJECT = "0f8fad5b-d9cb-469f-a165-70867728950e"
LONG_REF = f"aws-secrets-manager:eu-central-1/{'prod/checkout/' * 6}lettermint#LETTERMINT_PROJECT_TOKEN"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def rotation(**changes: object) -> Rotation:
    made = Rotation(
        id="20261121T115900Z-0a1b2c3d",
        policy="billing",
        project=PROJECT,
        strategy=Strategy.IN_PLACE,
        trigger=Trigger.MANUAL,
        state=State.COMPLETED,
        started_at=NOW - timedelta(minutes=1),
        finished_at=NOW - timedelta(seconds=58),
        snapshot={},
        actor="rotator rotate on host (pid 1)",
        old_fingerprint="fp_0123456789abcdef0123",
        new_fingerprint="fp_abcdef0123456789abcd",
        outage=Bounds(0.2134, 0.4056),
        verified=(
            Verified("ping", ok=True, attempts=1),
            Verified("send", ok=False, attempts=3, detail="422"),
        ),
        old_token_dead=True,
        destinations=(DestinationRecord("aws-secrets-manager", LONG_REF, DestinationState.CURRENT),),
        steps=(StepRecord("mint+publish", NOW, 0.4, StepOutcome.DONE, "published " * 12),),
        message="The new token is stored and verified; " * 4,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def status(**changes: object) -> PolicyStatus:
    made = PolicyStatus(
        name="billing",
        project=PROJECT,
        active_project=PROJECT,
        strategy="in-place",
        state="ok",
        token_generated_at=NOW - timedelta(days=12, hours=4),
        age_seconds=12 * 86400 + 4 * 3600,
        next_due_at=NOW + timedelta(days=17, hours=20),
        overdue=False,
        reason="not due yet: every 30d",
        last_outcome="completed",
        last_outage=Bounds(0.2134, 0.4056),
        rotation=None,
        attention=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_status_is_one_line_per_policy() -> None:
    """Policy, state, age, next due and the last outcome with its outage."""
    shown = tables.status([status(), status(name="new", state="unknown", age_seconds=None)], NOW).splitlines()
    assert shown[0].split() == ["policy", "state", "age", "next", "due", "last"]
    assert shown[1] == "billing  ok       12d 4h  in 17d 20h  completed, 0.213-0.406 s"
    assert shown[2].split()[:3] == ["new", "unknown", "-"]


def test_status_says_what_needs_attention_and_what_to_type() -> None:
    """Below the table: code, message, since when, and the next command, for each."""
    attention = Attention(
        "billing", "token-dead", NOW - timedelta(hours=3), "The token is dead", "`rotator rotate billing`"
    )
    shown = tables.status([status(state="needs-attention", attention=(attention,)), status(name="b")], NOW)
    assert shown.splitlines()[4:] == [
        "billing: token-dead",
        "  since  2026-11-21 09:00 UTC, 3h ago",
        "  what   The token is dead",
        "  next   `rotator rotate billing`",
    ]


def test_nothing_is_wider_than_the_terminal_and_nothing_is_cut() -> None:
    """Long names, places and messages wrap or get a line of their own; ids stay whole."""
    attention = Attention(
        LONG_NAME, "unclear", NOW, "what happened " * 20, f"`rotator reconcile {LONG_NAME}`"
    )
    long = status(
        name=LONG_NAME, state="needs-attention", last_outcome="needs-attention", attention=(attention,)
    )
    one = rotation(policy=LONG_NAME, state=State.NEEDS_ATTENTION, outage=Bounds(123.4, 1234.6))
    for shown in (
        tables.status([long, status()], NOW),
        tables.history([one, rotation()]),
        tables.rotation(one, steps=True),
        tables.rotations([one] * 4),
    ):
        assert widest(shown) <= 80
        assert LONG_NAME in shown
        assert "\u2026" not in shown
    assert one.id in tables.history([one])
    assert LONG_REF in tables.rotation(one).replace("\n", "").replace(" ", "")
    assert "123-1235 s" in tables.history([one])


def test_a_long_first_cell_has_a_line_of_its_own() -> None:
    """A name that fits stays in its row; one character more, and it stands above it."""
    columns = (Column("name", whole=True), Column("state"))
    assert table(columns, [("n" * 24, "ok")]).splitlines()[1] == f"{'n' * 24}  ok"
    assert table(columns, [("n" * 25, "ok")]).splitlines()[1:] == ["n" * 25, ">     ok"]


def test_few_rotations_are_cards_and_many_are_a_list() -> None:
    """Up to three in full; of more a list, and in full only those that did not complete."""
    assert tables.rotations([rotation()] * 3).count("fp_0123456789abcdef0123, dead") == 3
    failed = rotation(policy="other", state=State.FAILED, message="It broke.")
    shown = tables.rotations([*[rotation()] * 3, failed])
    assert shown.splitlines()[0].split() == ["policy", "rotation", "state", "outage"]
    assert shown.count("old token") == 1
    assert "It broke." in shown


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"old_token_dead": False}, "  old token    fp_0123456789abcdef0123, ALIVE"),
        ({"old_token_dead": None}, "  old token    fp_0123456789abcdef0123, not proved dead"),
        ({"old_fingerprint": None}, "  old token    there was none"),
        ({"outage": None}, "  outage       none measured"),
        ({}, "  outage       0.213-0.406 s"),
        ({}, "               send FAILED, 3 attempts: 422"),
        ({"reason": "leak"}, "  trigger      manual, leak"),
        ({}, "  started      2026-11-21 11:59 UTC, took 2.00 s"),
    ],
)
def test_a_card_says_it_in_words(changes: dict[str, object], line: str) -> None:
    """What became of the old token, the outage, and each verifier."""
    assert line in tables.rotation(rotation(**changes)).splitlines()


def test_colour_only_on_a_terminal_that_wants_it(workshop: Workshop) -> None:
    """Colour on a terminal; none with NO_COLOR, with TERM=dumb, or in a pipe."""
    workshop.process("status", "--refresh")
    assert "\x1b[32mok" in workshop.on_terminal("status").out
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = workshop.on_terminal("status", **environment)
        assert "\x1b" not in plain.out
        assert "billing" in plain.out
    assert "\x1b" not in workshop.process("status", "-o", "table").out


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_real_tables_fit_the_terminal(workshop: Workshop, columns: int) -> None:
    """`status`, `plan` and `history` on terminals of several widths, with the longest name there is."""
    workshop.process("rotate", "--all", "--yes")
    for verb in ("status", "plan", "history"):
        shown = workshop.on_terminal(verb, columns=columns, NO_COLOR="1").out
        assert LONG_NAME in shown
        assert widest(shown) <= max(columns, len(LONG_NAME) + 9), verb
        assert "\u2026" not in shown


def test_progress_on_a_terminal_is_drawn_and_taken_away(workshop: Workshop) -> None:
    """A live display while it works, a card when it is done; a simple terminal gets lines."""
    drawn = workshop.on_terminal("rotate", "newsletter", "--yes").out
    assert "\x1b[?25l" in drawn
    assert drawn.rindex("\x1b[?25h") < drawn.index("newsletter\x1b[0m  \x1b[32mcompleted")
    simple = workshop.on_terminal("rotate", "newsletter", "--yes", TERM="dumb").out
    assert "newsletter: minting\n" in simple
    assert "\x1b" not in simple


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m 59s"),
        (3600, "1h"),
        (3601, "1h"),
        (86_399, "23h 59m"),
        (86_400, "1d"),
        (90_061, "1d 1h"),
        (30 * 86_400, "30d"),
    ],
)
def test_lengths_have_two_units_at_most(seconds: float, text: str) -> None:
    """Rounded down, and a gap ends it: one day and one second is a day."""
    assert words.length(seconds) == text


def test_distances_and_counts() -> None:
    """`in`, `ago` and `now`; plurals."""
    assert words.distance(NOW + timedelta(hours=2), NOW) == "in 2h"
    assert words.distance(NOW - timedelta(days=1), NOW) == "1d ago"
    assert words.distance(NOW, NOW) == "now"
    assert [words.count(n, what) for n, what in ((1, "policy"), (2, "policy"), (1, "line"), (0, "line"))] == [
        "1 policy",
        "2 policies",
        "1 line",
        "0 lines",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.9994, "0.999"), (1, "1.00"), (9.99, "9.99"), (10, "10.0"), (340.2, "340")],
)
def test_seconds_have_three_digits(value: float, text: str) -> None:
    """More digits for short times."""
    assert words.seconds(value) == text


REHEARSAL = RehearsalStatus(
    last_success_at=NOW - timedelta(days=5, hours=2),
    age_seconds=5 * 86400 + 2 * 3600,
    seconds=4.2,
    last_outcome="completed",
    next_due_at=None,
    overdue=False,
    reason="no schedule: rehearsed only when asked to",
)


def test_status_tells_how_old_the_last_rehearsal_is() -> None:
    """In a column of its own that is only there when a policy has a rehearsal; never and failed ones say so."""
    assert "rehearsed" not in tables.status([status()], NOW)
    found = [
        status(name="a", rehearsal=REHEARSAL),
        status(name="b", rehearsal=replace(REHEARSAL, last_outcome="refused")),
        status(name="c", rehearsal=replace(REHEARSAL, age_seconds=None, last_outcome=None)),
    ]
    shown = tables.status([*found, status(name="d")], NOW).splitlines()
    assert shown[0].split() == ["policy", "state", "age", "next", "due", "last", "rehearsed"]
    ends = [" ".join(line.split()[7:]) for line in shown[1:] if line[:1] in "abcd"]
    assert "5d 2h ago" in ends[0]
    assert "then" in "\n".join(shown)
    assert "never" in ends[2]
    assert widest("\n".join(shown)) <= 80


def test_a_rehearsal_s_trouble_is_not_taken_for_the_policy_s() -> None:
    """Its card says whose it is, and stands below those of the policies."""
    own = Attention("billing", "token-dead", NOW, "The token is dead", "`rotator rotate billing`")
    drill = Attention("billing/rehearsal", "unclear", NOW, "It is unclear", "`rotator rehearse billing`")
    one = status(attention=(own,), rehearsal=replace(REHEARSAL, attention=(drill,)))
    shown = tables.status([one], NOW)
    assert shown.index("billing: token-dead") < shown.index("rehearsal of billing: unclear")
    assert "next   `rotator rehearse billing`" in shown


def test_a_rehearsal_is_told_by_its_two_paths() -> None:
    """What both came to and what the emergency cost; one whose second path never began says so."""
    policy = Policy("billing", PROJECT, Strategy.IN_PLACE, ())
    scheduled = rotation(trigger=Trigger.REHEARSAL, policy="billing/rehearsal")
    leak = Emergency(Instant(NOW, "boot-1", 1.0), Order.KILL_FIRST, 0.0)
    emergency = replace(scheduled, id="r-2", emergency=leak, exposure=Bounds(0.5, 0.75))
    told = Told(policy, replace(policy, name="billing/rehearsal"), Rehearsed(scheduled, emergency))
    lines = tables_of_rehearsal.rehearsed([told]).splitlines()
    assert lines[0] == "rehearsal of billing  completed"
    assert any("exposure" in line and "0.500-0.750 s" in line for line in lines)
    half = replace(told, rehearsed=Rehearsed(replace(scheduled, state=State.FAILED)))
    assert "not begun" in tables_of_rehearsal.rehearsed([half])
    assert "nothing begun" in tables_of_rehearsal.rehearsed([replace(told, rehearsed=None)])
