"""Lettermint: is it there, does it take our team token, and what may that token do, as far as calls show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rotator.errors import CredentialRejected, RotatorError, exit_code_of, sentences
from rotator.operations.doctor.parts import Parts, Setup
from rotator.operations.doctor.report import UNUSABLE, Findings, Identity
from rotator.provider.base import PingAnswer, Provider

CLOCK_WARNING: Final = 30.0
CLOCK_FAILURE: Final = 300.0
"""Seconds. AWS refuses requests that were signed by a clock more than five minutes wrong."""
_FEW_READS: Final = 30

_SET_CLOCK: Final = (
    "Set this machine's clock (chrony or systemd-timesyncd keeps it): due dates and the times in the audit "
    "log come from it, and AWS refuses what a clock signs that is 5 minutes wrong."
)
_ABILITIES: Final = (
    "In the Lettermint dashboard give the team token the ability {}; an IP restriction of the token, or a "
    "proxy on the way, may also be the cause."
)


@dataclass(frozen=True)
class Reached:
    """What of the provider can be used for the checks of policies."""

    provider: Provider | None
    """None when it is not there: then nobody can be asked about a token."""
    reads_projects: bool
    team: Identity | None = None


def examine_provider(setup: Setup, parts: Parts, found: Findings) -> Reached:
    """Asks what needs no project: reachability, clock, team token, abilities, limits."""
    try:
        provider = parts.provider()
    except RotatorError as error:
        found.error("provider.reach", error)
        return Reached(None, reads_projects=False)
    there = _greet(setup, provider, found)
    if not there:
        for name in ("provider.clock", "provider.token", "provider.ability"):
            found.skipped(name, "The provider does not answer.", "Mend provider.reach first.")
        return Reached(None, reads_projects=False)
    team = _token(provider, found)
    if found.has_failed("provider.token"):
        hint = "Mend provider.token first."
        found.skipped("provider.ability", "The team token is not accepted.", hint)
        return Reached(provider, reads_projects=False)
    reads = _reads_projects(provider, found)
    if any(spec.type == "send" for policy in setup.policies for spec in policy.verify):
        _reads_messages(provider, found)
    found.unknown(
        "provider.ability",
        "write:projects is needed to mint, and only a rotation shows whether the team token has it.",
        "Look at the team token's abilities in the Lettermint dashboard: write:projects must be among them.",
        subject="write:projects",
    )
    return Reached(provider, reads, team)


def _greet(setup: Setup, provider: Provider, found: Findings) -> bool:
    try:
        greeting = provider.greet()
    except RotatorError as error:
        hint = sentences(f"LETTERMINT_API_URL is {setup.api_url}", error.remedy)
        found.failed("provider.reach", sentences(error.happened), hint, code=exit_code_of(error))
        return False
    found.ok("provider.reach", f"Lettermint answers at {setup.api_url}.")
    if greeting.invented is not PingAnswer.DEAD:
        found.warning(
            "provider.ping",
            f"Ping calls an invented token {greeting.invented}, so a ping proves nothing about a token.",
            "Verify with `{type: send, from: …}` in the policies, and check that no proxy answers at "
            "LETTERMINT_API_URL.",
        )
    _clock(greeting.clock_ahead, found)
    return True


def _clock(ahead: float | None, found: Findings) -> None:
    if ahead is None:
        hint = "Compare this machine's clock with another one."
        found.unknown("provider.clock", "The provider's answer carries no time.", hint)
        return
    differs = (
        f"This machine's clock is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} Lettermint's."
    )
    if abs(ahead) > CLOCK_FAILURE:
        found.failed("provider.clock", differs, _SET_CLOCK, code=UNUSABLE)
    elif abs(ahead) > CLOCK_WARNING:
        found.warning("provider.clock", differs, _SET_CLOCK)
    else:
        found.ok("provider.clock", "This machine's clock and Lettermint's agree.")


def _token(provider: Provider, found: Findings) -> Identity | None:
    try:
        team = provider.team()
    except RotatorError as error:
        found.error("provider.token", error)
        return None
    if team.limit is None or team.remaining is None:
        hint = "Nothing needs to be done: rotator waits when it is told to."
        found.unknown("provider.limits", "The provider does not say how many calls are left.", hint)
    elif team.remaining < min(_FEW_READS, team.limit // 2):
        found.warning(
            "provider.limits",
            f"{team.remaining} of {team.limit} reads are left in this minute.",
            "Find out what else uses this team token; a rotation waits until there is room.",
        )
    else:
        found.ok("provider.limits", f"{team.remaining} of {team.limit} reads are left in this minute.")
    if team.name is None:
        found.ok("provider.token", "The team token is accepted; it may not read its team's name (read:team).")
        return Identity("lettermint", "a team token whose team it may not tell")
    found.ok("provider.token", f"The team token is accepted; its team is {team.name}.")
    return Identity("lettermint", f"team {team.name}")


def _reads_projects(provider: Provider, found: Findings) -> bool:
    subject = "read:projects"
    try:
        next(provider.project_ids(), None)
    except CredentialRejected as error:
        hint = _ABILITIES.format("write:projects, which includes read:projects")
        found.failed("provider.ability", f"{error.happened}.", hint, code=UNUSABLE, subject=subject)
        return False
    except RotatorError as error:
        found.error("provider.ability", error, subject=subject)
        return False
    found.ok("provider.ability", "The team token may read projects (read:projects).", subject=subject)
    return True


def _reads_messages(provider: Provider, found: Findings) -> None:
    """What shows whose token a test send used; a rotation goes through without it."""
    for collection in ("messages", "routes"):
        subject = f"read:{collection}"
        try:
            allowed = provider.can_read(collection)
        except RotatorError as error:
            hint = sentences(error.remedy) or "Try again."
            found.unknown("provider.ability", sentences(error.happened), hint, subject=subject)
            continue
        if allowed:
            found.ok(
                "provider.ability", f"The team token may read {collection} ({subject}).", subject=subject
            )
        else:
            found.warning(
                "provider.ability",
                f"The team token may not read {collection}, so a test send cannot show whose token it used.",
                _ABILITIES.format(subject),
                subject=subject,
            )
