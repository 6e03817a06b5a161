"""One exit code per kind of error, and what is said with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from rotator import errors
from rotator.cli import main, schema
from rotator.cli.output import say_error
from rotator.cli.session import Session
from rotator.errors import Busy, Refused
from tests.cli.workshop import LONG_NAME, Ran, Workshop

Rotator = Callable[..., Ran]

CODES = [
    (errors.RotatorError("x"), 1),
    (errors.InvalidInput("x"), 2),
    (errors.InvalidPolicies([errors.Problem("f", 1, "a", "b")]), 2),
    (errors.CredentialRejected("x"), 2),
    (errors.Refused("x"), 1),
    (errors.EndpointGone("x"), 4),
    (errors.Held("x"), 5),
    (errors.Busy("x"), 5),
    (errors.LeaseLost("x"), 5),
    (errors.Unreachable("x"), 6),
    (errors.RateLimited("x", retry_after=1), 6),
    (errors.UnclearOutcome("x"), 4),
    (errors.VersionConflict("x"), 1),
    (errors.JournalUnavailable("x"), 6),
    (errors.AuditUnavailable("x"), 6),
    (errors.NeedsAttention("unclear", "x"), 4),
    (errors.Interrupted(2), 130),
    (errors.Interrupted(15), 143),
    (KeyboardInterrupt(), 130),
]

FAILING_VERB = """
import sys
import rotator.cli.schema
from rotator import errors
from rotator.cli.session import Session

def failing(session: Session) -> int:
    hidden = "local-" + "value"
    raise {error}

rotator.cli.schema.schema = failing
from rotator.cli.main import main
sys.exit(main(["schema"]))
"""


def failing(workshop: Workshop, error: str) -> Ran:
    """A command whose work raises `error`, as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", FAILING_VERB.format(error=error)],
        capture_output=True,
        text=True,
        env=workshop.environment,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("error", "code"), CODES)
def test_each_error_has_its_exit_code(
    rotator: Rotator, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    """What a command raises decides its exit code; nothing is printed as data and no traceback shown."""

    def failing(session: Session) -> int:
        raise error

    monkeypatch.setattr(schema, "schema", failing)
    monkeypatch.setattr(main, "command", main.command.__wrapped__)  # it is made once, and then kept
    ran = rotator("schema")
    assert (ran.code, ran.out) == (code, "")
    assert "Traceback" not in ran.err


def test_an_unexpected_error_is_one_line_and_a_traceback_in_the_log(workshop: Workshop) -> None:
    """A bug is exit 1: its type on one line, the traceback as a log record, no secret and no locals."""
    token = "lm_" + "Z9" * 16
    ran = failing(workshop, f"ValueError('{token}')")
    assert (ran.code, ran.out) == (1, "")
    log, *lines = ran.err.splitlines()
    assert '"level": "error"' in log
    assert "Traceback" in log
    assert lines[0] == "error: rotator stopped at an unexpected ValueError; the log above has the traceback."
    assert token not in ran.err
    assert "local-value" not in ran.err


def test_an_error_says_what_happened_then_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Three aligned lines, each a sentence; parts that are missing leave no line."""
    say_error(Refused("It is shut", then="Nothing was changed", remedy="Open it"), about="billing")
    assert capsys.readouterr().err == (
        "error: billing: It is shut.\n then: Nothing was changed.\n   do: Open it.\n"
    )
    say_error(Busy("Somebody is at work."))
    assert capsys.readouterr().err == "error: Somebody is at work.\n"


def test_every_error_class_is_covered() -> None:
    """The table names each error of the tree, so that a new one is given a code on purpose."""
    tree = {errors.RotatorError}
    while grown := {sub for one in tree for sub in one.__subclasses__()} - tree:
        tree |= grown
    ours = {one.__name__ for one in tree if one.__module__ == "rotator.errors"}
    assert ours == {type(error).__name__ for error, _ in CODES} - {"KeyboardInterrupt"}


def test_an_unknown_policy_is_refused_with_a_suggestion(rotator: Rotator) -> None:
    """A name that is nearly right gets the right one, any other the list; exit 2 everywhere."""
    for verb in ("plan", "status", "verify", "reconcile", "hold", "release", "rotate", "history"):
        ran = rotator(verb, "bilings")
        assert (ran.code, ran.out) == (2, ""), verb
    assert "did you mean billing?" in rotator("status", "bilings").err
    far = rotator("status", "zzz").err
    assert f"Policies there are: billing, {LONG_NAME}, newsletter." in far


def test_no_team_token_is_exit_2(rotator: Rotator) -> None:
    """What needs the provider says so before it begins."""
    for arguments in (("run",), ("rotate", "--all", "--yes"), ("plan",), ("verify", "billing")):
        ran = rotator(*arguments, LETTERMINT_TEAM_TOKEN="")
        assert (ran.code, ran.out) == (2, ""), arguments
        assert "LETTERMINT_TEAM_TOKEN is not set" in ran.err


def test_a_refused_team_token_is_exit_2(rotator: Rotator) -> None:
    """Lettermint refuses the token: nothing was changed, exit 2."""
    ran = rotator("rotate", "billing", "--yes", LETTERMINT_TEAM_TOKEN="lm_team_" + "x" * 40)
    assert ran.code == 2
    assert ran.rotations[0]["state"] == "refused"


def test_an_unreachable_provider_is_exit_6(rotator: Rotator, workshop: Workshop) -> None:
    """Nobody answers: safe to repeat."""
    workshop.simulator.stop()
    ran = rotator("run")
    assert (ran.code, ran.rotations) == (6, [])
    assert "error: billing: " in ran.err
    assert rotator("plan", "billing").code == 6
    rotated = rotator("rotate", "billing", "--yes")
    assert rotated.code == 6
    assert rotated.rotations[0]["state"] == "failed"


def test_a_held_policy_is_exit_5(rotator: Rotator) -> None:
    """`rotate` of a held policy prints no rotation, says who held it and how to go on."""
    assert rotator("hold", "billing", "--reason", "audit week").json == {"policy": "billing", "held": True}
    ran = rotator("rotate", "billing", "--yes")
    assert (ran.code, ran.rotations) == (5, [])
    assert "(audit week)" in ran.err
    assert "`rotator release billing`" in ran.err


def test_several_outcomes_are_exit_3(rotator: Rotator) -> None:
    """One policy held and one rotated is neither success nor failure."""
    rotator("hold", "billing")
    ran = rotator("rotate", "billing", "newsletter", "--yes")
    assert ran.code == 3
    assert [(one["policy"], one["state"]) for one in ran.rotations] == [("newsletter", "completed")]


def test_needs_attention_is_exit_4(rotator: Rotator, workshop: Workshop) -> None:
    """A dead token in the store: `run` raises it, and `status` repeats it until it is mended."""
    rotator("status", "--refresh")
    workshop.simulator.revoke(workshop.tokens[2])
    assert rotator("verify", "newsletter").code == 4
    status = rotator("status", "newsletter")
    assert status.code == 4
    assert status.json["policies"][0]["attention"][0]["code"] == "verification-failed"
    assert rotator("status", "billing").code == 0
    assert rotator("rotate", "newsletter", "--yes").code == 0
    assert rotator("verify", "newsletter").code == 0
    assert rotator("status").code == 0
