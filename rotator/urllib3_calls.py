"""What urllib3, and all that stands on it, leaves open in a call: the body's size and time, and what a failure means.

The only module that imports urllib3. The libraries' own errors hold the request, so no text of theirs leaves it.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, Final

_CHUNK: Final = 64 * 1024


class Oversize(Exception):
    """The answer is larger than any that was asked for."""


def bounds(*, connect: float, silence: float) -> Any:
    """A call's time-outs in seconds, in the form that urllib3 takes."""
    from urllib3 import Timeout  # noqa: PLC0415  # loaded by the first call, not by `rotator --help`

    return Timeout(connect=min(connect, silence), read=silence)


def whole_body(raw: Any, *, seconds: float, most: int) -> bytes:
    """The body of a urllib3 response, as it was sent. Raises TimeoutError, Oversize and what urllib3 does.

    Time is the machine's own, because sockets wait in real time whatever clock we are given.
    """
    ends = time.monotonic() + seconds
    content = bytearray()
    try:
        while chunk := raw.read1(_CHUNK, decode_content=False):
            content += chunk
            if len(content) > most:
                raise Oversize
            if time.monotonic() > ends:
                raise TimeoutError
    except BaseException:
        raw.close()  # what is left of it must not be taken for the next answer
        raise
    raw.release_conn()
    return bytes(content)


def reason(error: Exception, *, connect: float, silence: float, most: int) -> tuple[str, bool]:
    """Why a call failed, in our words or those of the operating system, and whether it may have been executed.

    The bounds of the call: seconds to connect, seconds of silence, bytes of the answer.
    """
    from urllib3 import exceptions as http  # noqa: PLC0415  # see bounds

    links = list(_chain(error))

    def is_a(kind: type[BaseException], *, but: tuple[type[BaseException], ...] = ()) -> bool:
        return any(isinstance(link, kind) and not isinstance(link, but) for link in links)

    # A connection that was refused is, to urllib3, a kind of time-out.
    if is_a(http.ConnectTimeoutError, but=(http.NewConnectionError,)):
        return f"no connection within {connect:g} s", False
    if is_a(http.ReadTimeoutError):
        return f"no answer within {silence:g} s", True
    if is_a(http.ProxyError):
        return "the proxy does not let it through", False
    if is_a(Oversize):
        return f"its answer is larger than {most} bytes", True
    for link in links:
        if (known := _known_reason(link, silence)) is not None:
            return known
    if is_a(http.ProtocolError):
        return "the connection ended before the answer", True
    return f"the call failed ({type(error).__name__})", True


def _known_reason(link: BaseException, silence: float) -> tuple[str, bool] | None:
    if isinstance(link, TimeoutError) and not link.errno:
        return f"no whole answer within {silence:g} s", True
    if isinstance(link, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {link.verify_message}", False
    if isinstance(link, socket.gaierror):
        return "its host name cannot be looked up", False
    if isinstance(link, ConnectionRefusedError):
        return "the connection was refused", False
    if isinstance(link, ssl.SSLError):
        return "TLS failed; is it http where https is said, or the other way round?", True
    if isinstance(link, OSError) and link.errno:
        return os.strerror(link.errno).lower(), True
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was made of, wherever the libraries keep that."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        waiting += [one for one in inner if isinstance(one, BaseException)]
