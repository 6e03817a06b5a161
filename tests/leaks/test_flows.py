"""No secret stands anywhere but in its store, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rotator.audit.events import EVENTS
from tests.acceptance.site import eventually
from tests.crash.harness import ROOT, Nursery
from tests.leaks import (
    flows_of_consumers,
    flows_of_emergency,
    flows_of_notifiers,
    flows_of_overlap,
    flows_of_rehearsals,
    flows_of_stores,
)
from tests.leaks.flows import FLOWS, accident
from tests.leaks.search import leaks
from tests.leaks.watched import WatchedSite, watched

EVERY = (
    FLOWS
    | flows_of_stores.FLOWS
    | flows_of_overlap.FLOWS
    | flows_of_emergency.FLOWS
    | flows_of_notifiers.FLOWS
    | flows_of_consumers.FLOWS
    | flows_of_rehearsals.FLOWS
)


@pytest.mark.one_in(2, 2)
@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("name", EVERY)
def test_no_flow_shows_a_secret(tmp_path: Path, nursery: Nursery, name: str, log_format: str) -> None:
    """Output, logs, tracebacks, journal, audit and every other file at debug: no secret in any form."""
    with watched(tmp_path, nursery, log_format) as site:
        EVERY[name](site)
        assert site.leaks() == []
        assert undocumented(site) == []
        assert any(content for content in site.printed.values())


def undocumented(site: WatchedSite) -> list[str]:
    """Events and fields in the flow's audit log that `EVENTS.md` does not have."""
    log = site.folder / "state" / "audit.jsonl"
    if not log.is_file():
        return []
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        known = EVENTS[event["event"]].data_of(event["event"]) if event["event"] in EVENTS else None
        found += [event["event"]] if known is None else [f for f in event["data"] if f not in known]
    return found


def test_the_same_flow_leaks_without_the_scrubber(tmp_path: Path, nursery: Nursery) -> None:
    """The control: a flow whose exception quotes the token is caught when the scrubber does nothing."""
    with watched(tmp_path, nursery, "json") as site:
        site.add()
        site.run("rotate", "billing", "--yes", prepare=accident("engine_explodes_unscrubbed"))
        assert [leak for leak in site.leaks() if leak.startswith("stderr of rotate")]


def test_no_process_shows_a_secret(tmp_path: Path, nursery: Nursery) -> None:
    """While a mint is in flight no process of ours has a secret among its arguments or in its name."""
    with watched(tmp_path, nursery, "json") as site:
        billing = site.add()
        site.environment["ROTATOR_CALL_TIMEOUT"] = "3s"
        site.simulator.faults.add("rotate", "answer-latency", seconds=2.0)
        process = subprocess.Popen(
            [sys.executable, "-m", "rotator", "rotate", "billing", "--yes"],
            env={**site.environment, "PYTHONPATH": str(ROOT)},
            cwd=site.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        eventually(lambda: billing.mints)
        shown = {}
        for pid in (process.pid, *children(process.pid)):
            shown |= {
                f"{pid} {name}": Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "comm")
            }
            for task in Path(f"/proc/{pid}/task").iterdir():
                shown[f"thread {task.name}"] = (task / "comm").read_bytes()
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert b"rotate\0billing\0" in shown[f"{process.pid} cmdline"]
        assert leaks(site.secrets, {**shown, "stdout": output, "stderr": errors, **site.places()}) == []


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(one) for one in text.split()]
