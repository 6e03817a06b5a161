"""Who may ask for what: the token, the caller's address, the Host and Origin of a request."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from rotator.clock import Clock
from rotator.errors import InvalidInput
from rotator.http.answers import Problem, retry_after
from rotator.http.throttle import ByAddress, Throttle
from rotator.secret import Secret
from rotator.urls import is_loopback

log = logging.getLogger(__name__)

HEADER_BYTES: Final = 16 * 1024
_FAILURES_A_MINUTE: Final = 10
_POSTS_A_MINUTE: Final = 30
_BEARER: Final = 'Bearer realm="rotator"'
_BASIC: Final = 'Basic realm="rotator", charset="UTF-8"'


class Guard:
    """Refuses, by raising Problem, what a caller may not do."""

    def __init__(
        self, api_token: Callable[[], Secret] | None, clock: Clock, *, open_to_network: bool
    ) -> None:
        self._read = api_token
        """Asked for each request that needs the token, so that another one may be put into its file."""
        self._token: bytes | None = None
        self._open = open_to_network
        self._failures = ByAddress(clock, _FAILURES_A_MINUTE, 60)
        self._posts = Throttle(clock, _POSTS_A_MINUTE, 60)

    def size(self, request: Request) -> None:
        """The HTTP library bounds headers that come in pieces; those that come at once are counted here."""
        scope = request.scope
        held = sum(len(name) + len(value) for name, value in scope["headers"])
        if held + len(scope["raw_path"]) + len(scope["query_string"]) > HEADER_BYTES:
            raise Problem(
                431,
                "headers-too-large",
                f"The address and the headers are larger than {HEADER_BYTES} bytes",
                "Nothing was done",
                headers={"Connection": "close"},
            )

    def host(self, request: Request) -> None:
        """On loopback only loopback names: a page elsewhere may have its own name resolve to this machine."""
        host = request.headers.get("host")
        # Browsers always send one; a probe that speaks HTTP/1.0 may not.
        if self._open or (host is None and request.scope["http_version"] == "1.0"):
            return
        if not is_loopback(_host_name(host or "")):
            raise Problem(
                400,
                "host",
                "The Host header does not name this machine's loopback address",
                "Nothing was done",
                "Ask for http://127.0.0.1 or http://localhost with the port",
            )

    def reader(self, request: Request, *, in_browser: bool) -> None:
        """Reading needs the token where the network can ask."""
        if self._open:
            # A browser cannot send a bearer token of its own; it can send a password.
            self._authenticate(request, basic=True, offer_basic=in_browser)

    def writer(self, request: Request) -> None:
        """POST always needs the bearer token, comes from no other site, and not too often."""
        self._same_origin(request)
        # No password here: a browser would add it to a request that another site made it send.
        self._authenticate(request, basic=False, offer_basic=False)
        wait = self._posts.wait()
        if wait > 0:
            raise Problem(
                429,
                "too-many-requests",
                f"More than {_POSTS_A_MINUTE} rotations were asked for within a minute",
                "Nothing was done",
                "Try again later, or use `rotator rotate`",
                retry_after(wait),
            )
        self._posts.take()

    def _same_origin(self, request: Request) -> None:
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        host = request.headers.get("host", "").lower()
        foreign = origin is not None and (origin == "null" or _host_of(origin) != host)
        if foreign or site not in (None, "same-origin", "none"):
            raise Problem(
                403,
                "cross-origin",
                "The request was made by a page of another site",
                "Nothing was done",
                "Send it from a program, not from a page",
            )

    def _expected(self) -> bytes | None:
        """The token as it is now; the last good one while its file cannot be read."""
        if self._read is not None:
            try:
                token = self._read()
            except InvalidInput as error:
                log.warning("the former API token stays in use: %s", error)
            else:
                # An empty token is none: it would let in whoever sends nothing.
                self._token = token.reveal().encode("utf-8", "surrogatepass") if token else None
        return self._token

    def _authenticate(self, request: Request, *, basic: bool, offer_basic: bool) -> None:
        expected = self._expected()
        if expected is None:
            raise Problem(
                403,
                "no-token",
                "This needs the API token, and none is configured",
                "Nothing was done",
                "Set ROTATOR_API_TOKEN or ROTATOR_API_TOKEN_FILE and start the daemon again",
            )
        address = caller(request)
        wait = self._failures.wait(address)
        if wait > 0:
            raise Problem(
                429,
                "too-many-failures",
                "Too many requests from this address had no valid token",
                "Nothing was done, and a valid token is not looked at either",
                "Try again later",
                retry_after(wait),
            )
        presented = _presented(request, basic=basic)
        if presented is not None and hmac.compare_digest(presented, expected):
            return
        # Asking without any token is how a browser begins, and guesses nothing.
        if presented is not None:
            self._failures.take(address)
        raise Problem(
            401,
            "unauthorized",
            "The API token is missing or wrong",
            "Nothing was done",
            "Send the header `Authorization: Bearer` with the value of ROTATOR_API_TOKEN",
            challenges=(_BEARER, _BASIC) if offer_basic else (_BEARER,),
        )


def caller(request: Request) -> str:
    """The address at the other end. What a proxy says of whom it speaks for is not believed."""
    return request.client.host if request.client else ""


def _presented(request: Request, *, basic: bool) -> bytes | None:
    """The token that was sent, as bytes; never a Secret, because the scrubber would remember every guess."""
    sent = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if len(sent) != 1:
        return b"" if sent else None
    scheme, _, value = sent[0].strip().partition(b" ")
    value = value.strip()
    if scheme.lower() == b"bearer":
        return bytes(value)
    if basic and scheme.lower() == b"basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _host_of(origin: str) -> str:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in ("http", "https") else ""


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # parsed when asked for, and raises for nonsense
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None
