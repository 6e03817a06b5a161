"""Help, version and completion: complete, and without loading what they do not need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from rotator import __version__
from tests.cli.workshop import PATIENCE, ROOT, Ran, Workshop

VERBS = (
    "demo",
    "validate",
    "doctor",
    "plan",
    "rehearse",
    "run",
    "rotate",
    "status",
    "history",
    "verify",
    "reconcile",
    "hold",
    "release",
    "audit",
    "schema",
)
HEAVY = {"boto3", "botocore", "httpx", "hvac", "pydantic", "rich", "ruamel", "structlog", "sqlite3"}


def loaded_by(workshop: Workshop, *arguments: str) -> set[str]:
    """Top-level modules that a command loaded."""
    code = (
        "import sys; from rotator.cli.main import main; code = main(sys.argv[1:]);"
        "print('\\n' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=workshop.folder,
        env=workshop.environment,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


def test_help_lists_every_command_and_setting(rotator: Callable[..., Ran]) -> None:
    """`--help` names each verb, each setting with its variable, and the exit codes."""
    shown = rotator("--help")
    assert shown.code == 0
    lines = shown.out.splitlines()
    for name in VERBS:
        assert any(line.startswith(f"  {name} ") for line in lines), name
    for setting in ("--policies PATH", "--rotate-limit N", "ROTATOR_AUDIT_LOG", "LETTERMINT_SMTP_URL"):
        assert setting in shown.out
    assert "Exit codes: 0 done" in shown.out
    assert shown.err == ""


def test_help_fits_a_terminal(rotator: Callable[..., Ran]) -> None:
    """No line of any help is longer than 80 columns, and no command's line is cut short."""
    for arguments in [[], *([verb] for verb in VERBS), ["audit", "search"]]:
        shown = rotator(*arguments, "--help")
        assert shown.code == 0
        assert max(map(len, shown.out.splitlines())) <= 80, arguments
        assert "..." not in shown.out.partition("Options:")[0].partition("Commands:")[2]


def test_help_of_a_verb_keeps_settings_out(rotator: Callable[..., Ran]) -> None:
    """A verb's help shows its own options and says where the settings are."""
    shown = rotator("rotate", "--help")
    for option in ("-l, --label", "--all", "--reason", "--yes", "--dry-run", "--no-wait", "-o, --output"):
        assert option in shown.out
    assert "--journal" not in shown.out
    assert "The settings that `rotator --help` lists are accepted here too." in shown.out


def test_help_loads_nothing_heavy(workshop: Workshop) -> None:
    """`--help` imports no library but the one that parses arguments, with what that needs, and few modules."""
    loaded = loaded_by(workshop, "--help")
    assert loaded & HEAVY == set()
    # A distribution may have a module of its own in every Python that starts.
    known = sys.stdlib_module_names | {"sitecustomize"}
    foreign = {name for name in loaded - known if not name.startswith("_")}
    assert foreign == {"rotator", "typer", "shellingham", "annotated_doc"}
    assert len(loaded) < 150


def test_status_loads_no_client_of_the_outside(workshop: Workshop) -> None:
    """`status` reads the journal and needs neither httpx nor boto3."""
    workshop.process("status", "--refresh")
    assert loaded_by(workshop, "status") & {"boto3", "botocore", "httpx", "hvac"} == set()


def test_version(rotator: Callable[..., Ran]) -> None:
    """`--version` prints name and version on standard output."""
    shown = rotator("--version")
    assert (shown.code, shown.out, shown.err) == (0, f"rotator {__version__}\n", "")


def test_no_command_shows_help_as_an_error(rotator: Callable[..., Ran]) -> None:
    """Without a command the help goes to standard error, with exit code 2."""
    for arguments in ([], ["audit"]):
        shown = rotator(*arguments)
        assert (shown.code, shown.out) == (2, "")
        assert "Commands:" in shown.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_verbs(workshop: Workshop, shell: str) -> None:
    """The completion that a shell asks for knows the verbs."""
    words = {"COMP_WORDS": "rotator st", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "rotator st"}
    asked = {**words, "_TYPER_COMPLETE_FISH_ACTION": "get-args", "_ROTATOR_COMPLETE": f"complete_{shell}"}
    assert "status" in workshop.from_scratch(**asked).communicate(timeout=PATIENCE)[0]


def test_the_console_script_is_the_same_program() -> None:
    """`python -m rotator` and the installed script both run `rotator.__main__.main`."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'rotator = "rotator.__main__:main"' in text
