"""Verifies a token by logging in at the SMTP relay with it. No mail is sent."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from rotator.errors import InvalidInput
from rotator.secret import Secret
from rotator.verifiers.base import Attempt, Verdict
from rotator.verifiers.smtp_talk import Reply, Talk, TalkEnded, TalkLate, TlsFailed

USER: Final = "lettermint"
"""The user name of every project; its token is the password (vendor's guide to sending with SMTP)."""
SECONDS: Final = 10.0
"""For a whole attempt."""
CONNECT_SECONDS: Final = 5.0
"""For one address to accept a connection, and for the TLS handshake."""
PORTS: Final = {"smtps": 465, "smtp": 587}
"""Implicit TLS and STARTTLS (vendor's guide to sending with SMTP)."""

_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")
_NOT_ABOUT_THE_TOKEN: Final = frozenset({500, 501, 502, 503, 504, 530, 538})
"""Codes of RFC 5321 and RFC 4954 that complain about the command, its place or its encryption. Whatever
other 5xx a relay chooses for a token that it does not take (the vendor documents none), a new token that
is not known there yet may get."""


class SmtpVerifier:
    """Logs in as a consumer of SMTP would: TLS, EHLO, one AUTH PLAIN, QUIT.

    `url` is `smtps://host:port` for implicit TLS, or `smtp://host:port` for STARTTLS, which is required
    then: a token is never sent in the clear. Raises InvalidInput for any other URL.

    A certificate that is not accepted is UNKNOWN, as everywhere: it proves nothing about the token, and
    before a mint it stops the rotation all the same.

    There is no control as in `ping`, where an invented token is tried first to see it refused: it would be
    a failed log-in from this address, and relays count those and lock out. Nor is there the doubt that
    calls for it: the vendor's sources disagree on whether ping looks at its token, not on AUTH.
    """

    type = "smtp"

    def __init__(
        self, url: str, *, seconds: float = SECONDS, connect_seconds: float = CONNECT_SECONDS
    ) -> None:
        try:
            parts = urlsplit(url)
            port, host = parts.port, parts.hostname
        except ValueError:
            parts, port, host = urlsplit(""), None, None
        if parts.scheme not in PORTS or not host:
            raise InvalidInput(
                "The URL of the SMTP relay is not of the kind needed here",
                remedy="Set LETTERMINT_SMTP_URL to smtps://host:465, or to smtp://host:587 for STARTTLS.",
            )
        self._implicit = parts.scheme == "smtps"
        self._host = host
        self._port = port or PORTS[parts.scheme]
        self._seconds = seconds
        self._connect_seconds = connect_seconds

    def verify(self, token: Secret, *, key: str) -> Attempt:  # noqa: ARG002 - the port's signature
        """As the port says; `key` is of no use to a log-in."""
        if _SENDABLE.fullmatch(token.reveal()) is None:
            return Attempt(
                Verdict.FAILED,
                "the token is empty or holds white space or a non-ASCII character, so it cannot be sent",
            )
        try:
            with Talk(
                self._host, self._port, seconds=self._seconds, connect_seconds=self._connect_seconds
            ) as talk:
                attempt = self._converse(talk, token)
                talk.quit()
                return attempt
        except TalkEnded as ended:
            return self._attempt(Verdict.UNKNOWN, f"could not be asked: {ended}")

    def _converse(self, talk: Talk, token: Secret) -> Attempt:
        if self._implicit:
            self._encrypt(talk)
        refusal = self._refusal("its greeting", self._greeting(talk), 220)
        if refusal is not None:
            return refusal
        hello = talk.hello()
        refusal = self._refusal("EHLO", hello, 250)
        if refusal is None and not self._implicit:
            if "STARTTLS" not in hello.keywords():
                return self._attempt(
                    Verdict.FAILED,
                    "offers no STARTTLS, so the token was not sent: whoever stands between may have taken the "
                    f"offer out, or this is a port for TLS from the start (then write smtps://{self._shown})",
                )
            refusal = self._refusal("STARTTLS", talk.ask("STARTTLS"), 220)
            if refusal is None:
                talk.encrypt()
                # What was said before TLS counts for nothing (RFC 3207, section 4.2).
                hello = talk.hello()
                refusal = self._refusal("EHLO", hello, 250)
        if refusal is not None:
            return refusal
        if "PLAIN" not in hello.keywords().get("AUTH", ()):
            return self._attempt(
                Verdict.FAILED,
                "does not offer AUTH PLAIN, so the token was not sent: check host and port in "
                "LETTERMINT_SMTP_URL",
            )
        return self._judged(talk.authenticate(USER, token).code)

    def _encrypt(self, talk: Talk) -> None:
        try:
            talk.encrypt()
        except TlsFailed as failure:
            hint = f"if this is a port for STARTTLS, write smtp://{self._shown}"
            raise TalkEnded(f"{failure}; {hint}") from None

    def _greeting(self, talk: Talk) -> Reply:
        try:
            return talk.reply()
        except TalkLate as late:
            if self._implicit:
                raise
            hint = f"if this is a port for TLS from the start, write smtps://{self._shown}"
            raise TalkLate(f"{late}; {hint}") from None

    def _refusal(self, what: str, reply: Reply, wanted: int) -> Attempt | None:
        """None when the relay goes along; nothing said so far was about the token."""
        if reply.code == wanted:
            return None
        if reply.code >= 500:
            return self._attempt(
                Verdict.FAILED,
                f"refused before the token was sent, at {what} ({reply.code}): check LETTERMINT_SMTP_URL, and "
                "whether this machine's address may use the relay",
            )
        return self._attempt(
            Verdict.UNKNOWN, f"was not ready before the token was sent, at {what} ({reply.code})"
        )

    def _judged(self, code: int) -> Attempt:
        """What the answer to AUTH says about the token."""
        if code == 235:
            return self._attempt(Verdict.PASSED, "accepted the token (235)")
        if code in _NOT_ABOUT_THE_TOKEN:
            return self._attempt(Verdict.FAILED, f"does not take AUTH PLAIN as it was sent ({code})")
        if code >= 500:
            return self._attempt(
                Verdict.NOT_YET,
                f"refused the token ({code}): it does not know it, or not yet, or SMTP is switched off for "
                "the project",
            )
        if code >= 400:
            return self._attempt(Verdict.UNKNOWN, f"could not check the token at the moment ({code})")
        # Not by QUIT: to a relay that still waits for something (334), that could be a second attempt.
        raise TalkEnded(f"it answered AUTH with {code}, which proves nothing")

    @property
    def _shown(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    def _attempt(self, verdict: Verdict, what: str) -> Attempt:
        return Attempt(verdict, f"the SMTP relay {self._shown} {what}")
