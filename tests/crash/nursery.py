"""Bears children: a warm, thread-free process that forks one for each command it is given.

Starting Python and loading the libraries takes a second; a fork takes milliseconds. One JSON request
per line on standard input, one JSON answer per line on standard output.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import termios
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


LATE = (
    "apscheduler.triggers.interval",
    "botocore.httpsession",
    "encodings.idna",
    "httpcore",
    "httpx",
    "hvac",
    "uvicorn.lifespan.off",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl",
)
"""What is loaded by a first use, here or within a library."""


def warm_up() -> None:
    """Loads whatever a child will need, and starts no thread doing so."""
    import boto3  # noqa: PLC0415

    import rotator  # noqa: PLC0415
    from tests import botocore_data  # noqa: PLC0415

    botocore_data.read_once()
    boto3.client("secretsmanager", "eu-central-1", aws_access_key_id="x", aws_secret_access_key="x").close()
    for module in pkgutil.walk_packages(rotator.__path__, "rotator."):
        importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    from rotator.cli.main import command  # noqa: PLC0415
    from rotator.policies.load import check_policies  # noqa: PLC0415
    from tests.crash.practice import practise  # noqa: PLC0415

    check_policies([Path(rotator.__file__).parent.parent / "policies"])  # builds the parser's tables
    ready_to_parse(command())
    practise()
    settle()


def settle() -> None:
    """A child that collects garbage would else write to, and so copy, every page of what stands here."""
    gc.collect()
    gc.freeze()


def warm_up_for(request: dict[str, Any]) -> None:
    """Loads what few children need, once the first of them comes."""
    if "KUBECONFIG" in request["env"] and "kubernetes" not in sys.modules:
        importlib.import_module("kubernetes.config")  # and its client
        settle()


def ready_to_parse(command: Any) -> None:
    """Makes what typer makes of each parameter when it first meets a value of it."""
    for parameter in command.params:
        if hasattr(parameter, "get_runtime_param"):  # `--help` has none
            parameter.get_runtime_param()
    for further in getattr(command, "commands", {}).values():
        ready_to_parse(further)


def inputs(request: dict[str, Any]) -> dict[str, int]:
    """What a child is given to read from, and the terminal it is to have, as descriptors."""
    flags = {"stdin": os.O_RDONLY, "terminal": os.O_RDWR | os.O_NOCTTY}
    return {name: os.open(request[name], flags[name]) for name in flags if request.get(name)}


def speak(given: dict[str, int]) -> None:
    """Ties the standard streams to a terminal, which becomes that of this process, and to an input. Those that
    Python made for this process's parent went to pipes, and so keep back what a terminal shows at once."""
    if "terminal" in given:
        os.setsid()
        fcntl.ioctl(given["terminal"], termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.dup2(given["terminal"], descriptor)
    if "stdin" in given:
        os.dup2(given["stdin"], 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # for as long as the process lives
    if "terminal" in given:
        sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115  # the same
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115  # the same


def child(request: dict[str, Any], given: dict[str, int]) -> None:
    """Becomes `rotator ARGV` with the request's environment, folder and files; never returns."""
    code = 70
    try:
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        for path, descriptor in ((request["stdout"], 1), (request["stderr"], 2)):
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(target, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        speak(given)
        sys.argv = ["rotator", *request["argv"]]
        if request.get("trace"):
            from tests.crash.trace import Tracer  # noqa: PLC0415

            trace = request["trace"]
            record = Path(trace["record"]) if trace.get("record") else None
            Tracer(
                record,
                trace.get("kill_at", 0),
                trace.get("when", "before"),
                call=trace.get("call", ""),
                threads=trace.get("threads", ""),
                number=trace.get("signal", signal.SIGKILL),
            ).install()
        if request.get("prepare"):
            module, _, function = request["prepare"]["call"].partition(":")
            getattr(importlib.import_module(module), function)(*request["prepare"].get("with", ()))
        from rotator.__main__ import main  # noqa: PLC0415

        main()
        code = 0
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:  # noqa: BLE001  # a child must never return into the nursery's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def reap(pid: int, patience: float) -> int | None:
    """The exit code of a child, or None if it is still running when the patience (seconds) ends."""
    watched = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([watched], [], [], patience)
    finally:
        os.close(watched)
    if not ended:
        return None
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def tell(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve() -> None:
    """Requests: a command to run (`wait` false: to start), or `{"reap": pid, "patience": seconds}`."""
    warm_up()
    tell({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.flush()
        if "reap" in request:
            answer = {"pid": request["reap"], "code": reap(request["reap"], request["patience"])}
        else:
            given = inputs(request)
            warm_up_for(request)
            pid = os.fork()
            if pid == 0:
                child(request, given)
            for descriptor in given.values():
                os.close(descriptor)
            code = None
            if request.get("wait", True):
                _, status = os.waitpid(pid, 0)
                code = os.waitstatus_to_exitcode(status)
            answer = {"pid": pid, "code": code}
        tell(answer)


if __name__ == "__main__":
    serve()
