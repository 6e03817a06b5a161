"""What a command changes in the process it runs in, put back afterwards: for commands that tests run in their own."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from rotator import logs

_LOGGERS = ("", "rotator", "botocore.endpoint", *logs._CAPPED)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def as_before() -> Iterator[None]:
    """Logging, hooks, signal handlers, streams, arguments, environment and folder."""
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    handlers = list(root.handlers)
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    filters = list(warnings.filters)
    heard = {number: signal.getsignal(number) for number in _SIGNALS}
    streams = (sys.stdin, sys.stdout, sys.stderr)
    arguments, environment, folder = sys.argv, dict(os.environ), Path.cwd()
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        root.handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        warnings.filters[:] = filters
        for number, handler in heard.items():
            signal.signal(number, handler)
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
