"""What people type while two tokens live side by side: stage, retire, rollback, reconcile --active."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from rotator.secret import Secret
from tests.cli.workshop import KEY, PATIENCE, Ran, Workshop, ended, said
from tests.crash.harness import Child

Rotator = Callable[..., Ran]
SHORT = "drain: {min: 1s, quiet: 1s, max: 1h}"
LONG = "drain: {min: 1h, quiet: 1h, max: 1d}"


def write(workshop: Workshop, text: str) -> None:
    """One policy `billing`; its second project, where it has one, is that of `newsletter`."""
    (workshop.policies / "mail.yaml").write_text(
        f"""\
policies:
  - name: billing
    project: {workshop.projects[0]}
    schedule: {{every: 30d}}
    destinations:
      - {{type: file, path: ../secrets/billing.json, format: json, key: {KEY}}}
{text}""",
        encoding="utf-8",
    )


def write_pair(workshop: Workshop, drain: str = LONG) -> None:
    write(
        workshop,
        f"    strategy: create-before-revoke\n    standby: {{project: {workshop.projects[2]}}}\n    {drain}\n",
    )


def write_assisted(workshop: Workshop, drain: str = SHORT) -> None:
    write(workshop, f"    strategy: assisted\n    {drain}\n")


def stored(workshop: Workshop) -> str:
    document = json.loads((workshop.folder / "secrets" / "billing.json").read_text(encoding="utf-8"))
    return str(document[KEY])


def draining(workshop: Workshop, rotator: Rotator) -> None:
    """A rotation of the pair that rests in its drain; `--active` says whose the token is."""
    write_pair(workshop)
    assert rotator("reconcile", "billing", "--active", workshop.projects[0]).code == 0
    begun = rotator("rotate", "billing", "--yes", "--no-wait", "-o", "json")
    assert (begun.code, begun.rotations[0]["state"]) == (0, "draining"), begun.err


def staging(workshop: Workshop) -> Child:
    """`rotator stage` as a process that waits for its old token to be revoked."""
    made = workshop.simulator.add_token(workshop.projects[0])
    child = said(workshop.start("stage", "billing", stdin=made.reveal()), "revoke the older token of project")
    assert stored(workshop) == made.reveal()
    return child


def test_active_side_is_named_by_a_person(workshop: Workshop, rotator: Rotator) -> None:
    """Nothing shows whose token it is: refused until --active says it, then the other project is minted in."""
    write_pair(workshop)
    refused = rotator("rotate", "billing", "--yes", "--no-wait")
    assert refused.code == 4
    assert "--active" in refused.out
    named = rotator("reconcile", "billing", "--active", workshop.projects[0], "-o", "json")
    assert f"is that of project {workshop.projects[0]}" in named.err
    assert rotator("rotate", "billing", "--yes", "--no-wait").code == 0
    assert len(workshop.simulator.mints(workshop.projects[2])) == 1
    assert workshop.simulator.is_alive(workshop.tokens[0])


def test_active_side_must_be_one_of_the_policy(workshop: Workshop, rotator: Rotator) -> None:
    """A project that the policy does not name is refused, exit 1, and nothing is written down."""
    write_pair(workshop)
    refused = rotator("reconcile", "billing", "--active", workshop.projects[1])
    assert refused.code == 1
    assert workshop.projects[2] in refused.err


def test_what_a_drain_waits_for_is_shown(workshop: Workshop, rotator: Rotator) -> None:
    """`status` says when it ends, when at the latest, who used the old token last, and how to end it or go back;
    `plan` does not say that it goes on now."""
    draining(workshop, rotator)
    workshop.simulator.use(workshop.projects[0], ip="203.0.113.9")
    assert rotator("run").code == 0
    shown = " ".join(rotator("status", "billing", "-o", "table").out.split())
    for part in (
        "billing draining",
        "if the outgoing token stays unused",
        "in 59m",
        "then it holds",
        "203.0.113.9",
    ):
        assert part in shown, (part, shown)
    assert "`rotator retire billing`" in shown
    assert "`rotator rollback billing`" in shown
    planned = " ".join(rotator("plan", "billing", "-o", "table").out.split())
    assert "goes on" in planned
    assert "Nothing rotates now" in planned


def test_waiting_says_a_thing_once(workshop: Workshop, rotator: Rotator) -> None:
    """No line of a drain that is waited for stands twice, and the end tells how long both tokens lived."""
    write_pair(workshop, SHORT)
    assert rotator("reconcile", "billing", "--active", workshop.projects[0]).code == 0
    ran = rotator("rotate", "billing", "--yes", "-o", "table")
    assert ran.code == 0, ran.err
    lines = ran.err.splitlines()
    assert all(one != two for one, two in pairwise(lines)), lines
    assert "readers held a living token throughout, both tokens for" in " ".join(ran.out.split())


def test_retire_is_refused_while_the_token_is_in_use(workshop: Workshop, rotator: Rotator) -> None:
    """Exit 1 with the address and what to type; the token lives, and `--force` ends it."""
    draining(workshop, rotator)
    workshop.simulator.use(workshop.projects[0], ip="203.0.113.9")
    refused = rotator("retire", "billing")
    assert refused.code == 1
    assert "203.0.113.9" in refused.err
    assert "rotator retire billing --force" in refused.err
    assert workshop.simulator.is_alive(workshop.tokens[0])
    forced = rotator("retire", "billing", "--force", "-o", "json")
    assert (forced.code, forced.rotations[0]["state"]) == (0, "completed"), forced.err
    assert forced.rotations[0]["drain"]["result"] == "forced"
    assert not workshop.simulator.is_alive(workshop.tokens[0])


def test_retire_without_force_ends_a_quiet_drain(workshop: Workshop, rotator: Rotator) -> None:
    """Before its shortest time, once the token was unused for `quiet`."""
    write_pair(workshop, "drain: {min: 1h, quiet: 1s, max: 1d}")
    assert rotator("reconcile", "billing", "--active", workshop.projects[0]).code == 0
    assert rotator("rotate", "billing", "--yes", "--no-wait").code == 0
    ended = time.monotonic() + PATIENCE
    while (retired := rotator("retire", "billing", "-o", "json")).code == 1:
        assert time.monotonic() < ended, retired.err
        time.sleep(0.3)
    assert (retired.code, retired.rotations[0]["state"]) == (0, "completed"), retired.err
    assert not workshop.simulator.is_alive(workshop.tokens[0])


@pytest.mark.parametrize("command", ["retire", "rollback"])
def test_nothing_open_is_refused(workshop: Workshop, rotator: Rotator, command: str) -> None:
    """Exit 1, and no journal is needed to say so."""
    write_pair(workshop)
    assert rotator(command, "billing").code == 1
    assert workshop.simulator.is_alive(workshop.tokens[0])


def test_held_policy_can_be_rolled_back_and_not_retired(workshop: Workshop, rotator: Rotator) -> None:
    """Frozen first, then undone: retire says held (5), rollback gives the former token back (1, as failed), and what
    was given up is killed after its release."""
    draining(workshop, rotator)
    assert rotator("hold", "billing").code == 0
    assert rotator("retire", "billing", "--force").code == 5
    undone = rotator("rollback", "billing", "-o", "json")
    assert (undone.code, undone.rotations[0]["state"]) == (1, "draining"), undone.err
    assert stored(workshop) == workshop.tokens[0].reveal()
    assert rotator("retire", "billing", "--force").code == 5
    assert rotator("release", "billing").code == 0
    killed = rotator("retire", "billing", "--force", "-o", "json")
    assert (killed.code, killed.rotations[0]["state"]) == (1, "failed"), killed.err
    assert stored(workshop) == workshop.tokens[0].reveal()


@pytest.mark.parametrize("taken_back", [True, False])
def test_leaked_new_token_of_a_drain_is_reported_dead(
    workshop: Workshop, rotator: Rotator, *, taken_back: bool
) -> None:
    """Handed in while it serves readers, or after a rollback: readers have the outgoing one, and the report is about
    the token that leaked, with its exposure."""
    draining(workshop, rotator)
    leaked = stored(workshop)
    if taken_back:
        assert rotator("rollback", "billing").code == 1
    options = () if taken_back else ("--drain", "1s")
    ran = rotator(
        *("rotate", "--emergency", "--reason", "leaked", "--leaked-stdin", "--yes", "-o", "json", *options),
        stdin=leaked,
    )
    assert ran.code == 0, ran.err
    report, (rotation,) = json.loads(ran.out)["report"], ran.rotations
    assert (report["all_dead"], report["not_done"]) == (True, [])
    assert report["longest_exposure_seconds"]["max"] > 0
    assert rotation["state"] == "failed"
    assert not workshop.simulator.is_alive(Secret(leaked))
    assert stored(workshop) == workshop.tokens[0].reveal()
    assert "leaked token dead" in ran.err


def test_stage_watches_until_the_former_token_is_dead(workshop: Workshop) -> None:
    """It says which token to revoke, and ends with 0 once that is done."""
    write_assisted(workshop)
    child = staging(workshop)
    assert workshop.simulator.is_alive(workshop.tokens[0])
    workshop.simulator.revoke(workshop.tokens[0])
    staged = ended(child)
    assert staged.code == 0, staged.err
    assert staged.rotations[0]["old_token_dead"] is True


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_stage_that_is_stopped_while_it_watches_is_gone_on_with_by_run(
    workshop: Workshop, number: signal.Signals, code: int
) -> None:
    """Ctrl-C, a service manager, a terminal that goes away: nothing is lost, the next `run` sees the revocation."""
    write_assisted(workshop)
    child = staging(workshop)
    child.signal(number)
    stopped = ended(child)
    assert stopped.code == code, stopped.err
    assert workshop.process("run").code == 4
    workshop.simulator.revoke(workshop.tokens[0])
    ran = workshop.process("run", "-o", "json")
    assert (ran.code, ran.rotations[0]["state"]) == (0, "completed"), ran.err


def test_stage_does_not_wait_where_it_is_told_so(workshop: Workshop, rotator: Rotator) -> None:
    """`--no-wait` returns with the drain, exit 0; no token on standard input is a usage error."""
    write_assisted(workshop, LONG)
    assert rotator("stage", "billing", stdin="").code == 2
    made = workshop.simulator.add_token(workshop.projects[0])
    staged = rotator("stage", "billing", "--no-wait", "-o", "json", stdin=f"{made.reveal()}\n")
    assert (staged.code, staged.rotations[0]["state"]) == (0, "draining"), staged.err
    assert stored(workshop) == made.reveal()
