"""The demo's acts. Each says what it does, does it with real processes, and checks what came of it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO

from rotator.clock import parse_rfc3339
from rotator.demo.consumer import INTERVAL, Consumer
from rotator.demo.scene import DRAIN_MIN, KEY, ROTATE_LIMIT, SENDER, Scene
from rotator.simulator.server import Simulator

_BEFORE_AND_AFTER: Final = 0.3
"""Seconds of sending around a rotation."""
_PATIENCE: Final = 30.0
_SLOW_ANSWER: Final = 5.0
_SECRETS: Final = ("orders.json", "checkout.json")
"""What the names of all files begin with in which a token may stand."""
_HAIR: Final = 0.002
"""Seconds by which two clocks of this machine may read apart."""


class Teller:
    """Prints the story and keeps count of what did not hold."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.failed = 0

    def say(self, text: str = "") -> None:
        self._out.write(f"{text}\n")
        self._out.flush()

    def act(self, number: int, title: str, *lines: str) -> None:
        self.say(f"\n{number}. {title}")
        for line in lines:
            self.say(f"   {line}")

    def command(self, text: str) -> None:
        self.say(f"   $ {text}")

    def check(self, held: bool, text: str) -> None:
        self.failed += not held
        self.say(f"   {'ok    ' if held else 'FAILED'}  {text}")


def run_demo(out: TextIO) -> int:
    """0 only if everything the demo claims did hold."""
    started = time.monotonic()
    teller = Teller(out)
    with (
        tempfile.TemporaryDirectory(prefix="rotator-demo-") as folder,
        Simulator(rotate_limit=ROTATE_LIMIT, read_limit=3000) as simulator,
    ):
        scene = Scene(Path(folder), simulator)
        teller.say("rotator demo: nothing to set up, nothing leaves this machine.")
        teller.say()
        teller.say(f"A local Lettermint listens on {simulator.url}")
        teller.say("and keeps the rules of the real one: a mint is answered once, and the old")
        teller.say("token dies with it. Its token is stored in orders.json, as")
        teller.say(f"{KEY}.")
        for act in (_in_place, _zero_downtime, _lost_answer, _kill):
            act(scene, teller)
        _evidence(scene, teller)
    seconds = time.monotonic() - started
    if teller.failed:
        teller.say(f"\n{teller.failed} of the demo's claims did NOT hold ({seconds:.0f} s).")
        return 1
    teller.say(f"\nEverything held ({seconds:.0f} s). README.md says how to point it at real stores.")
    return 0


def _in_place(scene: Scene, teller: Teller) -> None:
    teller.act(
        1,
        "A rotation in place, while mail is being sent",
        f"A consumer reads the token for each message and sends every {INTERVAL * 1000:.0f} ms.",
    )
    old = scene.orders.token
    with Consumer(scene.simulator.url, scene.orders.path, KEY, SENDER) as consumer:
        time.sleep(_BEFORE_AND_AFTER)
        teller.command("rotator rotate orders --yes")
        ran = scene.rotator("rotate", "orders", "--yes", "--reason", "demo")
        time.sleep(_BEFORE_AND_AFTER)
    rotation = ran.rotation
    steps = ", ".join(step["name"] for step in rotation.get("steps", []))
    teller.check(ran.code == 0 and rotation.get("state") == "completed", f"completed: {steps}")
    teller.check(
        scene.simulator.is_alive(scene.orders.token)
        and scene.orders.token != old
        and scene.orders.other_field_untouched,
        "the new token is stored and lives; the field beside it is untouched",
    )
    teller.check(not scene.simulator.is_alive(old), "the old token is refused with 401")
    outage = rotation.get("outage_seconds") or {"min": 0.0, "max": 0.0}
    seen = consumer.seen
    teller.check(
        bool(rotation.get("outage_seconds")) and outage["min"] <= _true_outage(scene, rotation) + _HAIR,
        f"measured outage: between {outage['min']:.3f} and {outage['max']:.3f} s",
    )
    # A consumer notices within its own interval, and a failed send takes a moment as well.
    teller.check(
        seen.attempts > 0 and seen.outage <= outage["max"] + 10 * INTERVAL,
        f"the consumer saw {seen.failures} of {seen.attempts} sends fail, over {seen.outage:.3f} s",
    )


def _true_outage(scene: Scene, rotation: dict[str, object]) -> float:
    """From the mint, as the local Lettermint recorded it, to the first send that it accepted after it."""
    mint = scene.simulator.mints(scene.project)[-1]
    accepted = [
        event.at
        for event in scene.simulator.events
        if event.call in {"send", "ping"} and event.executed and event.token == mint.new
    ]
    return mint.at.seconds_until(accepted[0]) if accepted and rotation else 0.0


def _zero_downtime(scene: Scene, teller: Teller) -> None:
    teller.act(
        2,
        "A rotation without an outage, while mail is being sent",
        "Policy checkout names two projects of one sending domain. The new token comes",
        "from the idle one, and the old one is retired once nobody uses it any more.",
    )
    old = scene.checkout.token
    with Consumer(scene.simulator.url, scene.checkout.path, KEY, SENDER) as consumer:
        time.sleep(_BEFORE_AND_AFTER)
        teller.command("rotator rotate checkout --yes")
        ran = scene.rotator("rotate", "checkout", "--yes", "--reason", "demo")
        time.sleep(_BEFORE_AND_AFTER)
    rotation, drain, seen = ran.rotation, ran.rotation.get("drain") or {}, consumer.seen
    steps = [step["name"] for step in rotation.get("steps", [])]
    teller.check(
        ran.code == 0 and rotation.get("state") == "completed",
        f"completed: {', '.join(steps[:4])},\n           {', '.join(steps[4:])}",
    )
    teller.check(
        seen.attempts > 0 and seen.failures == 0,
        f"{seen.failures} of {seen.attempts} sends failed; longest gap between two: {seen.longest_gap:.3f} s",
    )
    overlap = _overlap(rotation)
    teller.check(
        DRAIN_MIN <= overlap <= _true_overlap(scene) + seen.longest_gap + _HAIR,
        f"old and new token lived side by side for {overlap:.3f} s",
    )
    teller.check(
        (drain.get("evidence"), drain.get("result")) == ("last-used", "quiet"),
        f"it was retired on evidence: not used since {drain.get('last_used_at')}",
    )
    teller.check(
        not scene.simulator.is_alive(old)
        and scene.simulator.is_alive(scene.checkout.token)
        and scene.checkout.other_field_untouched,
        "the old token is refused with 401, the new one lives",
    )


def _overlap(rotation: dict[str, Any]) -> float:
    """Seconds from the end of the promote to the beginning of the retirement; 0.0 where one is missing."""
    steps = {step["name"]: step for step in rotation.get("steps", [])}
    if "promote" not in steps or "retire" not in steps:
        return 0.0
    began, ended = (parse_rfc3339(steps[name]["at"]) for name in ("promote", "retire"))
    seconds: float = (ended - began).total_seconds() - steps["promote"]["seconds"]
    return max(0.0, seconds)


def _true_overlap(scene: Scene) -> float:
    """From the consumer's first message by the new token to the old one's death, as the local Lettermint recorded
    both. The consumer found the new token a gap between two of its sends later, at most."""
    # The messages that rotator verifies with have an idempotency key.
    mail = [message for message in scene.simulator.sends(scene.standby) if message.idempotency_key is None]
    retired = scene.simulator.mints(scene.main)
    return mail[0].at.seconds_until(retired[-1].old_dead_from) if mail and retired else 0.0


def _lost_answer(scene: Scene, teller: Teller) -> None:
    teller.act(
        3,
        "The answer with the new token gets lost",
        "Lettermint executes the call, kills the old token, and the connection drops.",
        "The new token was in that answer and nowhere else.",
    )
    before = scene.mints
    scene.simulator.faults.add("rotate", "lost-answer")
    teller.command("rotator rotate orders --yes")
    ran = scene.rotator("rotate", "orders", "--yes", "--reason", "demo")
    rotation = ran.rotation
    teller.check(ran.code == 0 and rotation.get("state") == "completed", "completed by the same command")
    teller.check(scene.mints - before == 2, "two mints: the lost one, and one after the evidence was in")
    teller.check(scene.simulator.is_alive(scene.orders.token), "the stored token lives")
    outage = rotation.get("outage_seconds") or {}
    teller.check(
        bool(outage),
        f"measured outage: between {outage.get('min', 0):.3f} and {outage.get('max', 0):.3f} s, "
        "since the lost call",
    )


def _kill(scene: Scene, teller: Teller) -> None:
    teller.act(
        4,
        "The process is killed at the worst moment",
        "SIGKILL after Lettermint minted and before rotator has the answer.",
    )
    before = scene.mints
    fault = scene.simulator.faults.add("rotate", "answer-latency", seconds=_SLOW_ANSWER)
    teller.command("rotator rotate orders --yes")
    process = scene.start_rotator("rotate", "orders", "--yes", "--reason", "demo")
    minted = _eventually(lambda: scene.mints > before or process.poll() is not None)
    process.kill()
    process.wait()
    scene.simulator.faults.remove(fault)
    teller.check(
        minted and process.returncode == -9 and not scene.simulator.is_alive(scene.orders.token),
        "killed; orders.json now holds a dead token, and the new one is lost",
    )
    teller.command("rotator run")
    ran = scene.rotator("run")
    teller.check(
        ran.code == 0 and ran.rotation.get("state") == "completed",
        "the next run took the rotation up and finished it",
    )
    teller.check(scene.simulator.is_alive(scene.orders.token), "the stored token lives")
    again = scene.rotator("run")
    teller.check(again.code == 0 and again.output.get("rotations") == [], "one more run finds nothing to do")


def _evidence(scene: Scene, teller: Teller) -> None:
    teller.act(5, "What is left for an investigator")
    teller.command("rotator audit verify")
    ran = scene.rotator("audit", "verify")
    teller.check(
        ran.code == 0 and ran.output.get("ok") is True,
        f"{ran.output.get('events', 0)} audit events, each chained to the one before it",
    )
    issued = [token.reveal().encode() for token in scene.simulator.issued()]
    written = [
        path for path in scene.folder.iterdir() if path.is_file() and not path.name.startswith(_SECRETS)
    ]
    clean = all(token not in path.read_bytes() for path in written for token in issued)
    teller.check(clean, "no token stands in the journal or in the audit log")
    teller.command("rotator history")
    history = scene.rotator("history")
    for rotation in history.output.get("rotations", []):
        outage = rotation["outage_seconds"]
        span = f"{outage['min']:.3f} to {outage['max']:.3f} s" if outage else "unknown"
        name, began = rotation["policy"], rotation["started_at"]
        teller.say(f"           {began}  {name:<8}  {rotation['state']}  {span}")
    status = scene.rotator("status")
    states = [policy["state"] for policy in status.output.get("policies", [])]
    teller.check(status.code == 0 and states == ["ok", "ok"], f"rotator status: {json.dumps(states)[1:-1]}")


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False
