"""`rotate --emergency`: options that contradict one another, the question on the terminal, what is shown before it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from rotator.secret import Secret
from tests.cli.workshop import KEY, LONG_NAME, Ran, Workshop

Rotator = Callable[..., Ran]
URGENT = ("rotate", "--emergency", "--reason", "leaked")


def mints(workshop: Workshop) -> list[int]:
    return [len(workshop.simulator.mints(project)) for project in workshop.projects]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rotate", "billing", "--order", "kill-first"), "--order goes only together with --emergency"),
        (
            ("rotate", "billing", "--drain", "5m", "--kill-only"),
            "--drain and --kill-only go only together with --emergency",
        ),
        (("rotate", "billing", "--leaked-stdin"), "--leaked-stdin goes only together with --emergency"),
        (("rotate", "billing", "--no-journal"), "--no-journal goes only together with --emergency"),
        ((*URGENT, "billing", "--no-wait"), "--no-wait goes not together with --emergency"),
        ((*URGENT, "billing", "--canary", "1/s"), "--canary goes not together with --emergency"),
        (("rotate", "billing", "--emergency"), "An emergency needs a reason"),
        (("rotate", "billing", "--emergency", "--reason", " "), "An emergency needs a reason"),
        (URGENT, "It was not said which policies to rotate"),
        ((*URGENT, "billing", "--all"), "POLICY and --all were given together"),
        ((*URGENT, "billing", "--order", "first"), "'first' is not one of 'kill-first', 'replace-first'"),
        (
            (*URGENT, "billing", "--kill-only", "--order", "replace-first"),
            "--kill-only and --order replace-first contradict one another",
        ),
        (
            (*URGENT, "billing", "--drain", "1m", "--order", "kill-first"),
            "--drain goes with replace-first, and --order kill-first was given",
        ),
        (
            (*URGENT, "billing", "--drain", "1m", "--kill-only"),
            "--drain goes with replace-first, and --kill-only was given",
        ),
        ((*URGENT, "billing", "--drain", "1m"), "none of these policies can replace first"),
        ((*URGENT, "billing", "--drain", "soon"), "--drain is 'soon'; accepted: a duration"),
        ((*URGENT, "billing", "--order", "replace-first"), "billing cannot replace first"),
    ],
)
def test_options_that_contradict_one_another(
    rotator: Rotator, workshop: Workshop, arguments: tuple[str, ...], said: str
) -> None:
    """One clear error, exit 2, and nothing is done or made."""
    ran = rotator(*arguments, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("error:") == 1
    assert said in ran.err
    assert mints(workshop) == [0, 0, 0]
    assert workshop.files() == set()


def test_dry_run_shows_both_orders_and_changes_nothing(rotator: Rotator, workshop: Workshop) -> None:
    """As JSON: what dies, who reads it, what each order costs and what that is made from."""
    ran = rotator(*URGENT, "billing", "--dry-run")
    assert ran.code == 0
    (one,) = ran.json["emergency"]
    assert (one["policy"], one["slot"], one["order"]) == ("billing", "active", "kill-first")
    assert set(one["predicted"]) == {"kill-first"}
    assert one["predicted"]["kill-first"]["outage_seconds"] is None
    assert "no rotation of it was measured yet" in one["predicted"]["kill-first"]["outage_from"]
    assert len(one["destinations"]) == 1
    assert "Nothing was changed" in ran.err
    assert mints(workshop) == [0, 0, 0]
    assert workshop.files() == set()


def test_selection_and_reason_from_the_environment(rotator: Rotator) -> None:
    """A Job without arguments: as for any `rotate`."""
    job = {"ROTATOR_SELECT": "newsletter, billing", "ROTATOR_REASON": "INC-4711"}
    ran = rotator("rotate", "--emergency", "--dry-run", **job)
    assert ran.code == 0
    assert {one["policy"] for one in ran.json["emergency"]} == {"newsletter", "billing"}


def test_nobody_to_ask_is_exit_2(workshop: Workshop) -> None:
    """Neither a terminal nor --yes: both ways out are named."""
    ran = workshop.process(*URGENT, "billing")
    assert (ran.code, ran.out) == (2, "")
    assert "nobody can be asked" in ran.err
    assert "--yes" in ran.err
    assert mints(workshop) == [0, 0, 0]


@pytest.mark.parametrize("columns", [80, 60])
def test_no_to_the_question_changes_nothing(workshop: Workshop, columns: int) -> None:
    """Before it everything is shown that the answer needs, within the width of the terminal, without colour too."""
    ran = workshop.on_terminal(*URGENT, "billing", LONG_NAME, answers=["n\n"], columns=columns, NO_COLOR="1")
    assert ran.code == 1
    for words in (
        "billing  active token",
        "readers hold",
        workshop.projects[0],
        "exposed about",
        "not possible here",
        LONG_NAME,
        "Kill these 2 tokens and replace them now? [y/N]",
        "Nothing was changed.",
    ):
        assert words in ran.out
    assert "\x1b" not in ran.out
    shown = ran.out.partition("in all")[0]
    assert max(len(line) for line in shown.splitlines() if LONG_NAME not in line) <= columns
    assert mints(workshop) == [0, 0, 0]


def test_kill_only_asks_twice(workshop: Workshop) -> None:
    """Yes to the first question and no to the second: nothing is killed."""
    ran = workshop.on_terminal(*URGENT, "billing", "--kill-only", answers=["y\n", "n\n"], NO_COLOR="1")
    assert ran.code == 1
    assert "Kill this token now? [y/N]" in ran.out
    assert "mail of billing stops" in ran.out
    assert "Really only kill? [y/N]" in ran.out
    assert mints(workshop) == [0, 0, 0]


def test_a_leaked_token_is_asked_about_on_the_terminal(workshop: Workshop) -> None:
    """Standard input carries the token, so the question goes to the terminal itself; no means no."""
    token = workshop.tokens[2].reveal()
    ran = workshop.on_terminal(*URGENT, "--leaked-stdin", piped=f"{token}\n", answers=["n\n"], NO_COLOR="1")
    assert ran.code == 1
    assert "The token is the active one of newsletter: file " in ran.out
    assert "Kill this token and replace it now? [y/N]" in ran.out
    assert token not in ran.out
    assert mints(workshop) == [0, 0, 0]


def test_a_leaked_token_typed_at_the_terminal_is_not_shown(workshop: Workshop) -> None:
    """Typed where nobody sees it, then the question, both on the terminal."""
    token = workshop.tokens[0].reveal()
    ran = workshop.on_terminal(*URGENT, "--leaked-stdin", answers=[f"{token}\n", "n\n"], NO_COLOR="1")
    assert ran.code == 1
    assert "Token (it is not shown): " in ran.out
    assert "The token is the active one of billing" in ran.out
    assert token not in ran.out


def test_without_a_terminal_a_leaked_token_is_not_even_read(workshop: Workshop) -> None:
    """Nobody could answer: exit 2 before anything is looked for."""
    ran = workshop.process(*URGENT, "--leaked-stdin", stdin=workshop.tokens[0].reveal())
    assert (ran.code, ran.out) == (2, "")
    assert "nobody can be asked" in ran.err
    assert workshop.simulator.events == ()


def test_a_token_that_nobody_knows(rotator: Rotator, workshop: Workshop) -> None:
    """Exit 1, with what to do; the same for one of a policy that was not selected."""
    stranger = rotator(*URGENT, "--leaked-stdin", "--yes", stdin="lm_" + "D4" * 16)
    assert (stranger.code, stranger.out) == (1, "")
    assert "No policy that was searched knows this token" in stranger.err
    unselected = rotator(*URGENT, "billing", "--leaked-stdin", "--yes", stdin=workshop.tokens[2].reveal())
    assert unselected.code == 1
    assert "it is alive" in unselected.err
    team = rotator(*URGENT, "--leaked-stdin", "--yes", stdin=workshop.team_token.reveal())
    assert team.code == 1
    assert "make another team token" in team.err
    for ran in (stranger, unselected, team):
        assert workshop.tokens[2].reveal() not in ran.err
        assert workshop.team_token.reveal() not in ran.err
    assert mints(workshop) == [0, 0, 0]


def test_a_token_that_is_dead_already_costs_nothing(rotator: Rotator, workshop: Workshop) -> None:
    """It is said to be dead, and since when; exit 0, and nothing is rotated."""
    rotator("rotate", "newsletter", "--yes")
    ran = rotator(*URGENT, "--leaked-stdin", "--yes", stdin=workshop.tokens[2].reveal())
    assert ran.code == 0
    assert "It is dead already: Lettermint refuses it (401). It was first seen dead 20" in ran.err
    assert ran.rotations == []
    assert ran.json["report"]["all_dead"] is True
    assert ran.json["report"]["policy"] == "newsletter"
    assert ran.json["report"]["dead_since"] is not None
    assert mints(workshop) == [0, 0, 1]


def test_a_store_that_cannot_be_read_is_named(rotator: Rotator, workshop: Workshop) -> None:
    """The token is found elsewhere all the same."""
    workshop.secret("billing.json", "{not json")
    ran = rotator(*URGENT, "--leaked-stdin", "--dry-run", "-o", "json", stdin=workshop.tokens[2].reveal())
    assert ran.code == 0
    assert "billing: file:" in ran.err
    assert "could not be searched" in ran.err
    assert [one["policy"] for one in ran.json["emergency"]] == ["newsletter"]


def test_a_journal_that_cannot_be_opened_is_refused_with_the_way_out(
    rotator: Rotator, workshop: Workshop
) -> None:
    """Not a journal at all: exit 2, and the remedy names --no-journal."""
    (workshop.folder / "broken.db").write_text("this is no database, and long enough to be seen as none" * 20)
    ran = rotator(*URGENT, "billing", "--yes", ROTATOR_JOURNAL=f"sqlite:///{workshop.folder}/broken.db")
    assert (ran.code, ran.out) == (2, "")
    assert "--no-journal" in ran.err
    assert mints(workshop) == [0, 0, 0]


def test_a_lost_audit_key_is_refused_with_the_way_out(rotator: Rotator, workshop: Workshop) -> None:
    """The journal is there and its key is gone: exit 2, and the remedy names --no-journal too."""
    rotator("rotate", "newsletter", "--yes")
    (workshop.folder / ".rotator/audit.key").unlink()
    ran = rotator(*URGENT, "billing", "--yes")
    assert ran.code == 2
    assert "--no-journal" in ran.err
    assert mints(workshop) == [0, 0, 1]


def test_many_policies_are_shown_as_a_table(rotator: Rotator, workshop: Workshop) -> None:
    """More than three: one line each, both orders summed up, within 80 columns."""
    more = [workshop.simulator.add_project(f"p{n}", team=workshop.team_token) for n in range(3)]
    extra = ""
    for number, (project, token) in enumerate(more):
        workshop.secret(f"p{number}", token.reveal())
        extra += f"""\
  - name: shop-{number}
    project: {project}
    strategy: in-place
    destinations: [{{type: file, path: ../secrets/p{number}}}]
"""
    workshop.write_policies(extra=extra)
    ran = rotator(*URGENT, "--all", "--dry-run", "-o", "table", ROTATOR_ROTATE_LIMIT="2")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= 80
    lines = ran.out.splitlines()
    assert lines[0].split() == ["policy", "first", "exposed", "outage", "stores", "last", "used"]
    assert [line.split()[2] for line in lines[1:9] if " kill " in line] == [
        "5s",
        "5s",
        "1m",
        "1m",
        "2m",
        "2m",
    ]
    assert "6 of 6 can: exposed up to about 2m 5s; outage not known for 6" in ran.out
    assert json.loads(rotator(*URGENT, "--all", "--dry-run").out)["summary"]["count"] == 6


def test_yes_to_the_question_kills_and_reports(workshop: Workshop) -> None:
    """Answered with y on a terminal: the leaked token is dead, readers hold another one, and the report says both."""
    ran = workshop.on_terminal(*URGENT, "billing", answers=["y\n"], NO_COLOR="1")
    assert ran.code == 0, ran.out
    assert ran.out.count("[y/N]") == 1
    assert "1 of 1 leaked token proved dead" in ran.out
    assert not workshop.simulator.is_alive(workshop.tokens[0])
    stored = json.loads((workshop.folder / "secrets/billing.json").read_text(encoding="utf-8"))
    assert workshop.simulator.is_alive(Secret(stored[KEY]))
    assert stored["other"] == "kept"
    assert mints(workshop) == [1, 0, 0]


def test_yes_on_the_terminal_while_standard_input_carries_the_token(workshop: Workshop) -> None:
    """The pipe brings the token, the terminal the answer: that token dies and no other."""
    token = workshop.tokens[2]
    ran = workshop.on_terminal(
        *URGENT, "--leaked-stdin", piped=f"{token.reveal()}\n", answers=["y\n"], NO_COLOR="1"
    )
    assert ran.code == 0, ran.out
    assert "The token is the active one of newsletter: file " in ran.out
    assert "1 of 1 leaked token proved dead" in ran.out
    assert token.reveal() not in ran.out
    assert [workshop.simulator.is_alive(one) for one in workshop.tokens] == [True, True, False]
    assert workshop.simulator.is_alive(Secret((workshop.folder / "secrets/newsletter").read_text("utf-8")))


def test_ctrl_c_while_standard_input_carries_the_token(workshop: Workshop) -> None:
    """Nothing was begun: 130, on a line of its own, and every token lives."""
    ran = workshop.on_terminal(
        *URGENT, "--leaked-stdin", piped=f"{workshop.tokens[2].reveal()}\n", answers=["\x03"], NO_COLOR="1"
    )
    assert ran.code == 130
    assert ran.out.endswith("[y/N] ^C\n")
    assert all(workshop.simulator.is_alive(one) for one in workshop.tokens)


def test_yes_twice_only_kills(workshop: Workshop) -> None:
    """Both questions answered with y: the token is dead, nothing is published, exit 4, and `run` is named."""
    ran = workshop.on_terminal(*URGENT, "billing", "--kill-only", answers=["y\n", "y\n"], NO_COLOR="1")
    assert ran.code == 4, ran.out
    assert "`rotator run`" in ran.out
    assert not workshop.simulator.is_alive(workshop.tokens[0])
    assert mints(workshop) == [1, 0, 0]


@pytest.mark.parametrize("answer", ["", "\x04", "yeah\n", "Y es\n"])
def test_anything_but_yes_is_no(workshop: Workshop, answer: str) -> None:
    """An empty line, the end of input, and whatever else a hurried person types change nothing."""
    ran = workshop.on_terminal(*URGENT, "billing", answers=[answer or "\n"], NO_COLOR="1")
    assert ran.code == 1, ran.out
    assert "Nothing was changed." in ran.out
    assert mints(workshop) == [0, 0, 0]


def test_audit_events_stay_whole_beside_the_progress(workshop: Workshop) -> None:
    """An audit log that takes no line: on a terminal, too, each event is one line that a program can read back."""
    ran = workshop.on_terminal(
        *URGENT, "billing", answers=["y\n"], NO_COLOR="1", ROTATOR_AUDIT_LOG=str(workshop.folder)
    )
    assert ran.code == 4, ran.out
    lines = [line.partition("audit-event: ")[2] for line in ran.out.splitlines() if "audit-event: {" in line]
    events = [json.loads(line)["event"] for line in lines]
    assert "mint.token.intent" in events
    assert "mint.token.outcome" in events


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}], ids=["without colour", "in colour"])
def test_progress_keeps_within_the_terminal(workshop: Workshop, environment: dict[str, str]) -> None:
    """How many are at work is never cut off, and no line of it is longer than the terminal is wide."""
    ran = workshop.on_terminal(*URGENT, "--all", answers=["y\n"], ROTATOR_ROTATE_LIMIT="50", **environment)
    assert ran.code == 0, ran.out
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.out.partition("[y/N] y")[2].partition("policy  ")[0])
    lines = re.split(r"[\r\n]+", drawn)
    totals = [line.strip() for line in lines if line.startswith("in all")]
    assert totals
    for line in totals:
        counts, _, end = line.partition("; ")
        assert re.fullmatch(r"in all  \d (ended|at work|waiting)(, \d (at work|waiting))*", counts), line
        assert re.fullmatch(r"all ended about [\d:]{8} UTC", end), line
    progress = [line for line in lines if "ends " in line or line.startswith("in all")]
    assert max(map(len, progress)) <= 80
