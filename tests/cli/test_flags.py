"""Settings as flags: where they are accepted, which one wins, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.workshop import Ran, Workshop

Rotator = Callable[..., Ran]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--policies", "nowhere", "validate"),
        ("validate", "--policies", "nowhere"),
        ("--policies", "policies", "validate", "--policies", "nowhere"),
    ],
)
def test_a_setting_stands_before_or_after_the_verb(rotator: Rotator, arguments: tuple[str, ...]) -> None:
    """Both places are accepted, and what comes later wins."""
    assert rotator(*arguments).json["problems"][0]["file"] == "nowhere"


def test_flag_beats_environment_beats_file(rotator: Rotator, workshop: Workshop) -> None:
    """A flag wins over the variable, the variable over the TOML file, and that over the default."""
    (workshop.folder / "settings.toml").write_text('policies = "from-file"\n', encoding="utf-8")
    config = ("--config", "settings.toml")

    def checked(*arguments: str, **environment: str) -> str:
        return rotator(*arguments, **environment).json["problems"][0]["file"]

    assert checked("validate", *config) == "from-file"
    assert checked(*config, "validate", ROTATOR_POLICIES="from-env") == "from-env"
    given = checked("validate", *config, "--policies", "from-flag", ROTATOR_POLICIES="from-env")
    assert given == "from-flag"
    assert rotator("validate").json == {"problems": []}


def test_the_form_of_output_stands_before_or_after_the_verb(rotator: Rotator) -> None:
    """`-o` is accepted in both places; without it and without a terminal it is JSON."""
    assert rotator("-o", "table", "validate").out == ""
    assert rotator("validate", "-o", "table").out == ""
    assert rotator("-o", "table", "validate", "-o", "json").json == {"problems": []}
    assert rotator("validate").json == {"problems": []}


def test_nested_verbs_take_settings_too(rotator: Rotator, workshop: Workshop) -> None:
    """`rotator --audit-log X audit tail` and `rotator audit tail --audit-log X` are the same."""
    before = rotator("--audit-log", "here.jsonl", "audit", "tail")
    after = rotator("audit", "tail", "--audit-log", "here.jsonl")
    assert before.err == after.err == "The audit log here.jsonl has no events.\n"


def test_a_password_in_a_flag_is_refused(rotator: Rotator) -> None:
    """A journal with a password is refused as a flag, not repeated, and the way out is named."""
    secret = "hunter2-" + "x" * 12
    for url in (f"postgresql://me:{secret}@db/journal", f"postgresql://db/journal?password={secret}"):
        ran = rotator("status", "--journal", url)
        assert (ran.code, ran.out) == (2, "")
        assert "ROTATOR_JOURNAL_FILE" in ran.err
        assert secret not in ran.err


def test_settings_that_are_wrong_are_told_at_once(rotator: Rotator) -> None:
    """Every wrong setting is named in one run, by a name that is accepted as a flag."""
    ran = rotator("status", "--lease", "0s", "--api-url", "ftp://x", "--log-level", "loud")
    assert ran.code == 2
    assert "3 problems in the settings" in ran.err
    named = [line.split()[0] for line in ran.err.splitlines() if line.startswith("  --")]
    assert named == ["--lease", "--api-url", "--log-level"]
    again = rotator("status", "--api-url", "ftp://x")
    assert "1 problem in the settings" in again.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("rotate", "--urgent", "--reason", "leak"),
        ("retire", "billing", "--now"),
        ("staus",),
        ("hold",),
        ("status", "-o", "xml"),
        ("history", "--limit", "0"),
        ("audit", "tail", "-n", "none"),
        ("validate", "--team-token", "x"),
    ],
)
def test_usage_errors_exit_2_and_print_no_data(rotator: Rotator, arguments: tuple[str, ...]) -> None:
    """A wrong command line is exit 2, says how to get help, and leaves standard output empty."""
    ran = rotator(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert "--help` tells what is accepted." in ran.err
    assert "Traceback" not in ran.err


def test_a_mistyped_verb_gets_a_suggestion(rotator: Rotator) -> None:
    """A verb that is nearly right is named."""
    assert "Did you mean 'status'?" in rotator("statsu").err


def test_a_token_in_the_wrong_place_is_not_repeated(rotator: Rotator) -> None:
    """What was typed is part of many messages; a token among it is masked."""
    token = "lm_" + "Q7" * 16
    for arguments in (("rotate", token), ("hold", token), ("status", "-o", token), (token,), ("run", token)):
        ran = rotator(*arguments)
        assert ran.code == 2
        assert token not in ran.err + ran.out
        assert "[secret]" in ran.err
