"""Tables at 80 columns with none, one and 500 policies, and with owners who write in other scripts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from rotator.cli import output, tables
from rotator.cli.output import say_errors
from rotator.cli.progress import FEW, LiveLines
from rotator.cli.render import card
from rotator.engine.context import Progress
from rotator.errors import Unreachable
from tests.cli.workshop import LONG_NAME, Ran, Workshop
from tests.http.pages import scene
from tests.journal.builders import T0

Rotator = Callable[..., Ran]
WIDE_OWNERS = (
    "プラットフォーム基盤チーム" * 4,
    "🚒 on-call 🚒 " * 8,
    "فريق الدفع " * 9,
    "o" * 200,
    "team-billing",
)


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def cells(text: str) -> int:
    """The widest line, in the cells that a terminal gives it: CJK and most emoji take two."""
    return max(map(cell_len, text.splitlines()), default=0)


@pytest.mark.parametrize("owner", WIDE_OWNERS)
def test_any_owner_fits(owner: str) -> None:
    """Wrapped by what is seen, not by the number of characters; nothing of it is lost."""
    one = scene.status("billing", owner=owner, attention=(scene.attention("billing", message=owner),))
    shown = tables.status([one], T0)
    assert cells(shown) <= 80
    joined = re.sub(r"\s", "", shown)
    assert joined.count(re.sub(r"\s", "", owner)) == 2


def test_the_owner_is_who_to_ask() -> None:
    """Told where something needs attention, and not where there is none."""
    troubled = scene.status("a", owner="team-a", attention=(scene.attention("a"),))
    assert "  owner  team-a" in tables.status([troubled], T0)
    assert "team-a" not in tables.status([scene.status("a", owner="team-a")], T0)


def test_500_policies_end_with_how_they_stand() -> None:
    """A line for each, the troubles below, and a summary last, where the terminal still shows it."""
    shown = tables.status(scene.many(500), T0)
    assert cells(shown) <= 80
    assert shown.count("service-") == 495
    assert shown.splitlines()[-2:] == [
        "in all",
        "    500 policies: 2 needs-attention, 1 overdue, 1 draining, 1 held, 495 ok",
    ]


def test_what_is_at_work_tells_its_step() -> None:
    """In place of the last outcome, which is its own."""
    shown = tables.status([scene.with_rotation(scene.draining())], T0)
    assert "step 6 of 9: drain" in shown
    assert "in all" not in shown


def test_history_of_500_rotations_fits() -> None:
    """One line each, with a long name on a line of its own."""
    kinds = [replace(one, policy=LONG_NAME if n % 2 else one.policy) for n, one in enumerate(scene.history())]
    many = [replace(kinds[n % len(kinds)], id=f"20261121T115900Z-{n:08x}") for n in range(500)]
    shown = tables.history(many)
    assert cells(shown) <= 80
    assert len(re.findall("20261121T115900Z-[0-9a-f]{8}", shown)) == 500


@pytest.mark.parametrize("reason", WIDE_OWNERS)
def test_a_rotation_with_a_wide_reason_fits(reason: str) -> None:
    """Whoever asked for it may write as they do."""
    shown = tables.rotation(replace(scene.crashed(), reason=reason), steps=True)
    assert cells(shown) <= 80
    assert re.sub(r"\s", "", reason) in re.sub(r"\s", "", shown)


def test_a_command_stays_on_one_line() -> None:
    """It is to be copied; only one that is longer than a line is broken, at its spaces."""
    fits = "`rotator rotate orders-production --reason TEXT`"
    longer = f"`rotator retire {LONG_NAME} --force`"
    shown = card("x", "", [("next", f"Give this role the permission that it lacks, or {fits}, or {longer}")])
    assert cells(shown) <= 80
    lines = [line.strip() for line in shown.splitlines()]
    assert any(fits in line for line in lines)
    assert "`rotator retire" in shown
    assert "\ue000" not in shown


def test_the_same_trouble_of_many_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """With the first names and the count of the others; different troubles, and few, are said one by one."""
    away = [
        (f"p-{n}", Unreachable("Lettermint cannot be reached", then="Nothing was done", remedy="Try again"))
        for n in range(500)
    ]
    say_errors([*away, ("last", Unreachable("Another trouble"))])
    assert capsys.readouterr().err == (
        "error: p-0, p-1, p-2 and 497 more: Lettermint cannot be reached.\n"
        " then: Nothing was done.\n"
        "   do: Try again.\n"
        "error: last: Another trouble.\n"
    )
    say_errors(away[: output._NAMED])
    assert capsys.readouterr().err.count("error: p-") == output._NAMED


# as processes, on a terminal and off it


def crowd(workshop: Workshop, count: int) -> None:
    """As many policies of one simulator, with owners of every kind."""
    made = workshop.simulator.furnish(count)
    workshop.environment |= {"LETTERMINT_TEAM_TOKEN": made.team_token.reveal(), "COLUMNS": ""}
    entries = [
        f"  - {{name: {'p' * (n % 40 + 1)}{n}, project: {project}, strategy: in-place, schedule: {{every: 30d}},"
        f' owner: "{WIDE_OWNERS[n % 5].strip()}", destinations: [{{type: file, path: ./{n}.txt}}]}}'
        for n, (project, _) in enumerate(made.projects)
    ]
    (workshop.policies / "mail.yaml").write_text("policies:\n" + "\n".join(entries) + "\n", encoding="utf-8")


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize("verb", ["status", "plan", "history"])
def test_a_terminal_of_80_columns(workshop: Workshop, verb: str, count: int) -> None:
    """Nothing is wider, and NO_COLOR leaves no escape sequence, whatever the number of policies."""
    crowd(workshop, count)
    ran = workshop.on_terminal(verb, NO_COLOR="1")
    assert ran.code == 0, ran.out
    assert cells(ran.out) <= 80
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("verb", ["status", "plan", "history"])
def test_no_policies_at_all(workshop: Workshop, verb: str) -> None:
    """What is missing and where it belongs, no empty table; there may be a history all the same."""
    (workshop.policies / "mail.yaml").unlink()
    ran = workshop.on_terminal(verb)
    said = "No rotation was made yet." if verb == "history" else "policies: holds no policy file"
    assert said in ran.out
    assert ran.code == (0 if verb == "history" else 2)
    assert "policy  " not in ran.out
    assert cells(ran.out) <= 80


def test_a_table_in_a_pipe_is_plain(workshop: Workshop) -> None:
    """80 columns and no colours where nobody tells the width."""
    crowd(workshop, 30)
    for verb in ("status", "plan"):
        ran = workshop.process(verb, "-o", "table", TERM="xterm-256color")
        assert ran.code == 0, ran.err
        assert cells(ran.out) <= 80
        assert "\x1b" not in ran.out
        assert "in all" in ran.out


def test_a_plan_of_many_has_a_line_for_each(workshop: Workshop) -> None:
    """When and why, and all of it taken together at the end; up to twenty are told in full."""
    crowd(workshop, 21)
    shown = workshop.process("plan", "-o", "table").out.splitlines()
    assert shown[0].split() == ["policy", "state", "rotates", "why"]
    assert sum("every 30d" in line for line in shown) == 21
    assert shown[-2] == "in all"
    crowd(workshop, 20)
    assert "  strategy  in-place" in workshop.process("plan", "-o", "table").out


@pytest.mark.parametrize("verb", [("plan",), ("status", "--refresh")])
def test_reading_many_waits_for_the_rate_limit(
    rotator: Rotator, workshop: Workshop, verb: tuple[str, ...]
) -> None:
    """Those for which there was no room are asked again when there is; how many wait is said."""
    crowd(workshop, 5)
    workshop.simulator.faults.add("project", "too-many", skip=2, retry_after=1)
    ran = rotator(*verb, "-o", "json", LETTERMINT_TEAM_TOKEN=workshop.environment["LETTERMINT_TEAM_TOKEN"])
    assert ran.code == 0, ran.err
    assert "Lettermint lets no more be read within this minute:" in ran.err
    entries = ran.json.get("plan") or ran.json.get("policies")
    assert len(entries) == 5
    assert all(entry["reason"].startswith("not due yet") for entry in entries)


def test_where_no_room_comes_back_it_is_said(rotator: Rotator, workshop: Workshop) -> None:
    """Waiting twice for nothing is enough: what could not be read is unknown, and it is safe to repeat."""
    crowd(workshop, 5)
    workshop.simulator.faults.add("project", "too-many", times=None, retry_after=1)
    ran = rotator("plan", "-o", "json", LETTERMINT_TEAM_TOKEN=workshop.environment["LETTERMINT_TEAM_TOKEN"])
    assert ran.code == 6, ran.err
    assert ran.err.count("Lettermint lets no more be read") == 1
    assert ran.err.count("error: ") <= 2


# progress


def picture(live: LiveLines, *, height: int = 24) -> list[str]:
    """What the terminal shows, a line each."""
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=False)
    console.print(live._draw())
    return console.file.getvalue().splitlines()


def test_progress_of_many_shows_what_is_at_work() -> None:
    """One line each, those at work before those that ended, and how many there are of both on top."""
    live = LiveLines()
    for n in range(40):
        live(Progress(f"service-{n:03}-production", f"r-{n}", "mint+publish", "minting"))
        if n < 36:
            live(Progress(f"service-{n:03}-production", f"r-{n}", "", "The new token is stored; " * 9))
    shown = picture(live)
    assert shown[0].split() == ["in", "all", "36", "ended,", "4", "at", "work"]
    assert [line.split()[0] for line in shown[1:5]] == [f"service-{n:03}-production" for n in range(36, 40)]
    assert len(shown) == 41
    assert max(map(cell_len, shown)) <= 80


@pytest.mark.parametrize("text", WIDE_OWNERS)
def test_progress_with_wide_characters_fits(text: str) -> None:
    """Few policies have as many lines as they need, many have one each: neither is wider than the terminal."""
    live = LiveLines()
    for n in range(FEW):
        live(Progress(f"p-{n}", f"r-{n}", "verify", text))
    assert max(map(cell_len, picture(live))) <= 80
    assert "in all" not in "".join(picture(live))
    live(Progress(LONG_NAME, "r", "verify", text))
    shown = picture(live)
    assert max(map(cell_len, shown)) <= 80
    assert len(shown) == FEW + 2
