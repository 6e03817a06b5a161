"""Types what a message offers: the commands in its backquotes, done on a bench as the command line does them."""

from __future__ import annotations

import re

from rotator.errors import RotatorError, exit_code_of
from rotator.model import Trigger
from rotator.operations import draining
from rotator.operations import reconcile as reconciling
from rotator.operations.reconcile import Reconciliation
from rotator.operations.status import refresh, statuses
from rotator.operations.verify import verify
from rotator.policies.cron import next_after
from rotator.secret import Secret
from rotator.views import PolicyStatus
from tests.engine.bench import Bench
from tests.engine.test_resumption import run


def offered(words: str) -> list[str]:
    """The commands that a message names, without the program's name."""
    return re.findall(r"`rotator ([^`]+)`", words)


def type_command(bench: Bench, command: str, *, made: Secret | None = None) -> int:
    """Does one command of ours for the bench's policy, and returns its exit code. `made` is what a person pastes."""
    verb, *rest = command.split()
    assert rest[:1] in ([], ["billing"]), command
    flags = rest[1:]
    journal = bench.wiring.journal
    try:
        if verb == "run":
            return run(bench).exit_code
        if verb == "rotate":
            return bench.runner.rotate(bench.policy, Trigger.MANUAL, "typed")[-1].exit_code
        if verb == "reconcile":
            if flags[:1] == ["--active"]:
                reconciling.name_active(bench.wiring.ports, bench.runner, bench.policy, flags[1])
            return reconciled(bench)
        if verb == "rollback":
            return draining.rollback(bench.runner, journal, bench.policy, "typed").exit_code
        if verb == "retire":
            force = flags == ["--force"]
            return draining.retire(bench.runner, journal, bench.policy, force=force).exit_code
        if verb == "stage":
            assert made is not None
            return draining.stage(bench.runner, bench.policy, made, "typed").exit_code
        if verb == "release":
            journal.release_hold("billing")
            return 0
        if verb == "verify":
            return 0 if all(one.ok for one in verify(bench.wiring.ports, bench.policy)) else 1
    except RotatorError as error:
        return exit_code_of(error)
    raise AssertionError(f"a message offers `rotator {command}`, which nobody can type")


def finding(bench: Bench) -> Reconciliation:
    """`rotator reconcile billing` without an answer to its question."""
    found = reconciling.reconcile(bench.wiring.ports, bench.policy)
    refresh(bench.wiring.ports, [bench.policy])
    return found


def reconciled(bench: Bench) -> int:
    """`rotator reconcile billing --yes`."""
    found = reconciling.reconcile(bench.wiring.ports, bench.policy)
    code = reconciling.act(bench.wiring.ports, bench.runner, bench.policy, found).exit_code
    refresh(bench.wiring.ports, [bench.policy])
    return 4 if found.action in ("wait", "stage") else code


def shown(bench: Bench) -> PolicyStatus:
    """`rotator status billing`."""
    (status,) = statuses(bench.wiring.journal, bench.clock, (bench.policy,), next_after)
    return status


def attention_words(bench: Bench, code: str) -> str:
    """What `rotator status` says of one thing that needs attention: what happened, and what to do."""
    entry = next(one for one in shown(bench).attention if one.code == code)
    return f"{entry.message}. {entry.next}"
