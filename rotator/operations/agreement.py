"""How the destinations of policies compare, and what a person is told about it."""

from __future__ import annotations

from rotator.engine.ports import Ports
from rotator.engine.sync import ATTENTION, Agreement, compare
from rotator.errors import RotatorError, sentences
from rotator.model import Attention, Policy


def agreement_of(ports: Ports, policy: Policy) -> Agreement | None:
    """None for a policy with one destination, and while a rotation that has not minted yet is unfinished:
    what its destinations hold is then for that rotation to say. Raises as `compare`."""
    if len(policy.destinations) < 2:
        return None
    if any(not one.minted for one in ports.journal.unfinished(policy.project)):
        return None
    return compare(ports, policy)


def note_agreement(ports: Ports, policy: Policy, agreement: Agreement) -> bool:
    """Raises or clears attention for what only a person can mend; whether something was raised.

    A destination that merely differs is left to `run`, and one that is only away for now to its error.
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
        if not error.retryable:
            what = f"{where} cannot be compared with the authoritative one: {error.happened}"
            raised.append((ATTENTION, what, sentences(error.then, error.remedy)))
    for code, message, then in raised:
        ports.journal.raise_attention(Attention(policy.name, code, ports.clock.now(), message, then))
    if not raised and agreement.holds and not ports.journal.unfinished(policy.project):
        ports.journal.clear_attention(policy.name, (ATTENTION, "out-of-band"))
    return bool(raised)


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
    """Why destinations could not be compared that may be back by themselves."""
    return [error for _, error in agreement.unread if error.retryable]
