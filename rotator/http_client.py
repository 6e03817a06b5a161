"""The one place that builds HTTP requests, and the only module that imports httpx.

What httpx leaves open is decided here, once:

- No redirect is ever followed, so no credential travels to a host that nobody named.
- A call ends within its time-out in total, however slowly the other side drips. httpx bounds each
  read, not the whole; `http_watch` does, by shutting the socket down. Only the look-up of a host name is
  bounded by the resolver's own settings, and nothing is sent once the time is over.
- Each call has a connection of its own. A connection that was kept may be closed by the other side in
  the moment of reuse, and then nobody can tell whether a request on it was executed.
- A failure says whether the request *certainly* was not sent (`NotSent`) or may have been executed
  (`NoAnswer`). Exception types cannot tell that apart (httpcore swallows write errors, for one), so
  the moment of sending is taken from httpx's `trace` extension.
- Proxies (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`) and certificate stores (`SSL_CERT_FILE`,
  `SSL_CERT_DIR`) of the environment are honoured, because companies need them; a loopback address is
  never asked through a proxy. `~/.netrc` and cookies are not used.
- A credential's plaintext lives in one frame that raises nothing, so no traceback can show it, not
  even one that prints local variables; and the loggers of httpx and httpcore stay quiet below warning,
  because they write whole URLs.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import rotator
from rotator.clock import Clock
from rotator.errors import InvalidInput, Refused, UnclearOutcome, Unreachable
from rotator.http_watch import Watch
from rotator.secret import Secret
from rotator.urls import is_loopback

if TYPE_CHECKING:
    import httpx

CALL_TIMEOUT: Final = 10.0
"""Seconds for a whole call; the engine's deadline for an unclear mint is built on it."""
CONNECT_TIMEOUT: Final = 5.0
"""Seconds for one address to accept a connection, and for the TLS handshake."""
MAX_BYTES: Final = 1024 * 1024
"""No answer that we ask for comes near this; a larger one is somebody else's page."""

KEPT_HEADERS: Final = (
    "cf-ray",
    "content-type",
    "date",
    "request-id",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
)
"""The headers of an answer that leave this module."""

_LIBRARY_LOGGERS: Final = (
    "httpx",
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.proxy",
    "httpcore.socks",
)
_PRIVATE: Final = "its name leads to a private address"
_ALLOW: Final = "Allow its network in ROTATOR_WEBHOOK_NETWORKS, or correct the URL"
_TOKEN_VALUE: Final = re.compile(r"[\x21-\x7e]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")


class NotSent(Unreachable):
    """The request certainly did not reach the other side: refused, no name, no TLS, no time left."""

    code = "not-sent"


class NoAnswer(UnclearOutcome):
    """The request was sent, at least in part, and no whole answer came: it may have been executed."""

    code = "no-answer"


@dataclass(frozen=True)
class Credential:
    """A secret and the header that carries it, written `scheme secret` where there is a scheme."""

    header: str
    secret: Secret
    scheme: str = ""


@dataclass(frozen=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]
    credential: Credential | None
    body: bytes | None
    seconds: float


@dataclass(frozen=True)
class Answer:
    """An answer as it came, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Those of `KEPT_HEADERS` that were there; names in lower case."""
    body: bytes = field(repr=False)
    """Not in the repr: it may hold a token."""
    seconds: float
    """From before the connection to the last byte."""


def check_base_url(url: str) -> str:
    """The URL without a trailing slash. Raises InvalidInput, which never repeats the URL: a mistyped
    one may carry a password.

    https, or plain http to a loopback address; no credentials, query or fragment.
    """
    remedy = "Give an absolute URL such as https://api.lettermint.co/v1."
    if not _TOKEN_VALUE.fullmatch(url):
        raise InvalidInput("The API URL is empty or holds a space or a non-ASCII character", remedy=remedy)
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port != 0
    except ValueError:
        parts, port_is_fine = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise InvalidInput("The API URL is no absolute http(s) URL", remedy=remedy)
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise InvalidInput("The API URL holds credentials, a query or a fragment", remedy=remedy)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidInput(
            "The API URL uses plain http, which would show the token to the network",
            remedy="Use https; plain http is taken for localhost and loopback addresses only.",
        )
    return url.rstrip("/")


def is_header_safe(value: str) -> bool:
    """Whether a token can be a header's value: not empty, ASCII, no white space."""
    return _TOKEN_VALUE.fullmatch(value) is not None


def check_header_value(name: str, secret: Secret) -> None:
    """Raises InvalidInput, without the value, when a token cannot be sent in a header."""
    if not is_header_safe(secret.reveal()):
        raise InvalidInput(
            f"{name} is empty or holds white space or a non-ASCII character, so it cannot be sent",
            remedy="Look for a line break or a quotation mark that was copied along.",
        )


class HttpClient:
    """Sends requests. Safe to use from several threads; keeps no connection and no cookie."""

    def __init__(
        self,
        clock: Clock,
        *,
        call_timeout: float = CALL_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        max_bytes: int = MAX_BYTES,
        may_reach: Callable[[str, str], bool] | None = None,
    ) -> None:
        """`may_reach` says of an address whether a host may lead to it; a proxy of the environment is reached
        whatever it says, and has rules of its own."""
        self._clock = clock
        self._may_reach = may_reach
        self.call_timeout = call_timeout
        self._connect_timeout = connect_timeout
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._clients: dict[tuple[bool, bool], httpx.Client] = {}

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        credential: Credential | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One request and its whole answer. `timeout` is in seconds, `call_timeout` when None.

        Raises NotSent, NoAnswer, or InvalidInput when something cannot be sent safely. Redirects and
        errors of the other side are answers like any other.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if credential is not None:
            check_header_value(f"The credential for {host}", credential.secret)
            if parts.scheme != "https" and not is_loopback(host):
                raise InvalidInput(
                    f"A credential is never sent to {host} over plain http", remedy="Use https."
                )
        if any(_HEADER_VALUE.fullmatch(value) is None for value in headers.values()):
            raise InvalidInput("A request header holds a line break or a non-ASCII character")
        client = self._client(direct=is_loopback(host), tls=parts.scheme == "https")
        seconds = self.call_timeout if timeout is None else timeout
        with Watch(seconds, self._clock, self._guard(url)) as watch:
            request = _Request(method, url, headers, credential, body, seconds)
            outcome = self._exchange(client, request, watch)
        if isinstance(outcome, Answer):
            return outcome
        if watch.forbidden:
            outcome = _PRIVATE
        elif watch.late:
            outcome = f"no whole answer within {seconds:g} s"
        if watch.sent:
            raise NoAnswer(
                f"{host} gave no usable answer: {outcome}",
                then="The request had been sent and may have been executed",
            )
        raise NotSent(
            f"{host} could not be reached: {outcome}",
            then="Nothing was sent",
            remedy=_ALLOW
            if watch.forbidden
            else "Check the network, the proxy settings and the URL; it is safe to try again.",
        )

    def check_host(self, url: str) -> None:
        """Looks up where a URL's host leads, and asks and sends nothing. What a proxy looks up is not looked up here.

        Raises Refused where `may_reach` does not allow an address of it, NotSent for a name that is not known now.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if _goes_by_proxy(parts.scheme, host):
            return
        try:
            found = socket.getaddrinfo(host, parts.port or parts.scheme, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # a name that cannot even be asked for
            raise NotSent(
                f"{host} could not be looked up: {_reason(error)}",
                then="Nothing was sent",
                remedy="Check the URL and the name servers of this machine",
            ) from None
        may_reach = self._guard(url)
        if may_reach is not None and not all(may_reach(str(address[0]), host) for *_, address in found):
            raise Refused(
                f"{host}: {_PRIVATE}",
                then="Nothing was sent",
                remedy=_ALLOW,
            )

    def _guard(self, url: str) -> Callable[[str, str], bool] | None:
        import httpx  # noqa: PLC0415 - slow to load, and no command that stays at home needs it

        may_reach = self._may_reach
        if may_reach is None:
            return None
        # As httpx writes it, in punycode: another spelling of the host would look like a proxy.
        try:
            host = httpx.URL(url).raw_host.decode("ascii").strip("[]")
        except httpx.InvalidURL:
            raise InvalidInput("The URL cannot be used as it is written", then="Nothing was sent") from None
        return lambda address, asked: asked.strip("[]") != host or may_reach(address, host)

    def close(self) -> None:
        """Ends what httpx holds; a later call opens it anew."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _client(self, *, direct: bool, tls: bool) -> httpx.Client:
        with self._lock:
            if (direct, tls) not in self._clients:
                self._clients[direct, tls] = _build(direct=direct, tls=tls)
            return self._clients[direct, tls]

    def _exchange(self, client: httpx.Client, request: _Request, watch: Watch) -> Answer | str:
        """The answer, or why there is none. Raises nothing: this frame holds the credential's plaintext."""
        import httpx  # noqa: PLC0415 - slow to load, and no command that stays at home needs it

        sent_headers = dict(request.headers)
        credential = request.credential
        if credential is not None:
            sent_headers[credential.header] = f"{credential.scheme} {credential.secret.reveal()}".strip()
        begun = self._clock.boot()
        try:
            with client.stream(
                request.method,
                request.url,
                headers=sent_headers,
                content=request.body,
                timeout=httpx.Timeout(request.seconds, connect=min(request.seconds, self._connect_timeout)),
                extensions={"trace": watch.trace},
            ) as response:
                content = _read(response.iter_bytes(), self._max_bytes)
                kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
                framed = not response.headers.keys().isdisjoint(("content-length", "transfer-encoding"))
        # Whatever a library throws must be sorted into one of two: sent, or certainly not.
        except Exception as error:  # noqa: BLE001
            return _reason(error)
        if content is None:
            return f"its answer is larger than {self._max_bytes} bytes"
        if watch.late and not framed:
            # Our own shutting down of the socket looks like the end of a body that has no length.
            return "its answer was cut off"
        return Answer(response.status_code, MappingProxyType(kept), content, self._clock.boot() - begun)


def _build(*, direct: bool, tls: bool) -> httpx.Client:
    import httpx  # noqa: PLC0415 - slow to load, and no command that stays at home needs it

    for name in _LIBRARY_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if _only_warnings not in logger.filters:
            logger.addFilter(_only_warnings)
    settings: dict[str, Any] = {
        "headers": {
            "User-Agent": f"rotator/{rotator.__version__}",
            "Accept": "application/json",
            # Nothing to unpack, so a small answer cannot become a large one.
            "Accept-Encoding": "identity",
        },
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        "follow_redirects": False,
    }
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        # Reading the certificate store takes a tenth of a second; without it every certificate is refused.
        context = httpx.create_ssl_context() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if direct:
            # A transport of its own keeps httpx from looking for proxies.
            return httpx.Client(transport=httpx.HTTPTransport(verify=context, limits=limits), **settings)
        return httpx.Client(verify=context, limits=limits, **settings)
    except (ImportError, OSError, ValueError) as error:
        raise InvalidInput(
            f"The proxy or certificate settings of the environment cannot be used ({type(error).__name__})",
            remedy="Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR; "
            "SOCKS proxies are not supported.",
        ) from None


def _goes_by_proxy(scheme: str, host: str) -> bool:
    proxies = urllib.request.getproxies()
    named = proxies.get(scheme) or proxies.get("all")
    return bool(named) and not is_loopback(host) and not urllib.request.proxy_bypass(host)


def _only_warnings(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _read(chunks: Iterator[bytes], most: int) -> bytes | None:
    """The whole body, or None when it is larger than `most` bytes."""
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > most:
            return None
    return bytes(content)


def _reason(error: BaseException) -> str:
    """Why a call failed, in words of ours or of the operating system; never the library's own text."""
    import httpx  # noqa: PLC0415 - slow to load, and no command that stays at home needs it

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {link.verify_message}"
        if isinstance(link, ssl.SSLError):
            return f"TLS failed: {link.reason or 'no reason given'}"
        if isinstance(link, socket.gaierror):
            return "the host name cannot be looked up"
        if isinstance(link, OSError) and link.errno:
            return os.strerror(link.errno).lower()
        # httpcore cuts the chain of causes and keeps what it caught as its own first argument. Contexts
        # are not followed: they may lead to an exception that our caller was handling.
        inner = link.args[0] if link.args else None
        link = link.__cause__ or (inner if isinstance(inner, BaseException) else None)
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ProxyError):
        status = str(error)[:3]
        return f"the proxy refused the connection{f' ({status})' if status.isdigit() else ''}"
    if isinstance(error, httpx.ProtocolError):
        return "the connection ended early, or what came is not HTTP"
    return f"the call failed ({type(error).__name__})"
