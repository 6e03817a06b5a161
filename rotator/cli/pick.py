"""Which policies a command means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from rotator.errors import InvalidInput
from rotator.policies.nearest import did_you_mean
from rotator.rehearsal import SUFFIX, policy_of, rehearsal_of

if TYPE_CHECKING:
    from rotator.model import Policy
    from rotator.settings import Settings


def named(policies: Sequence[Policy], names: Iterable[str]) -> list[Policy]:
    """The policies of these names, each once, in the order given. Raises InvalidInput."""
    by_name = {policy.name: policy for policy in policies}
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in by_name:
            raise unknown(name, by_name)
    return [by_name[name] for name in wanted]


def one(policies: Sequence[Policy], name: str) -> Policy:
    """The policy of this name; of `POLICY/rehearsal` what it is rehearsed by. Raises InvalidInput."""
    if name.endswith(SUFFIX):
        return rehearsal_of(named(policies, [policy_of(name)])[0])
    return named(policies, [name])[0]


def all_or_named(policies: Sequence[Policy], names: Sequence[str]) -> list[Policy]:
    """Those named; all when none is."""
    return named(policies, names) if names else list(policies)


def labelled(policies: Sequence[Policy], wanted: Sequence[str]) -> list[Policy]:
    """The policies that have every one of the labels (`name=value`). Raises InvalidInput if none has."""
    pairs = []
    for text in wanted:
        label, separator, value = text.partition("=")
        if not separator or not label:
            raise InvalidInput(
                f"-l {text} is not a label; accepted: LABEL=VALUE such as tier=prod",
                then="Nothing was done",
            )
        pairs.append((label, value))
    found = [p for p in policies if all(p.labels.get(label) == value for label, value in pairs)]
    if not found:
        known = sorted({f"{label}={value}" for p in policies for label, value in p.labels.items()})
        raise InvalidInput(
            f"No policy has the label{'' if len(pairs) == 1 else 's'} {', '.join(wanted)}",
            then="Nothing was done",
            remedy=f"Labels there are: {', '.join(known)}" if known else "No policy has any label",
        )
    return found


def chosen(
    settings: Settings,
    policies: Sequence[Policy],
    names: Sequence[str],
    labels: Sequence[str],
    *,
    everything: bool,
    otherwise_all: bool = False,
) -> list[Policy]:
    """The policies that a command line means, or else ROTATOR_SELECT; `otherwise_all` where no word means every
    policy. Raises InvalidInput."""
    ways = [way for way, given in (("POLICY", names), ("-l", labels), ("--all", everything)) if given]
    if len(ways) > 1:
        raise InvalidInput(
            f"{' and '.join(ways)} were given together, and they may mean different policies",
            then="Nothing was done",
            remedy="Give one of them",
        )
    if everything or (otherwise_all and not (labels or names or settings.select)):
        return list(policies)
    if labels:
        return labelled(policies, labels)
    if names or settings.select:
        return named(policies, names or settings.select)
    raise InvalidInput(
        "It was not said which policies to rotate",
        then="Nothing was done",
        remedy="Name them, select with -l LABEL=VALUE, or say --all; `rotator rotate --help` tells more",
    )


def unknown(name: str, known: Collection[str]) -> InvalidInput:
    """The error for a name that no policy has."""
    if name.endswith(SUFFIX) and policy_of(name) in known:
        return InvalidInput(
            f"{name} is a rehearsal, which this command does not take",
            then="Nothing was done",
            remedy=f"`rotator rehearse {policy_of(name)}` takes up what is open and rehearses anew",
        )
    names = sorted(known)
    return InvalidInput(
        f"There is no policy {name}{did_you_mean(name, names)}",
        then="Nothing was done",
        remedy=f"Policies there are: {', '.join(names)}"
        if 0 < len(names) <= 12
        else "`rotator status` lists them",
    )
