"""Puts the verbs together, runs one, and turns every error into lines and an exit code."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
import typer.main

from rotator import __version__
from rotator.cli import (
    audit,
    demo,
    doctor,
    history,
    hold,
    plan,
    reconcile,
    rehearse,
    retire,
    rollback,
    rotate,
    schema,
    serve,
    signals,
    stage,
    status,
    validate,
    verify,
)
from rotator.cli import (
    run as run_verb,
)
from rotator.cli.flags import FLAGS, takes_flags, verb
from rotator.cli.output import CurrentStderr, emit, say, say_error
from rotator.errors import RotatorError, exit_code_of

log = logging.getLogger(__name__)

_OVERVIEW = """Rotates Lettermint project API tokens: mints a new one, writes it to its stores, proves that
it works and that the old one is dead, and keeps an audit trail."""


class _Root(typer.core.TyperGroup):
    """Lists the commands first, then the settings apart from the options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        settings = {flag.option for flag in FLAGS}
        options: dict[str, list[tuple[str, str]]] = {"Options": [], "Settings [variable; default]": []}
        for parameter in self.get_params(ctx):
            shown = parameter.get_help_record(ctx)
            if shown is not None:
                is_setting = bool(settings.intersection(parameter.opts))
                options["Settings [variable; default]" if is_setting else "Options"].append(shown)
        for heading, rows in options.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def application() -> typer.Typer:
    """All commands. Help is plain text: rich's would take longer to load than most commands run."""
    app = typer.Typer(
        name="rotator",
        cls=_Root,
        help=_OVERVIEW,
        epilog="Exit codes: 0 done or nothing due, 1 failed or refused, 2 usage, settings or policies "
        "invalid, 3 several outcomes, 4 needs attention, 5 held or busy, 6 unreachable, safe to repeat, "
        "130 and 143 interrupted, resumable.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(invoke_without_command=True)(takes_flags(_root))
    verb(app, "demo")(demo.demo)
    verb(app, "validate")(validate.validate)
    verb(app, "doctor")(doctor.doctor)
    verb(app, "plan")(plan.plan)
    verb(app, "run")(run_verb.run)
    verb(app, "rotate")(rotate.rotate)
    verb(app, "rehearse")(rehearse.rehearse)
    verb(app, "stage")(stage.stage)
    verb(app, "serve")(serve.serve)
    verb(app, "status")(status.status)
    verb(app, "history")(history.history)
    verb(app, "verify")(verify.verify)
    verb(app, "reconcile")(reconcile.reconcile)
    verb(app, "rollback")(rollback.rollback)
    verb(app, "retire")(retire.retire)
    verb(app, "hold")(hold.hold)
    verb(app, "release")(hold.release)
    trail = typer.Typer(help="Check and search the audit trail.", no_args_is_help=True, rich_markup_mode=None)
    verb(trail, "verify")(audit.verify)
    verb(trail, "search")(audit.search)
    verb(trail, "tail")(audit.tail)
    verb(trail, "export")(audit.export)
    app.add_typer(trail, name="audit")
    verb(app, "schema")(schema.schema)
    return app


@functools.cache
def command() -> Any:
    """All commands, ready to parse what was typed. Made once: it takes longer than many commands run."""
    return typer.main.get_command(application())


def run() -> NoReturn:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs one command; its exit code. Nothing but SystemExit comes out of it."""
    signals.exit_when_terminated()
    try:
        # Not `app()`: that would replace the hook which logs uncaught exceptions.
        code = command().main(args=list(arguments), prog_name="rotator", standalone_mode=False)
    except RotatorError as error:
        say_error(error)
        return exit_code_of(error)
    except typer.TyperException as error:
        return _usage(error)
    except typer.Abort:
        say("error: The input ended before the question was answered.\n then: Nothing was done.")
        return 2
    except Exception as error:  # noqa: BLE001  # the last place; nothing may leave unscrubbed
        _log_traceback(error)
        say(
            f"error: rotator stopped at an unexpected {type(error).__name__}; the log above has the traceback."
        )
        say("   do: Please report it; what was begun is in the journal, and `rotator run` takes it up.")
        return 1
    return int(code or 0)


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="show the version and exit")] = False,
) -> None:
    if version:
        emit(f"rotator {__version__}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(2)


def _usage(error: typer.TyperException) -> int:
    """A wrong command line. What was typed is repeated, scrubbed: it may be a token in the wrong place."""
    context = getattr(error, "ctx", None)
    text = error.format_message().strip()
    if "\n" in text:  # the help of a group that was called without a command
        say(text)
    else:
        say(f"error: {text}")
        say(" then: Nothing was done.")
        if context is not None:
            say(f"   do: `{context.command_path} --help` tells what is accepted.")
    return error.exit_code


def _log_traceback(error: Exception) -> None:
    from rotator import logs  # noqa: PLC0415  # only a command that came to its settings has loaded it

    if not logging.getLogger().handlers:
        logs.configure("info", "console" if sys.stderr.isatty() else "json", CurrentStderr())  # type: ignore[arg-type]  # it has what a log needs of a stream
    log.error("unexpected error", exc_info=error)
