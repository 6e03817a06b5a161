"""The one chain that every log record goes through, ours and the libraries'.

What leaks by default, and is closed here: tracebacks with local variables, libraries that log request
bodies and URLs at DEBUG or INFO, a record whose arguments do not fit its message, warnings, and
exceptions that nobody caught. Whatever else a message holds passes the scrubber, piece by piece and
once more as the finished line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from rotator.clock import Clock, SystemClock, rfc3339
from rotator.secret import scrub

LEVELS: Final = ("debug", "info", "warning", "error")

Format = Literal["json", "console"]

# They log URLs with passwords (httpx), request bodies (botocore at DEBUG) or are merely noisy.
_CAPPED: Final = (
    "apscheduler",
    "asyncio",
    "boto3",
    "botocore",
    "httpcore",
    "httpx",
    "hvac",
    "urllib3",
    "uvicorn",
)

# Control characters from outside could move the cursor of a terminal or fake a second line.
_VISIBLE: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def configure(
    level: str,
    fmt: Format,
    stream: TextIO,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> None:
    """Sets up logging for the whole process; a later call replaces an earlier one.

    `level` is one of LEVELS and holds for `rotator` alone: every other logger gives warnings and
    errors only, whatever is asked for. Also takes over warnings and uncaught exceptions.
    Raises ValueError for an unknown level or format.
    """
    if level not in LEVELS or fmt not in ("json", "console"):
        raise ValueError(f"not a log level and format: {level!r}, {fmt!r}")
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _Timestamp(clock or SystemClock()),
        structlog.processors.StackInfoRenderer(),
        # The plain traceback of the standard library: no local variables, causes included.
        structlog.processors.format_exc_info,
    ]
    handler = _Handler(stream, as_json=fmt == "json")
    handler.addFilter(_capped)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _scrub_event,
                _json_renderer()
                if fmt == "json"
                else _console_renderer(stream, os.environ if environ is None else environ),
            ],
        )
    )
    root = logging.getLogger()
    for former in list(root.handlers):  # ours of an earlier call, or one that would print unscrubbed
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("rotator").setLevel(threshold)
    for name in _CAPPED:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _with_arguments,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def _capped(record: logging.LogRecord) -> bool:
    """A library may set the level of its own loggers; what it logs below WARNING is dropped here."""
    ours = record.name == "rotator" or record.name.startswith("rotator.")
    return ours or record.levelno >= logging.WARNING


def _with_arguments(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """`log.info("%s", x)` as the standard library has it; a mismatch must not break the caller's work."""
    arguments = event.pop("positional_args", ())
    if arguments:
        try:
            event["event"] = str(event["event"]) % arguments
        except (TypeError, ValueError, KeyError):
            event["event"] = f"{event['event']} (its arguments do not fit)"
    return event


class _Timestamp:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        event["timestamp"] = rfc3339(self._clock.now())
        return event


def _scrub_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {_scrub_value(name): _scrub_value(value) for name, value in event.items()}


def _scrub_value(value: Any) -> Any:
    """Text and plain collections; of any other object the renderer's text is scrubbed with the line."""
    if isinstance(value, str):
        return scrub(str(value))
    if isinstance(value, Mapping):
        return {_scrub_value(name): _scrub_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub_value(item) for item in value]
    return value


def _json_renderer() -> Processor:
    return structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False)


def _console_renderer(stream: TextIO, environ: Mapping[str, str]) -> Processor:
    colors = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    render = structlog.dev.ConsoleRenderer(
        colors=colors,
        # The default is rich's, which prints local variables. Tracebacks are text before they come
        # here, so this only matters if somebody changes the chain.
        exception_formatter=structlog.dev.plain_traceback,
    )

    def rendered(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        visible = {
            name: value.translate(_VISIBLE) if isinstance(value, str) else value
            for name, value in event.items()
        }
        if isinstance(visible.get("event"), str):
            visible["event"] = visible["event"].replace("\n", "\\n")
        return str(render(logger, method, visible))

    return rendered


class _Handler(logging.StreamHandler[TextIO]):
    """Scrubs the finished line, and never prints a record that could not be formatted."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        super().__init__(stream)
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        try:
            line = super().format(record)
        except Exception as error:  # noqa: BLE001  # whatever it is, the standard report would print the arguments
            # The standard report would show the arguments, which may be anything.
            return self._instead(record, f"a log record could not be formatted: {type(error).__name__}")
        clean = scrub(line)
        if clean != line and self._as_json and not _is_json(clean):
            return self._instead(record, "a log record was withheld: a secret in it could not be cut out")
        return clean

    def _instead(self, record: logging.LogRecord, event: str) -> str:
        where = f"{os.path.basename(record.pathname)}:{record.lineno}"  # noqa: PTH119  # a name, no file access
        fields = {"event": event, "logger": record.name, "level": record.levelname.lower(), "where": where}
        return json.dumps(fields) if self._as_json else " ".join(f"{k}={v}" for k, v in fields.items())

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        """The stream is gone or full. There is nowhere left to say it."""


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("rotator").critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit):
        return
    error = args.exc_value or args.exc_type()
    name = args.thread.name if args.thread else "?"
    logging.getLogger("rotator").critical(
        "uncaught exception in thread %s", name, exc_info=(args.exc_type, error, args.exc_traceback)
    )


def _unraisable(unraisable: Any) -> None:
    """An exception in a finaliser. The object's repr, which the standard hook prints, may hold anything."""
    logging.getLogger("rotator").error(
        "exception ignored in a finaliser: %s",
        type(unraisable.object).__name__,
        exc_info=(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback),
    )
