"""How the destinations of policies compare, and what a person is told about it."""

from __future__ import annotations

from rotator.engine.ports import Ports
from rotator.engine.recovery import open_of
from rotator.engine.sync import ATTENTION, Agreement, compare
from rotator.errors import CredentialRejected, InvalidInput, RotatorError, sentences
from rotator.model import Attention, Policy, State


def agreement_of(ports: Ports, policy: Policy) -> Agreement | None:
    """None for a policy with one destination, and while a rotation is at work or has not minted yet: what its
    destinations hold is then for that rotation to say. Raises as `compare`."""
    if len(policy.destinations) < 2:
        _forget_followers(ports, policy)
        return None
    unfinished = open_of(ports.journal, policy)
    if any(not one.minted or one.state is State.RUNNING for one in unfinished):
        return None
    return compare(ports, policy)


def _forget_followers(ports: Ports, policy: Policy) -> None:
    """Clears attention for a destination that the policy names no more."""
    standing = any(entry.code == ATTENTION for entry in ports.journal.attentions(policy.name))
    if standing and not open_of(ports.journal, policy):
        ports.journal.clear_attention(policy.name, (ATTENTION,))


def note_agreement(ports: Ports, policy: Policy, agreement: Agreement) -> list[str]:
    """Raises or clears attention for what only a person can mend. Returns what was raised, in words.

    A destination that merely differs is left to `run`, one that is only away for now to its error, and so are
    wrong settings of this process: another one may have better ones.
    """
    raised = []
    if agreement.problem is not None:
        raised.append(
            (
                agreement.problem.attention,
                agreement.problem.happened,
                sentences(agreement.problem.then, agreement.problem.remedy),
            )
        )
    for where, error in agreement.unread:
        if not _is_told(error):
            what = f"{where} cannot be compared with the authoritative one: {error.happened}"
            raised.append((ATTENTION, what, sentences(error.then, error.remedy)))
    for code, message, then in raised:
        ports.journal.raise_attention(Attention(policy.name, code, ports.clock.now(), message, then))
    if not raised and agreement.holds and not open_of(ports.journal, policy):
        ports.journal.clear_attention(policy.name, (ATTENTION, "out-of-band"))
    return [sentences(message, then) for _, message, then in raised]


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
