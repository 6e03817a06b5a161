"""Tokens that somebody else changed. A regenerated token makes its policy look young, so that nothing is
due for a long time, while readers may hold a dead one.
"""

from __future__ import annotations

from typing import Final

from rotator.engine.runner import Ports
from rotator.model import Policy, ProjectFacts
from rotator.provider.base import PingAnswer

FINE: Final = ""
FOUND: Final = "found"
"""Dead, and something is to be done about it now."""
KNOWN: Final = "known"
"""Dead; attention says so already, and only a person may do something about it."""

_TRIES: Final = 3
_PAUSE: Final = 1.0
"""Seconds between presentations of a token that may be too young to be known everywhere."""


def notice(ports: Ports, policy: Policy, facts: ProjectFacts) -> str:
    """Whether readers of a policy that is not due hold a dead token: FINE, FOUND or KNOWN.

    The store is read only where something points to it: the provider's time is not the one remembered,
    or attention stands, which is cleared when it holds no more. Raises as reading and `ping` do.
    """
    known = ports.journal.project_facts(facts.id)
    unmoved = known is not None and known[0].token_generated_at == facts.token_generated_at
    standing = any(entry.code == "token-dead" for entry in ports.journal.attentions(policy.name))
    if unmoved and not standing:
        return FINE
    dead = _dead(ports, policy)
    if dead is False and standing:
        ports.journal.clear_attention(policy.name, ("token-dead",))
    if not dead:
        return FINE
    return KNOWN if standing and policy.on_out_of_band == "alarm" else FOUND


def is_dead(ports: Ports, policy: Policy) -> bool:
    """Whether the token that readers hold is refused. Raises as reading and `ping` do."""
    return _dead(ports, policy) is True


def _dead(ports: Ports, policy: Policy) -> bool | None:
    """None where no token is stored."""
    token = ports.destination(policy.authoritative).read().value_if_token
    if token is None:
        return None
    for number in range(_TRIES):
        if ports.provider.ping(token) is not PingAnswer.DEAD:
            return False
        if number < _TRIES - 1:
            ports.clock.wait(_PAUSE)
    return True
