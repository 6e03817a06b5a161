"""Every way in which a token is known to leak into logs, tried in both formats at DEBUG.

Each case logs the way a library or a careless line of ours would; a control shows that the same way
does leak where the chain is not ours.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import structlog
from botocore.config import Config
from botocore.exceptions import ParamValidationError

from rotator import logs
from rotator.secret import Secret
from tests.logs.conftest import Configure

TOKEN = "lm_" + "L3ak" * 8
PASSWORD = "vault-" + 'p"ss/w0rd'
Secret(TOKEN)
Secret(PASSWORD)

Log = Callable[[Any], None]


def marks(text: str) -> list[str]:
    """Forms of the secrets that can be read in the text."""
    forms = [TOKEN, TOKEN[3:], PASSWORD, PASSWORD[-7:], json.dumps(PASSWORD)[1:-1], repr(PASSWORD)[1:-1]]
    for value in (TOKEN, PASSWORD):
        forms += [base64.b64encode(b"x" * shift + value.encode()).decode()[4:-4] for shift in range(3)]
    return [form for form in forms if form in text]


class Holder:
    """An object whose repr shows what it holds, as many a library's does."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"<Holder {self.value!r}>"


def raise_with(value: object) -> None:
    """The token is in the message, in the arguments, in the cause, in a note and in local variables."""
    local_token = value
    try:
        raise KeyError(local_token)
    except KeyError as error:
        wrapped = ValueError(f"bad token {local_token}", local_token)
        wrapped.add_note(f"note {local_token!r}")
        raise wrapped from error


def raise_beside(value: object) -> None:
    """The token is in local variables only."""
    local_token, nested = value, {"deep": [value]}
    raise RuntimeError(f"nothing in here but {len(str(local_token)) + len(nested)}")


def own(log: Any, value: str) -> None:
    """What a careless line of ours could do."""
    message = f"plain {value}"
    log.info(message)
    log.warning("field", token=value, nested={"a": [value, (value, {value})], value: 1}, raw=value.encode())
    log.info("objects", holder=Holder(value), holders=[Holder(value)], masked=Secret(value))
    log.info("positional %s %r", value, value)
    log.info(value)
    if value == TOKEN:  # a quote cannot stand in a header
        headers = httpx.Headers({"x-lettermint-token": value, "X-Vault-Token": value})
        log.info("headers", headers=headers, text=repr(headers))
    log.info("json", body=json.dumps({"token": value}), text=repr({"token": value}))
    log.info("json in json in json", body=json.dumps(json.dumps(value)))
    log.info("auth", plain=base64.b64encode(f"\0lettermint\0{value}".encode()).decode())
    for fail in (raise_with, raise_beside):
        try:
            fail(value)
        except Exception as error:  # every kind
            log.exception("failed")
            log.error("failed", error=error, text=str(error), exc_info=error)  # noqa: TRY400  # as tried


def foreign(log: logging.Logger, value: str) -> None:
    """What a library could do, at levels that come through."""
    log.warning("plain %s %r %s", value, value, Holder(value))
    message = f"plain {value}"
    log.warning(message)
    log.warning("dict %(token)s", {"token": value})
    log.warning("extra", extra={"token": value, "holder": Holder(value), "nested": {"a": [value]}})
    log.warning("bytes %r", value.encode())
    log.warning("stack", stack_info=True)
    for fail in (raise_with, raise_beside):
        try:
            fail(value)
        except Exception:  # every kind
            log.exception("failed %s", value)


@pytest.mark.parametrize("value", [TOKEN, PASSWORD], ids=["token", "password"])
@pytest.mark.parametrize("fmt", ["json", "console"])
def test_our_own_lines_do_not_leak(configure: Configure, fmt: logs.Format, value: str) -> None:
    """Whatever our code hands to a structlog logger, the value is not in the output, and JSON stays JSON."""
    output = configure("debug", fmt, terminal=True)
    own(structlog.get_logger("rotator.engine"), value)
    assert "[secret]" in output.text
    assert marks(output.text) == []
    if fmt == "json":
        assert len(output.records) == (13 if value == TOKEN else 12)


@pytest.mark.parametrize("value", [TOKEN, PASSWORD], ids=["token", "password"])
@pytest.mark.parametrize("name", ["rotator.engine", "botocore.endpoint", "unheard.of"])
@pytest.mark.parametrize("fmt", ["json", "console"])
def test_lines_of_libraries_do_not_leak(
    configure: Configure, fmt: logs.Format, name: str, value: str
) -> None:
    """Whatever is handed to a logger of the standard library, the value is not in the output."""
    output = configure("debug", fmt, terminal=True)
    foreign(logging.getLogger(name), value)
    assert "[secret]" in output.text
    assert marks(output.text) == []
    if fmt == "json":
        assert len(output.records) == 8


def test_the_cases_do_leak_where_the_chain_is_not_ours() -> None:
    """Control: the same calls through structlog's own JSON recipe and its console show the token."""
    for renderer, before in (
        (structlog.processors.JSONRenderer(), [structlog.processors.dict_tracebacks]),
        (structlog.dev.ConsoleRenderer(colors=False), []),
    ):
        stream = io.StringIO()
        structlog.configure(
            processors=[*before, renderer], logger_factory=structlog.PrintLoggerFactory(stream)
        )
        try:
            raise_beside(TOKEN)
        except RuntimeError:
            structlog.get_logger().exception("failed")
        structlog.reset_defaults()
        assert marks(stream.getvalue()) != []


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_local_variables_are_not_printed(configure: Configure, fmt: logs.Format) -> None:
    """Not even values that are no secrets to us: a traceback tells places, not contents."""
    output = configure("debug", fmt, terminal=True)
    unheard_of = "a value nobody registered 0815"
    try:
        raise_beside(unheard_of)
    except RuntimeError:
        structlog.get_logger("rotator").exception("failed")
        logging.getLogger("library").exception("failed")
    assert output.text.count("RuntimeError: nothing in here") == 2
    assert "0815" not in output.text


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_uncaught_exceptions_and_warnings_do_not_leak(configure: Configure, fmt: logs.Format) -> None:
    """Main thread, other threads, finalisers, warnings: scrubbed, and no local variables."""
    output = configure("debug", fmt, terminal=True)
    for fail in (raise_with, raise_beside):
        try:
            fail(TOKEN)
        except Exception as error:  # noqa: BLE001  # every kind
            sys.excepthook(type(error), error, error.__traceback__)
        thread = threading.Thread(target=fail, args=(TOKEN,))
        thread.start()
        thread.join()

    class Finalised(Holder):
        def __del__(self) -> None:
            raise_with(self.value)

    Finalised(TOKEN)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"deprecated {TOKEN}", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert output.text.count("bad token [secret]") == 3
    assert "deprecated [secret]" in output.text
    assert marks(output.text) == []


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_a_record_that_does_not_fit_its_message_does_not_leak(
    configure: Configure, fmt: logs.Format, capsys: pytest.CaptureFixture[str]
) -> None:
    """The standard library would print message and arguments to standard error; we name the place only."""

    class Broken:
        def __repr__(self) -> str:
            raise ValueError(TOKEN)

    output = configure("debug", fmt)
    logging.getLogger("rotator.x").warning("number %d", TOKEN)
    logging.getLogger("library").warning("%s", Broken())
    structlog.get_logger("rotator.y").warning("object", broken=Broken())
    printed = capsys.readouterr()
    assert output.text.count("could not be formatted") == 3
    assert "test_leaks.py" in output.text
    assert marks(output.text + printed.out + printed.err) == []


def test_a_line_that_scrubbing_would_break_is_withheld(configure: Configure) -> None:
    """A secret that looks like JSON's own punctuation cannot be cut out of the line: the line says so instead."""
    Secret('"odd": "')
    output = configure()
    structlog.get_logger("rotator.z").info("hello", odd="x")
    assert output.records[0]["event"].startswith("a log record was withheld")
    assert output.records[0]["logger"] == "rotator.z"


def raw_log(name: str) -> tuple[io.StringIO, Callable[[], None]]:
    """A handler as anybody would add it, for the control."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger(name)
    before = (logger.level, logger.propagate)
    # The product's own guard on this logger, if a test before this one in the process loaded it.
    filters, logger.filters = logger.filters, []
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False

    def undo() -> None:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
        logger.filters = filters
        logging.root.manager._clear_cache()

    return stream, undo


def put_secret() -> None:
    """A real client of AWS against a port where nobody listens."""
    client = boto3.client(
        "secretsmanager",
        region_name="eu-central-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"max_attempts": 0}, connect_timeout=1),
    )
    with pytest.raises(Exception, match="Could not connect"):
        client.put_secret_value(SecretId="s", SecretString=json.dumps({"token": TOKEN}))


def test_boto3_at_debug_does_not_leak(configure: Configure) -> None:
    """boto3 logs the body of a put at DEBUG; asked for DEBUG, we do not."""
    stream, undo = raw_log("botocore")
    put_secret()
    undo()
    assert marks(stream.getvalue()) != []
    output = configure("debug")
    put_secret()
    assert marks(output.text) == []


def test_boto3_complaining_about_a_parameter_does_not_leak(configure: Configure) -> None:
    """ParamValidationError repeats the value of a wrong type."""
    client = boto3.client(
        "secretsmanager", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    output = configure("debug")
    with pytest.raises(ParamValidationError) as raised:
        client.put_secret_value(SecretId="s", SecretString={"token": TOKEN})
    assert TOKEN in str(raised.value)
    structlog.get_logger("rotator").error("put failed", error=str(raised.value), exc_info=raised.value)
    assert "[secret]" in output.text
    assert marks(output.text) == []


def test_httpx_does_not_leak_urls(configure: Configure) -> None:
    """Httpx logs the whole URL at INFO; and its errors repeat it."""

    def fetch() -> str:
        with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(403))) as client:
            try:
                client.get(f"https://user:{TOKEN}@example.com/?key={TOKEN}").raise_for_status()
            except httpx.HTTPStatusError as error:
                return f"{error} {error.request!r} {error.request.url}"
        return ""

    stream, undo = raw_log("httpx")
    assert marks(fetch()) != []
    undo()
    assert marks(stream.getvalue()) != []
    output = configure("debug")
    structlog.get_logger("rotator").warning("refused", error=fetch())
    assert "[secret]" in output.text
    assert marks(output.text) == []


def test_a_crashing_process_does_not_leak(tmp_path: Path) -> None:
    """The whole thing in a real process: all that it prints on its way down is free of the token."""
    script = tmp_path / "crash.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, threading
            from rotator import logs
            from rotator.secret import Secret
            token = Secret("lm_" + "L3ak" * 8)
            logs.configure("debug", sys.argv[1], sys.stderr)
            def fail():
                local = token.reveal()
                raise ValueError(local, {"headers": local})
            thread = threading.Thread(target=fail); thread.start(); thread.join()
            fail()
            """
        )
    )
    for fmt in ("json", "console"):
        done = subprocess.run(
            [sys.executable, str(script), fmt],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(Path(logs.__file__).parent.parent)},
        )
        assert done.returncode == 1
        assert done.stderr.count("ValueError: ('[secret]', {'headers': '[secret]'})") == 2
        assert marks(done.stdout + done.stderr) == []
