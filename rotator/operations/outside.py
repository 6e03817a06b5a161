"""Tokens that somebody else changed. A regenerated token makes its policy look young, so that nothing is
due for a long time, while readers may hold a dead one.
"""

from __future__ import annotations

from typing import Final

from rotator.engine import sync
from rotator.engine.ports import Ports
from rotator.model import Policy, ProjectFacts

FINE: Final = ""
FOUND: Final = "found"
"""Dead, and something is to be done about it now."""
KNOWN: Final = "known"
"""Dead; attention says so already, and only a person may do something about it."""


def notice(ports: Ports, policy: Policy, facts: ProjectFacts, *, seen_dead: bool = False) -> str:
    """Whether readers of a policy that is not due hold a dead token: FINE, FOUND or KNOWN.

    The store is read only where something points to it: the provider's time is not the one remembered,
    or attention stands, which is cleared when it holds no more. `seen_dead`: it was found dead just now.
    Raises as reading and `ping` do.
    """
    known = ports.journal.project_facts(facts.id)
    unmoved = known is not None and known[0].token_generated_at == facts.token_generated_at
    standing = any(entry.code == "token-dead" for entry in ports.journal.attentions(policy.name))
    if unmoved and not standing and not seen_dead:
        return FINE
    dead = seen_dead or is_dead(ports, policy)
    if not dead:
        if standing and dead is False:
            ports.journal.clear_attention(policy.name, ("token-dead",))
        return FINE
    return KNOWN if standing and policy.on_out_of_band == "alarm" else FOUND


def is_dead(ports: Ports, policy: Policy) -> bool | None:
    """Whether the token that readers hold is refused; None where none is stored.

    Raises as reading and `ping` do."""
    token = ports.destination(policy.authoritative).read().value_if_token
    return None if token is None else sync.is_dead(ports, token)
