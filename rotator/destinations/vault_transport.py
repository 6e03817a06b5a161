"""One request to Vault and its whole answer. The only module that imports hvac and requests.

hvac's own adapter makes the requests (address, namespace, token and request headers); its calls above that are
not used, because they decode JSON, and a number would not be written back as it was read.

- Only what is given here counts: hvac's client reads VAULT_ variables and ~/.vault-token, its adapter does not.
- Any status is an answer. Errors of the libraries hold the request, token included, so none leaves this
  module, not even as the context of one of ours.
- Proxies of the environment are honoured, save for loopback; a private CA is VAULT_CACERT, else what
  SSL_CERT_FILE or REQUESTS_CA_BUNDLE name. `~/.netrc` and cookies are not used.
- A standby that cannot forward answers 307 with the active node's address. That one redirect is followed, once,
  to a server of the same scheme, with our own path; over https its certificate is checked like the first
  one's. Any other redirect is refused, so the token goes nowhere that Vault did not name.
- A call may take 5 s to connect and 10 s of silence before it is answered; the body of the answer comes within 10 s
  more, however slowly the other side drips, is not unpacked, and is no larger than 4 MiB.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import rotator
from rotator.destinations.base import DestinationRefused
from rotator.destinations.vault_errors import Reply, no_answer
from rotator.errors import RotatorError
from rotator.secret import Secret
from rotator.urllib3_calls import reason, whole_body
from rotator.urls import is_loopback

Timeouts = tuple[float, float]
"""Seconds to connect, and seconds of silence while an answer is awaited."""
TIMEOUTS: Final[Timeouts] = (5.0, 10.0)

MAX_BYTES: Final = 4 * 1024 * 1024
"""Of an answer. Vault takes a secret of 1 MiB at most (0.5 MiB in integrated storage), and more only if told to."""
_CONNECTIONS: Final = 64
"""Kept open; with more threads than that, connections are made and thrown away."""
_MERGE_PATCH: Final = "application/merge-patch+json"
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")


def certificate_problem(cacert: Path) -> str | None:
    """What is wrong with a file of CA certificates, or None."""
    try:
        ssl.create_default_context(cafile=str(cacert))
    except ssl.SSLError:
        return "holds no certificates in PEM form"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


class Transport:
    """Sends requests to one Vault. Safe to use from several threads."""

    def __init__(
        self, address: str, *, namespace: str | None, cacert: Path | None, timeouts: Timeouts = TIMEOUTS
    ) -> None:
        self._address = address
        self._namespace = namespace
        self._timeouts = timeouts
        self._verify: str | bool = str(cacert) if cacert is not None else _certificates()
        self._lock = threading.Lock()
        self._session: Any = None

    def send(
        self,
        method: str,
        path: str,
        *,
        token: Secret | None = None,
        body: str | None = None,
        version: int | None = None,
        timeouts: Timeouts | None = None,
    ) -> Reply:
        """One request; `path` is without `v1` and not quoted, `body` is JSON. Raises Unreachable (`Lost` where the
        request may have been executed) or DestinationRefused for a redirect that is not followed."""
        said = f"Vault gave no answer to {method} {path}"
        options: dict[str, Any] = {"timeout": timeouts or self._timeouts}
        if version is not None:
            options["params"] = {"version": version}
        if body is not None:
            kind = _MERGE_PATCH if method == "PATCH" else "application/json"
            options |= {"data": body.encode(), "headers": {"Content-Type": kind}}
        url = f"/v1/{quote(path, safe='/')}"
        status, location, text = self._exchange(said, self._address, method, url, token, options)
        if status == 307:
            active = self._active_node(location)
            status, location, text = self._exchange(said, active, method, url, token, options)
        if 300 <= status < 400:
            raise self._redirected(status, location)
        return Reply(status, text)

    def close(self) -> None:
        """Closes the connections; a later request opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _exchange(
        self, said: str, address: str, method: str, url: str, token: Secret | None, options: dict[str, Any]
    ) -> tuple[int, str, str]:
        """Status, Location and text of the answer. Errors are raised outside of the `except` block: the
        library's own hold the request."""
        from hvac.adapters import RawAdapter  # noqa: PLC0415  # loaded by the first call, not by `rotator --help`

        problem: RotatorError
        try:
            adapter = RawAdapter(
                base_uri=address,
                token=token.reveal() if token is not None else None,
                verify=self._verify,
                session=self._connections(),
                namespace=self._namespace,
                allow_redirects=False,
                ignore_exceptions=True,
            )
            # A copy of the headers: the adapter adds the token to what it is given.
            headers = dict(options.get("headers", {}))
            response = adapter.request(method, url, **{**options, "headers": headers, "stream": True})
            body = whole_body(response.raw, seconds=options["timeout"][1], most=MAX_BYTES)
            text = body.decode("utf-8", errors="replace")
            return int(response.status_code), str(response.headers.get("Location", "")), text
        # Whatever a library throws becomes an error of ours.
        except Exception as error:  # noqa: BLE001
            connect, silence = options["timeout"]
            why, sent = reason(error, connect=connect, silence=silence, most=MAX_BYTES)
            problem = no_answer(said, why, sent=sent)
        raise problem

    def _connections(self) -> Any:
        import requests  # noqa: PLC0415  # see _exchange
        from requests.adapters import HTTPAdapter  # noqa: PLC0415

        with self._lock:
            if self._session is None:
                session = requests.Session()
                session.verify = self._verify
                session.auth = _no_netrc
                session.trust_env = not is_loopback(urlsplit(self._address).hostname)
                session.headers["User-Agent"] = f"rotator/{rotator.__version__}"
                # Nothing to unpack, so a small answer cannot become a large one.
                session.headers["Accept-Encoding"] = "identity"
                session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
                for scheme in ("http://", "https://"):
                    session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS, max_retries=0))
                self._session = session
            return self._session

    def _active_node(self, location: str) -> str:
        """The address that a standby names. Raises DestinationRefused for one that is not to be trusted."""
        target = _split(location)
        if target is None or target[0] != urlsplit(self._address).scheme:
            raise self._redirected(307, location)
        return f"{target[0]}://{target[1]}"

    def _redirected(self, status: int, location: str) -> DestinationRefused:
        target = _split(location)
        to = f"{target[0]}://{target[1]}" if target else "another place"
        return DestinationRefused(
            f"VAULT_ADDR answers with a redirect ({status}) to {to}, which is not followed with a token",
            then="Nothing was changed",
            remedy="Set VAULT_ADDR to the address of Vault itself; `api_addr` in its configuration names each node",
        )


def _certificates() -> str | bool:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name):
            return os.environ[name]
    return True


def _no_netrc(request: Any) -> Any:
    """As a session's `auth` it keeps requests from sending what `~/.netrc` has for this host."""
    return request


def _split(location: str) -> tuple[str, str] | None:
    """Scheme and host of a redirect, if they are what they should be."""
    try:
        parts = urlsplit(location)
        port = parts.port
    except ValueError:
        return None
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        return None
    return parts.scheme, parts.netloc
