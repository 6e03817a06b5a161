"""The settings that every command accepts as flags, before and after its name, and `-o`.

`verb` turns a function that takes a Session and its own options into a command that has these as well.
What is said after the name wins.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from rotator.cli.output import Format
from rotator.cli.session import Session

_META: Final = "rotator.flags"


@dataclass(frozen=True)
class Flag:
    """One setting as a flag. `name` is the setting's name (`settings.VARIABLES`), or `config`."""

    name: str
    option: str
    metavar: str
    help: str

    @property
    def destination(self) -> str:
        """The parameter's name; a verb may have one called like the setting."""
        return f"setting_{self.option[2:].replace('-', '_')}"

    def parameter(self, *, hidden: bool) -> inspect.Parameter:
        info = typer.Option(self.option, metavar=self.metavar, help=self.help, hidden=hidden)
        return _parameter(self.destination, Annotated[str | None, info])


FLAGS: Final = (
    Flag("config", "--config", "FILE", "settings as TOML; no secrets in it"),
    Flag("policies", "--policies", "PATH", "file or folder of policies [ROTATOR_POLICIES; policies]"),
    Flag("journal", "--journal", "URL", "[ROTATOR_JOURNAL; sqlite:///.rotator/journal.db]"),
    Flag("audit_log", "--audit-log", "PATH", "[ROTATOR_AUDIT_LOG; .rotator/audit.jsonl]"),
    Flag("lettermint_api_url", "--api-url", "URL", "[LETTERMINT_API_URL; https://api.lettermint.co/v1]"),
    Flag("lettermint_smtp_url", "--smtp-url", "URL", "[LETTERMINT_SMTP_URL; smtps://smtp.lettermint.co:465]"),
    Flag("rotate_limit", "--rotate-limit", "N", "rotate-token calls in any 60 s [ROTATOR_ROTATE_LIMIT; 3]"),
    Flag("lease", "--lease", "TIME", "lease time [ROTATOR_LEASE; 15s]"),
    Flag("call_timeout", "--call-timeout", "TIME", "of one call of Lettermint [ROTATOR_CALL_TIMEOUT; 10s]"),
    Flag("log_level", "--log-level", "LEVEL", "debug, info, warning or error [ROTATOR_LOG_LEVEL; info]"),
    Flag(
        "log_format",
        "--log-format",
        "FORMAT",
        "json or console [ROTATOR_LOG_FORMAT; console on a terminal, else json]",
    ),
    Flag("grace", "--grace", "TIME", "that `serve` takes at most to stop [ROTATOR_GRACE; 25s]"),
    Flag("listen", "--listen", "ADDRESS", "of the HTTP port [ROTATOR_LISTEN; 127.0.0.1:8080]"),
)

_OUTPUT: Final = typer.Option(
    "-o", "--output", help="form of the data on standard output [table on a terminal, else json]"
)
OUTPUT: Final = Annotated[Format | None, _OUTPUT]

SETTINGS_ELSEWHERE: Final = "The settings that `rotator --help` lists are accepted here too."


def verb(app: typer.Typer, name: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Makes a function `(session, *, its own options) -> exit code` a command of `app`."""

    def register(function: Callable[..., int]) -> Callable[..., int]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        @functools.wraps(function)
        def called(context: typer.Context, **given: Any) -> int:
            remember(context, given)
            command = context.command_path
            chosen = {parameter.name: given[parameter.name] for parameter in own}
            with closing(_session(context, command)) as session:
                return function(session, **chosen)

        _sign(called, own, hidden=True)
        app.command(name, epilog=SETTINGS_ELSEWHERE)(called)
        return function

    return register


def takes_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the function of a group of commands the same flags; its own options come first."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    @functools.wraps(function)
    def called(context: typer.Context, **given: Any) -> Any:
        remember(context, given)
        return function(context, **{parameter.name: given[parameter.name] for parameter in own})

    _sign(called, own, hidden=False)
    return called


def remember(context: typer.Context, given: Mapping[str, Any]) -> None:
    """Keeps the flags that were given; those of a later word replace those of an earlier one."""
    kept = context.meta.setdefault(_META, {})
    for flag in FLAGS:
        value = given.get(flag.destination)
        if value is not None:
            kept[flag.name] = value
    if given.get("output") is not None:
        kept["output"] = given["output"]


def _session(context: typer.Context, command: str) -> Session:
    kept = dict(context.meta.get(_META, {}))
    return Session(command=command, output=kept.pop("output", None), flags=kept)


def _sign(called: Callable[..., Any], own: Iterable[inspect.Parameter], *, hidden: bool) -> None:
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [
        context,
        *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
        _parameter("output", OUTPUT),
        *_parameters(hidden=hidden),
    ]
    # What Typer reads instead of the function's own.
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # PEP 362 allows it
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


@functools.cache
def _parameters(*, hidden: bool) -> tuple[inspect.Parameter, ...]:
    return tuple(flag.parameter(hidden=hidden) for flag in FLAGS)


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
