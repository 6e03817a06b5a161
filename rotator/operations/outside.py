"""Tokens that somebody else changed. A regenerated token makes its policy look young, so that nothing is
due for a long time, while readers may hold a dead one.
"""

from __future__ import annotations

from typing import Final

from rotator.engine import sync
from rotator.engine.ports import Ports
from rotator.model import Policy, ProjectFacts

CODE: Final = "token-dead"
FINE: Final = ""
FOUND: Final = "found"
"""Dead, and something is to be done about it now."""
KNOWN: Final = "known"
"""Dead; attention says so already, and only a person may do something about it."""


def notice(ports: Ports, policy: Policy, facts: ProjectFacts, *, seen_dead: bool) -> str:
    """Whether readers of a policy that is not due hold a dead token: FINE, FOUND or KNOWN.

    The store is read only where something points to it: the provider's time is not the one remembered,
    or attention stands, which is cleared when it holds no more. `seen_dead`: it was found dead just now.
    Raises as reading and `ping` do.
    """
    known = ports.journal.project_facts(facts.id)
    unmoved = known is not None and known[0].token_generated_at == facts.token_generated_at
    standing = _stands(ports, policy)
    if unmoved and not standing and not seen_dead:
        return FINE
    dead = seen_dead or is_dead(ports, policy)
    if not dead:
        if standing and dead is False:
            _clear(ports, policy)
        return FINE
    return KNOWN if standing and policy.on_out_of_band == "alarm" else FOUND


def clear_if_alive(ports: Ports, policy: Policy) -> None:
    """Takes away the attention for a dead token where readers hold a living one by now. Raises as reading and
    `ping` do."""
    if _stands(ports, policy) and is_dead(ports, policy) is False:
        _clear(ports, policy)


def _stands(ports: Ports, policy: Policy) -> bool:
    return any(entry.code == CODE for entry in ports.journal.attentions(policy.name))


def _clear(ports: Ports, policy: Policy) -> None:
    ports.journal.clear_attention(policy.name, (CODE,))


def is_dead(ports: Ports, policy: Policy) -> bool | None:
    """Whether the token that readers hold is refused; None where none is stored.

    Raises as reading and `ping` do."""
    token = ports.destination(policy.authoritative).read().value_if_token
    return None if token is None else sync.is_dead(ports, token)
