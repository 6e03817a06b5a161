"""The policy by which another one is rehearsed: the same steps over projects and destinations that nobody depends on.

It is a policy of its own with a name that no person can write, so that nothing the journal keeps of a rehearsal
(rotations, tokens, attention, holds) is ever taken for the policy's own, or changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from rotator.errors import InvalidInput
from rotator.model import Policy, Strategy

SUFFIX: Final = "/rehearsal"
"""Of the name. A policy's own name has no slash."""
REHEARSED: Final = "rehearsed"
"""The key that tells its snapshot from the policy's own."""


def rehearsal_name(policy: str) -> str:
    """What the journal calls the rehearsals of a policy."""
    return policy + SUFFIX


def rehearsal_of(policy: Policy) -> Policy:
    """The policy's rehearsal. Raises InvalidInput where it has none.

    `create-before-revoke` keeps its strategy only where `rehearsal.standby` gives it something to overlap with;
    of `assisted`, whose tokens a person makes, the rest is rehearsed in place. Consumers and notifiers are left
    out: nobody in production is restarted or woken by a rehearsal.
    """
    on = policy.rehearsal
    if on is None:
        raise InvalidInput(
            f"{policy.name} has nothing to be rehearsed on",
            then="Nothing was rehearsed",
            remedy="Give the policy the key `rehearsal: {project: ID, destinations: [...]}`, with a project that no "
            "policy rotates",
        )
    overlaps = on.standby_project is not None or on.standby_token is not None
    return replace(
        policy,
        name=rehearsal_name(policy.name),
        project=on.project,
        strategy=Strategy.CREATE_BEFORE_REVOKE if overlaps else Strategy.IN_PLACE,
        destinations=on.destinations,
        verify=on.verify or policy.verify,
        schedule=on.schedule,
        standby_project=on.standby_project,
        standby_token=on.standby_token,
        drain=on.drain,
        consumers=(),
        notify=(),
        rehearsal=None,
        # Whatever a command makes of the snapshot: there is nobody in it to restart or to wake.
        snapshot={**policy.snapshot, "consumers": [], "notify": [], REHEARSED: True},
        rehearses=policy.name,
    )


def rehearsals_of(policies: Iterable[Policy]) -> Iterator[Policy]:
    """The rehearsals of those that have one, in their order."""
    return (rehearsal_of(policy) for policy in policies if policy.rehearsal is not None)


def with_rehearsals(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """The policies, then their rehearsals: everything that a rotation in the journal may belong to."""
    listed = tuple(policies)
    return (*listed, *rehearsals_of(listed))


def policy_of(name: str) -> str:
    """The policy that people know a name of the journal by: a rehearsal is told under its policy's."""
    return name.removesuffix(SUFFIX)
