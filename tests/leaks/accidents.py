"""What goes wrong inside a child on purpose, each time with a secret in the exception or the arguments.

Each function is called in a forked child before its command (`Nursery.run(prepare=…)`).
"""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from typing import Any


def engine_explodes() -> None:
    """A bug of ours after the mint: the new token is in the message, the arguments and local variables."""
    import rotator.engine.table as table  # noqa: PLC0415, PLR0402

    def verify(context: Any) -> None:
        plain = context.authoritative.read().value_if_token.reveal()
        try:
            raise KeyError(plain)
        except KeyError as error:
            raise ValueError(f"cannot use {plain}", {"token": plain}) from error

    table._IN_PLACE["verify"] = verify


def command_explodes() -> None:
    """A bug of ours outside the engine, with the team token."""
    import rotator.operations.rotate as operation  # noqa: PLC0415

    def rotate(*_: Any) -> None:
        plain = os.environ["LETTERMINT_TEAM_TOKEN"]
        raise RuntimeError(f"Authorization: Bearer {plain}")

    operation.rotate = rotate  # type: ignore[assignment]


def thread_explodes() -> None:
    """A bug in a background thread."""
    from rotator.engine.runner import Runner  # noqa: PLC0415

    def heartbeat(*_: Any) -> None:
        raise RuntimeError(f"no heart for {os.environ['LETTERMINT_TEAM_TOKEN']}")

    Runner._heartbeat = heartbeat  # type: ignore[method-assign]


def http_explodes() -> None:
    """Httpx fails on every rotate-token with an exception that quotes the request's headers."""
    import httpx  # noqa: PLC0415

    real = httpx.HTTPTransport.handle_request

    def handle(transport: Any, request: Any) -> Any:
        if request.url.path.endswith("/rotate-token"):
            raise httpx.ReadError(f"cannot read: {dict(request.headers)} {request.url}")
        return real(transport, request)

    httpx.HTTPTransport.handle_request = handle  # type: ignore[method-assign]


def provider_quotes(status: int) -> None:
    """The provider, or a proxy before it, refuses every call and repeats its headers, tokens included."""
    import httpx  # noqa: PLC0415

    def handle(_: Any, request: Any) -> Any:
        said = {"message": f"refused: {dict(request.headers)}", "error": request.headers.get("authorization")}
        headers = {"X-Request-Id": os.environ["LETTERMINT_TEAM_TOKEN"], "Content-Type": "application/json"}
        return httpx.Response(status, headers=headers, json=said)

    httpx.HTTPTransport.handle_request = handle  # type: ignore[method-assign]


def aws_quotes() -> None:
    """AWS refuses every write and repeats the whole request in its message."""
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415
    from botocore.httpsession import URLLib3Session  # noqa: PLC0415

    real = URLLib3Session.send

    def send(session: Any, request: Any) -> Any:
        if "PutSecretValue" not in str(request.headers.get("X-Amz-Target")):
            return real(session, request)
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        answer = {"__type": "InvalidParameterException", "message": f"not valid: {body}"}
        refused = AWSResponse(request.url, 400, {"x-amzn-requestid": body}, None)
        refused._content = json.dumps(answer).encode()
        return refused

    URLLib3Session.send = send


def boto_explodes(kind: str) -> None:
    """boto3 fails on the write of the new token with an exception that quotes the request's body."""
    from botocore.exceptions import HTTPClientError  # noqa: PLC0415
    from botocore.httpsession import URLLib3Session  # noqa: PLC0415

    real = URLLib3Session.send
    left = [1]

    def send(session: Any, request: Any) -> Any:
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        if "PutSecretValue" in str(request.headers.get("X-Amz-Target")) and "lm_" in body and left[0]:
            left[0] -= 1
            text = f"failed to send {body} {dict(request.headers)}"
            raise HTTPClientError(error=ValueError(text)) if kind == "library" else LookupError(text)
        return real(session, request)

    URLLib3Session.send = send


def journal_explodes() -> None:
    """SQLite fails after the mint, and its exception quotes everything it can get hold of."""
    from rotator.journal import sqlite  # noqa: PLC0415

    def save(*arguments: Any) -> None:
        raise sqlite3.OperationalError(f"near {os.environ['LETTERMINT_TEAM_TOKEN']}: {arguments!r}")

    sqlite.SqliteJournal.save = save  # type: ignore[method-assign]


def something_warns() -> None:
    """A library warns, with the team token in its text."""
    import rotator.operations.rotate as operation  # noqa: PLC0415

    real = operation.rotate

    def rotate(*arguments: Any) -> Any:
        warnings.warn(f"deprecated: {os.environ['LETTERMINT_TEAM_TOKEN']}", stacklevel=1)
        return real(*arguments)

    operation.rotate = rotate


def standard_input(text: str) -> None:
    """What the command reads from its standard input."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    os.dup2(reading, 0)


def impatient(text: str) -> None:
    """The same, for a command that takes a token to be alive which lives a second longer than it should."""
    from functools import partial  # noqa: PLC0415

    from rotator import wiring  # noqa: PLC0415

    wiring.Timings = partial(wiring.Timings, propagation=1.0)  # type: ignore[misc, assignment]
    standard_input(text)


def engine_explodes_unscrubbed() -> None:
    """The control: the same bug of ours without the scrubber."""
    from rotator import secret  # noqa: PLC0415

    secret._scrubber.scrub = lambda text: text  # type: ignore[method-assign]
    engine_explodes()
