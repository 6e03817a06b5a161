"""How the destinations of policies compare, and what a person is told about it."""

from __future__ import annotations

from collections.abc import Iterable

from rotator.engine.ports import Ports
from rotator.engine.recovery import open_of
from rotator.engine.states import overlaps
from rotator.engine.sync import ATTENTION, Agreement, compare
from rotator.errors import CredentialRejected, InvalidInput, NeedsAttention, RotatorError, sentences
from rotator.model import Attention, Form, Policy, Rotation, State


def agreement_of(ports: Ports, policy: Policy, *, doubted: bool = False) -> Agreement | None:
    """None while a rotation is at work, or what its destinations hold is for an open one to say. Raises as
    `compare`."""
    latest = ports.journal.rotations(policy.name, limit=1)
    unfinished = open_of(ports.journal, policy)
    if len(policy.destinations) < 2:
        if unfinished:
            return None
        _forget_followers(ports, policy)
    if not all(_has_spread(one) for one in unfinished):
        return None
    agreement = compare(ports, policy, doubted=doubted)
    if agreement.problem is not None and ports.journal.rotations(policy.name, limit=1) != latest:
        return None  # a rotation was at work meanwhile: what was read may be its own doing
    return agreement


def _has_spread(rotation: Rotation) -> bool:
    """Its token has been made current, so that destinations should hold it."""
    made = rotation.minted and (not overlaps(rotation) or rotation.promoted is not None)
    return made and rotation.state is not State.RUNNING


def _forget_followers(ports: Ports, policy: Policy) -> None:
    """Clears attention for a destination that the policy names no more."""
    if any(entry.code == ATTENTION for entry in ports.journal.attentions(policy.name)):
        ports.journal.clear_attention(policy.name, (ATTENTION,))


def note_agreement(
    ports: Ports, policy: Policy, agreement: Agreement, strangers: Iterable[NeedsAttention] = ()
) -> list[str]:
    """Raises or clears attention for what only a person can mend. Returns what was raised, in words.

    A destination that merely differs is left to `run`, one that is only away for now to its error, and so are
    wrong settings of this process: another one may have better ones.
    """
    troubles = [*([agreement.problem] if agreement.problem else []), *strangers]
    for where, error in agreement.unread:
        if not _is_told(error):
            what = f"{where} cannot be compared with the authoritative one: {error.happened}"
            troubles.append(NeedsAttention(ATTENTION, what, then=error.then, remedy=error.remedy))
    raised = _by_code(troubles)
    for code, (message, then) in raised.items():
        ports.journal.raise_attention(Attention(policy.name, code, ports.clock.now(), message, then))
    _clear_what_ended(ports, policy, agreement, raised)
    return [sentences(message, then) for message, then in raised.values()]


def _by_code(troubles: list[NeedsAttention]) -> dict[str, tuple[str, str]]:
    """The journal keeps one entry of each code: what shares one is said in one."""
    raised: dict[str, tuple[str, str]] = {}
    for trouble in troubles:
        message, then = trouble.happened, sentences(trouble.then, trouble.remedy)
        if (former := raised.get(trouble.attention)) is not None:
            message, then = f"{former[0]}; {message}", f"{former[1]} {then}"
        raised[trouble.attention] = (message, then)
    return raised


def _clear_what_ended(ports: Ports, policy: Policy, agreement: Agreement, raised: Iterable[str]) -> None:
    if open_of(ports.journal, policy):
        return
    ended = {"token-dead"} if agreement.dead is False else set()
    if agreement.holds:
        ended |= {ATTENTION, "out-of-band"}
    if policy.form is Form.STANDBY and agreement.leading is not None:
        fingerprint = ports.fingerprints.of(agreement.leading)
        if ports.journal.known_token(fingerprint) is None:
            ended.discard("out-of-band")  # perhaps raised because nothing shows whose token it is
    standing = {entry.code for entry in ports.journal.attentions(policy.name)}
    if gone := tuple((ended - set(raised)) & standing):
        ports.journal.clear_attention(policy.name, gone)


def note_differences(ports: Ports, policy: Policy, agreement: Agreement) -> None:
    """Raises attention for destinations that differ, where nobody brings them into line right away."""
    if agreement.differences and agreement.problem is None:
        ports.journal.raise_attention(
            Attention(
                policy.name,
                ATTENTION,
                ports.clock.now(),
                "Destinations disagree: " + "; ".join(str(one) for one in agreement.differences),
                f"`rotator run` or `rotator reconcile {policy.name}` writes the authoritative token there",
            )
        )


def unread_errors(agreement: Agreement) -> list[RotatorError]:
    """Why destinations could not be compared, where that is told and is no attention."""
    return [error for _, error in agreement.unread if _is_told(error)]


def _is_told(error: RotatorError) -> bool:
    settings = isinstance(error, InvalidInput) and not isinstance(error, CredentialRejected)
    return error.retryable or settings
