"""What a log line looks like, whose lines come through, and where they go."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings

import pytest
import structlog

from rotator import logs
from tests.logs.conftest import Configure


@pytest.mark.parametrize("ours", [True, False])
def test_a_json_line_has_the_facts(configure: Configure, ours: bool) -> None:
    """Our structlog records and those of the standard library come out alike, with time, level and name."""
    output = configure()
    if ours:
        structlog.get_logger("rotator.engine").warning("step failed", policy="billing", seconds=1.5)
    else:
        logging.getLogger("rotator.engine").warning(
            "step %s", "failed", extra={"policy": "billing", "seconds": 1.5}
        )
    assert output.records == [
        {
            "event": "step failed",
            "policy": "billing",
            "seconds": 1.5,
            "level": "warning",
            "logger": "rotator.engine",
            "timestamp": "2026-11-21T12:00:00.000Z",
        }
    ]


def test_a_console_line_has_the_facts_on_one_line(configure: Configure) -> None:
    """For people: time, level, event and fields."""
    output = configure(fmt="console")
    structlog.get_logger("rotator.engine").info("step done", policy="billing")
    (line,) = output.text.splitlines()
    for part in ("2026-11-21T12:00:00.000Z", "info", "step done", "rotator.engine", "policy=billing"):
        assert part in line


@pytest.mark.parametrize(
    ("terminal", "environ", "colours"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colours_only_where_they_are_wanted(
    configure: Configure, terminal: bool, environ: dict[str, str], colours: bool
) -> None:
    """On a terminal, unless NO_COLOR is set (and not empty) or the terminal is a dumb one."""
    output = configure(fmt="console", terminal=terminal, **environ)
    structlog.get_logger("rotator").info("hello")
    assert ("\x1b[" in output.text) is colours


def test_json_has_no_colours_on_a_terminal(configure: Configure) -> None:
    """JSON asked for is JSON given."""
    output = configure(terminal=True)
    structlog.get_logger("rotator").info("hello")
    assert "\x1b" not in output.text
    assert output.records[0]["event"] == "hello"


@pytest.mark.parametrize("level", logs.LEVELS)
def test_the_level_holds_for_ours(configure: Configure, level: str) -> None:
    """Records of the level and above come through, those below do not."""
    output = configure(level)
    for name in logs.LEVELS:
        getattr(structlog.get_logger("rotator.x"), name)(name)
        getattr(logging.getLogger("rotator.y"), name)(name)
    expected = [name for name in logs.LEVELS[logs.LEVELS.index(level) :] for _ in range(2)]
    assert [record["event"] for record in output.records] == expected


@pytest.mark.parametrize("name", [*logs._CAPPED, "botocore.endpoint", "some.library", "rotatorish"])
def test_libraries_give_warnings_only(configure: Configure, name: str) -> None:
    """DEBUG asked for raises `rotator` alone; even a library that turns itself up stays capped."""
    output = configure("debug")
    logger = logging.getLogger(name)
    before = logger.level
    for _ in range(2):
        logger.debug("body")
        logger.info("url")
        logger.setLevel(logging.DEBUG)
    logger.warning("retrying")
    logger.setLevel(before)
    assert [record["event"] for record in output.records] == ["retrying"]


def test_libraries_are_as_quiet_as_we_are(configure: Configure) -> None:
    """With only errors asked for, no library warns either."""
    output = configure("error")
    logging.getLogger("some.library").warning("retrying")
    logging.getLogger("some.library").error("gave up")
    assert [record["event"] for record in output.records] == ["gave up"]


@pytest.mark.parametrize(("level", "fmt"), [("verbose", "json"), ("INFO", "json"), ("info", "xml")])
def test_unknown_levels_and_formats_are_refused(level: str, fmt: str) -> None:
    """The settings check them before; this is the last guard."""
    with pytest.raises(ValueError, match="not a log level and format"):
        logs.configure(level, fmt, io.StringIO())


def test_a_second_call_replaces_the_first(configure: Configure) -> None:
    """Loggers made before follow, and nothing is printed twice."""
    logger = structlog.get_logger("rotator.early")
    first = configure("info")
    logger.info("one")
    second = configure("debug", "console")
    logger.debug("two")
    assert [record["event"] for record in first.records] == ["one"]
    assert second.text.count("two") == 1


def test_arguments_that_do_not_fit_do_not_break_the_caller(configure: Configure) -> None:
    """Positional arguments are filled in; where they cannot be, the line says so and the work goes on."""
    output = configure()
    for template, arguments in (
        ("%s of %d", ("one", 2)),
        ("%d", ("one",)),
        ("%(name)s", ("one",)),
        ("none", ("one",)),
    ):
        structlog.get_logger("rotator").info(template, *arguments)
    assert [record["event"] for record in output.records] == [
        "one of 2",
        "%d (its arguments do not fit)",
        "%(name)s (its arguments do not fit)",
        "none (its arguments do not fit)",
    ]


def test_context_is_on_every_line(configure: Configure) -> None:
    """Bound context variables reach our lines and those of libraries."""
    output = configure()
    structlog.contextvars.bind_contextvars(rotation="r-1")
    structlog.get_logger("rotator").info("ours")
    logging.getLogger("library").warning("theirs")
    assert [record["rotation"] for record in output.records] == ["r-1", "r-1"]


def test_an_exception_comes_with_its_traceback_and_causes(configure: Configure) -> None:
    """Both messages of a chain and the place are there; still one JSON line."""
    output = configure()
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError:
        structlog.get_logger("rotator").exception("it broke")
        logging.getLogger("library").exception("it broke too")
    for record in output.records:
        assert "KeyError: 'inner'" in record["exception"]
        assert "ValueError: outer" in record["exception"]
        assert "test_logs.py" in record["exception"]


def test_foreign_text_cannot_fake_a_line_on_a_terminal(configure: Configure) -> None:
    """Line ends in the event and control characters anywhere are shown, not obeyed."""
    output = configure(fmt="console", terminal=True, NO_COLOR="1")
    logging.getLogger("library").warning(
        "bad\n2026-11-21 [info] all is well\x1b[2J\x9b", extra={"x": "a\rb\x07"}
    )
    assert len(output.text.splitlines()) == 1
    assert not [c for c in output.text.rstrip("\n") if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0]
    assert "\\x1b[2J" in output.text


def test_warnings_become_records(configure: Configure) -> None:
    """A library's warning does not reach standard error on its own."""
    output = configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "UserWarning: old thing" in output.records[0]["event"]
    assert output.records[0]["logger"] == "py.warnings"


def test_uncaught_exceptions_become_records(configure: Configure) -> None:
    """In the main thread, in any other and in finalisers; with the type, the message and the place."""
    output = configure()

    def fail() -> None:
        raise RuntimeError("nobody caught me")

    try:
        fail()
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
    thread = threading.Thread(target=fail, name="worker-7")
    thread.start()
    thread.join()

    class Finalised:
        def __del__(self) -> None:
            fail()

    Finalised()
    assert len(output.records) == 3
    for record in output.records:
        assert "RuntimeError: nobody caught me" in record["exception"]
        assert "in fail" in record["exception"]
    assert "worker-7" in output.records[1]["event"]


def test_leaving_is_no_exception(configure: Configure) -> None:
    """Ctrl-C in the main thread and SystemExit in another print nothing."""
    output = configure()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert output.text == ""


def test_a_stream_that_is_gone_is_no_error(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    """Logging never breaks the work, and never reports its own trouble with the record's content."""
    output = configure()
    output.stream.close()
    logging.getLogger("rotator").info("into the void")
    assert capsys.readouterr().err == ""
