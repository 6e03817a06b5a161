"""One conversation with an SMTP relay: bounded in time and in size, and nothing of it is ever repeated.

On plain sockets rather than smtplib, which leaves open what has to be certain here: its `login` tries one
mechanism after another, its time-out is for each read and not for the whole, a reply may have any number
of lines, it looks up this machine's own name, and its exceptions and debug output quote what was said.

- All of it ends within its seconds, however slowly the other side drips; only the look-up of the host
  name is bounded by the resolver's own settings, and nothing is sent once the time is over.
- What the relay says is kept as a code and, for the greeting of EHLO, its keywords. Texts of a relay may
  echo anything, so none leaves this module.
- The token's plaintext lives in one frame that raises nothing, and is written to a TLS socket or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from rotator.secret import Secret

MAX_LINE: Final = 4096
"""Bytes, its end included. RFC 5321 asks for no more than 512."""
MAX_ANSWER: Final = 32 * 1024
"""Bytes of all lines of one reply."""
QUIT_PATIENCE: Final = 1.0
"""Seconds to wait for the answer to QUIT, which decides nothing."""

_REPLY: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_CHUNK: Final = 4096

# X509_V_ERR_* of OpenSSL.
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64


class TalkEnded(Exception):
    """The conversation cannot go on. Its text is ours: why, to follow the relay's name."""


class TalkLate(TalkEnded):
    """The other side said nothing, or not all, in time."""


class TlsFailed(TalkEnded):
    """No TLS came about, for another reason than the certificate."""


@dataclass(frozen=True)
class Reply:
    """A reply code (RFC 5321, section 4.2) and the text of each line."""

    code: int
    lines: tuple[bytes, ...] = field(repr=False)

    def keywords(self) -> dict[str, frozenset[str]]:
        """The extensions in a reply to EHLO, each with its parameters, in upper case."""
        found: dict[str, frozenset[str]] = {}
        for line in self.lines[1:]:
            name, *parameters = line.decode("ascii", "replace").upper().split()[:64] or [""]
            found[name] = found.get(name, frozenset()) | frozenset(parameters)
        return found


class Talk:
    """A connection to a relay. `seconds` are for all of it, `connect_seconds` for each address and for TLS.

    Every method raises TalkEnded and nothing else. Time is the machine's own, because sockets wait in
    real time whatever clock the rest of the program is given.
    """

    def __init__(self, host: str, port: int, *, seconds: float, connect_seconds: float) -> None:
        self._host = host
        self._seconds = seconds
        self._connect_seconds = connect_seconds
        self._ends = time.monotonic() + seconds
        self._received = b""
        self._socket = self._connect(port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def encrypt(self) -> None:
        """TLS from here on, with certificate and host name checked against the machine's store or
        SSL_CERT_FILE, read anew each time."""
        if self._received:
            # Bytes from before TLS must not be taken for the relay's later on (as in CVE-2011-0411).
            raise TlsFailed("it said more in the clear after it had agreed to TLS")
        self._socket.settimeout(min(self._left(), self._connect_seconds))
        try:
            context = ssl.create_default_context()
            self._socket = context.wrap_socket(self._socket, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            raise TalkEnded(_certificate_problem(error, self._host)) from None
        except ssl.SSLError as error:
            reason = (error.reason or "").replace("_", " ").lower()
            raise TlsFailed(f"TLS failed ({reason or type(error).__name__})") from None
        except (OSError, ValueError) as error:
            raise self._ended(error, "while TLS was agreed on") from None

    def hello(self) -> Reply:
        """EHLO, with our end's address as the name (RFC 5321, section 4.1.3): no name is looked up."""
        try:
            address = str(self._socket.getsockname()[0]).partition("%")[0]
        except OSError as error:
            raise self._ended(error, "before EHLO") from None
        return self.ask(f"EHLO [{'IPv6:' if ':' in address else ''}{address}]")

    def ask(self, line: str) -> Reply:
        """One command, which holds no secret, and its reply."""
        self._socket.settimeout(self._left())
        try:
            self._socket.sendall(line.encode("ascii") + b"\r\n")
        except OSError as error:
            raise self._ended(error, f"at {line.split(maxsplit=1)[0]}") from None
        return self.reply()

    def authenticate(self, user: str, token: Secret) -> Reply:
        """One AUTH PLAIN with its initial response (RFC 4954, RFC 4616): one attempt, whatever comes."""
        failure = self._send_credentials(user, token, self._left())
        if failure is not None:
            raise failure
        return self.reply()

    def _send_credentials(self, user: str, token: Secret, seconds: float) -> TalkEnded | None:
        """Why they could not be sent. Raises nothing: this frame holds the token's plaintext."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return TlsFailed("the connection is not encrypted, so the token was not sent")
        try:
            together = f"\0{user}\0{token.reveal()}".encode()
            self._socket.settimeout(seconds)
            self._socket.sendall(b"AUTH PLAIN " + base64.b64encode(together) + b"\r\n")
        # Whatever is thrown here would carry this frame, so it ends here.
        except Exception as error:  # noqa: BLE001
            return self._ended(error, "at AUTH")
        return None

    def quit(self) -> None:
        """Takes leave; what comes of it decides nothing any more."""
        self._ends = min(self._ends, time.monotonic() + QUIT_PATIENCE)
        with contextlib.suppress(TalkEnded):
            self.ask("QUIT")

    def reply(self) -> Reply:
        """The next whole reply."""
        lines: list[bytes] = []
        code, size = b"", 0
        while True:
            line = self._line()
            size += len(line)
            found = _REPLY.fullmatch(line.rstrip(b"\r\n"))
            if found is None or (lines and found[1] != code):
                raise TalkEnded("what it says is not SMTP")
            if size > MAX_ANSWER:
                raise TalkEnded(f"its answer is longer than {MAX_ANSWER} bytes")
            code = found[1]
            lines.append(found[3] or b"")
            if found[2] != b"-":
                return Reply(int(code), tuple(lines))

    def _line(self) -> bytes:
        """One line with its end."""
        while (length := self._received.find(b"\n") + 1) == 0 and len(self._received) < MAX_LINE:
            self._socket.settimeout(self._left())
            try:
                more = self._socket.recv(_CHUNK)
            except OSError as error:
                raise self._ended(error, "waiting for a reply") from None
            if not more:
                raise TalkEnded("it closed the connection before it had answered")
            self._received += more
        if not 0 < length <= MAX_LINE:
            raise TalkEnded(f"it sent a line of more than {MAX_LINE} bytes")
        line, self._received = self._received[:length], self._received[length:]
        return line

    def _connect(self, port: int) -> socket.socket:
        """The first address that accepts."""
        try:
            addresses = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            raise TalkEnded("the host name cannot be looked up") from None
        failure = TalkEnded("it has no address")
        for family, kind, protocol, _, address in addresses:
            seconds = min(self._left(), self._connect_seconds)
            try:
                connection = socket.socket(family, kind, protocol)
            except OSError as error:  # a family that this machine does not have
                failure = self._ended(error, "while connecting")
                continue
            try:
                connection.settimeout(seconds)
                connection.connect(address)
            except OSError as error:
                connection.close()
                failure = self._ended(error, "while connecting")
            else:
                return connection
        raise failure

    def _left(self) -> float:
        """Seconds left, more than none: zero would mean a socket that does not wait at all."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TalkLate(f"no whole answer within {self._seconds:g} s")
        return left

    def _ended(self, error: Exception, when: str) -> TalkEnded:
        """Why, in words of ours or of the operating system; never a library's own text."""
        if isinstance(error, TimeoutError) and not error.errno:
            return TalkLate(f"no answer in time ({when})")
        if isinstance(error, ssl.SSLError):
            return TalkEnded(f"the TLS connection broke ({when})")
        if isinstance(error, OSError) and error.errno:
            return TalkEnded(f"{os.strerror(error.errno).lower()} ({when})")
        return TalkEnded(f"{type(error).__name__} ({when})")


def _certificate_problem(error: ssl.SSLCertVerificationError, host: str) -> str:
    """What is wrong with the certificate, and what the reader may do about it."""
    if error.verify_code == _EXPIRED:
        return "its certificate has expired: check this machine's date; else whoever runs the relay must renew it"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet: check this machine's date"
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return (
            f"its certificate is not for the name {host}: LETTERMINT_SMTP_URL must name the host as its "
            "certificate does"
        )
    return (
        f"its certificate is not trusted here ({error.verify_message}): name a file with the certificates of "
        "the authorities to trust in SSL_CERT_FILE, or install the system's own"
    )
