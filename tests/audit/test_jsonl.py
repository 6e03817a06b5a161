"""Recording: format, durability, repair, and refusing to begin a trail anew."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

from rotator.audit.base import AuditBroken, AuditEvent, AuditMisconfigured, ChainHead
from rotator.audit.chain import verify
from rotator.audit.jsonl import JsonlAudit
from rotator.audit.line import MAX_LINE
from rotator.clock import SystemClock
from rotator.errors import AuditUnavailable, InvalidInput, exit_code_of
from rotator.model import Trigger
from rotator.secret import Secret, scrub
from tests.audit.conftest import ACTOR, KEY, MemoryAnchor, Trail

EVENT = AuditEvent(
    "mint.token.intent", policy="billing", project="p-1", rotation="r-1", trigger="manual", data={"a": 1}
)


def lock_of(path: Path) -> int:
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


# --- the line -----------------------------------------------------------------------------------


def test_an_event_is_one_json_line(trail: Trail) -> None:
    """Every field of the format is there, and nothing else."""
    trail.writer().record(EVENT)
    assert trail.path.read_bytes().count(b"\n") == 1
    (event,) = trail.events
    mac = event.pop("mac")
    assert event == {
        "v": 1,
        "seq": 1,
        "at": "2026-11-21T12:00:00.000Z",
        "event": "mint.token.intent",
        "policy": "billing",
        "project": "p-1",
        "rotation": "r-1",
        "trigger": "manual",
        "actor": ACTOR,
        "data": {"a": 1},
        "prev": "0" * 64,
    }
    assert len(mac) == 64


def test_the_mac_is_what_the_format_says(trail: Trail) -> None:
    """An independent reader can check a line with nothing but HMAC-SHA256 and sorted JSON."""
    trail.writer().record(AuditEvent("test.step", data={"ü": "é", "b": [1, None, True, 1.5]}))
    event = trail.events[0]
    mac = event.pop("mac")
    text = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    key = hmac.new(KEY.reveal().encode(), b"rotator audit chain v1", hashlib.sha256).digest()
    assert hmac.new(key, text.encode(), hashlib.sha256).hexdigest() == mac


def test_each_line_continues_the_one_before(trail: Trail) -> None:
    """`seq` counts from 1 and `prev` is the MAC of the line before."""
    trail.write(3)
    events = trail.events
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert [event["prev"] for event in events] == ["0" * 64, events[0]["mac"], events[1]["mac"]]


def test_a_spooled_event_keeps_its_own_time(trail: Trail) -> None:
    """`at` is when it happened, not when the disk took it."""
    trail.writer().record(EVENT, at=trail.clock.now() - timedelta(minutes=5))
    assert trail.events[0]["at"] == "2026-11-21T11:55:00.000Z"


def test_any_text_can_be_recorded(trail: Trail) -> None:
    """Line ends, control characters, undecodable bytes of an argument: one line, and the chain holds."""
    odd = "a\nb\r\x00\x1b[2J\u2028\udce9 \U0001f600 \"'\\"
    trail.writer().record(AuditEvent("test.step", data={"reason": odd, odd: 1}))
    trail.write()
    assert trail.events[0]["data"] == {"reason": odd, odd: 1}
    assert verify(trail.path, KEY, trail.anchor.head).ok


def test_data_that_is_no_plain_json_is_recorded_as_well_as_it_can_be(trail: Trail) -> None:
    """A caller's mistake loses no event, because after a mint that would be worse."""
    data = {
        "enum": Trigger.MANUAL,
        "tuple": (1, 2),
        "proxy": MappingProxyType({1: "one"}),
        "time": trail.clock.now(),
        "nan": float("nan"),
        "path": Path("a"),
    }
    trail.writer().record(AuditEvent("test.step", data=data))
    assert trail.events[0]["data"] == {
        "enum": "manual",
        "tuple": [1, 2],
        "proxy": {"1": "one"},
        "time": "2026-11-21T12:00:00.000Z",
        "nan": "nan",
        "path": "a",
    }
    assert verify(trail.path, KEY, None).ok


def test_no_secret_gets_into_the_log(trail: Trail) -> None:
    """A secret that a caller let slip is blanked out, in values, keys and texts, and the line stays valid."""
    token = "lm_" + "T0ken" * 6
    password = 'pass"word\\1'
    Secret(token)
    Secret(password)
    trail.writer().record(
        AuditEvent(
            "test.step",
            policy=token,
            data={"error": f"401 for {token}", "list": [password], token: Secret(password)},
        )
    )
    text = trail.path.read_text()
    assert token not in text
    assert "word" not in text
    assert scrub(text) == text
    assert trail.events[0]["data"] == {
        "error": "401 for [secret]",
        "list": ["[secret]"],
        "[secret]": "[secret]",
    }
    assert verify(trail.path, KEY, None).ok


def test_an_event_too_long_for_a_line_is_shortened(trail: Trail) -> None:
    """It says so and keeps a hash, rather than block everything that waits behind it."""
    room = MAX_LINE - len(json.dumps({}))
    trail.writer().record(AuditEvent("test.step", data={"text": "x" * (room - 1000)}))
    trail.writer().record(AuditEvent("test.step", data={"text": "x" * room}))
    trail.write()
    events = trail.events
    assert len(events[0]["data"]["text"]) == room - 1000
    assert set(events[1]["data"]["too_long"]) == {"bytes", "sha256"}
    assert verify(trail.path, KEY, trail.anchor.head).ok


@pytest.mark.parametrize(
    "name", ["mint", "Mint.token", "mint.token.begin", "mint.token.intent.x", "mint..x", "mint.x "]
)
def test_event_names_have_a_grammar(name: str) -> None:
    """Anything but `subject.action` with an optional phase is refused where it is made."""
    with pytest.raises(ValueError, match="not an audit event name"):
        AuditEvent(name)


# --- the file -----------------------------------------------------------------------------------


def test_the_log_is_private_and_its_folder_is_made(trail: Trail) -> None:
    """Mode 0600 in a folder of mode 0700."""
    trail.write()
    assert stat.S_IMODE(trail.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(trail.path.parent.stat().st_mode) == 0o700


def test_the_anchor_learns_the_head_after_each_event(trail: Trail) -> None:
    """The journal remembers the last event that is on disk."""
    trail.write(2)
    last = trail.events[-1]
    assert trail.anchor.head == ChainHead(2, last["mac"])


def test_an_anchor_that_cannot_be_written_does_not_unsay_an_event(trail: Trail) -> None:
    """The event is recorded, the anchor is behind, and the chain still verifies."""
    trail.write()
    trail.anchor.writable = False
    trail.write(2)
    assert trail.anchor.head is not None
    assert trail.anchor.head.seq == 1
    report = verify(trail.path, KEY, trail.anchor.head)
    assert (report.ok, report.events, report.anchored) == (True, 3, True)


def test_an_anchor_that_cannot_be_read_does_not_stop_a_trail_that_is_there(trail: Trail) -> None:
    """With the log in place the event is recorded; without it nothing is, for nobody can tell what is missing."""
    trail.write()
    trail.anchor.readable = False
    trail.write()
    assert len(trail.lines) == 2
    trail.path.unlink()
    with pytest.raises(AuditUnavailable, match="the journal cannot be asked") as raised:
        trail.write()
    assert exit_code_of(raised.value) == 6
    assert not trail.path.exists()


def test_no_state_in_memory_is_trusted(trail: Trail) -> None:
    """Writers that take turns continue one another's lines."""
    one, other = trail.writer(), trail.writer()
    for writer in (one, other, other, one):
        writer.record(EVENT)
    assert verify(trail.path, KEY, trail.anchor.head).events == 4


def test_many_threads_write_one_chain(trail: Trail) -> None:
    """Nothing is lost and nothing is doubled, with one writer or several."""
    shared, own = trail.writer(), trail.writer()
    failures: list[Exception] = []

    def work(writer: JsonlAudit, worker: int) -> None:
        try:
            for number in range(20):
                writer.record(AuditEvent("test.step", data={"who": worker, "n": number}))
        except Exception as error:  # noqa: BLE001  # told to the test's own thread
            failures.append(error)

    trail.clock.wait = SystemClock().wait  # real threads need a real pause
    trail.clock.boot = SystemClock().boot  # and real time
    threads = [threading.Thread(target=work, args=((shared, own)[worker % 2], worker)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert verify(trail.path, KEY, trail.anchor.head).events == 120
    assert len({(event["data"]["who"], event["data"]["n"]) for event in trail.events}) == 120


WRITER = """
import sys
from pathlib import Path
from rotator.audit.base import AuditEvent
from rotator.audit.jsonl import JsonlAudit
from rotator.clock import SystemClock
from rotator.secret import Secret

class NoAnchor:
    def audit_head(self): return None
    def set_audit_head(self, head): pass

audit = JsonlAudit(Path(sys.argv[1]), Secret(sys.argv[2]), NoAnchor(), SystemClock(), {"pid": sys.argv[3]})
"""


def child(trail: Trail, who: str, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER + script, str(trail.path), KEY.reveal(), who],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_many_processes_write_one_chain(trail: Trail) -> None:
    """Daemon, cron job and emergency share one file, and the very first line is contested too."""
    script = "for n in range(25): audit.record(AuditEvent('test.step', data={'n': n}))"
    children = [child(trail, str(who), script) for who in range(4)]
    assert [one.communicate()[0] for one in children] == [""] * 4
    report = verify(trail.path, KEY, None)
    assert (report.ok, report.events, report.problem) == (True, 100, None)


def test_a_file_moved_away_meanwhile_is_not_written_to(trail: Trail) -> None:
    """Whoever waited for the lock of a file that has lost its name opens the one that has it now."""
    trail.write()
    trail.anchor.head = None
    moved = trail.path.with_name("old.jsonl")
    fd = lock_of(trail.path)

    def move(_seconds: float, _stop: threading.Event | None = None) -> bool:
        if trail.path.exists():
            trail.path.rename(moved)
            os.close(fd)
        return False

    trail.clock.wait = move  # what another process does while we wait
    trail.writer().record(EVENT)
    assert len(moved.read_bytes().splitlines()) == 1
    assert [event["seq"] for event in trail.events] == [1]


def test_a_lock_that_is_never_given_back_is_an_error(trail: Trail) -> None:
    """A stopped process that holds the lock does not hang us: after five seconds the audit is unavailable."""
    trail.write()
    started = trail.clock.boot()
    fd = lock_of(trail.path)
    try:
        for attempt in (trail.write, trail.writer().check_writable):
            with pytest.raises(AuditUnavailable, match="has held the lock") as raised:
                attempt()
            assert raised.value.retryable
    finally:
        os.close(fd)
    assert 10 <= trail.clock.boot() - started < 11
    trail.write()
    assert len(trail.lines) == 2


def test_a_link_to_the_log_is_followed(trail: Trail) -> None:
    """Operators link logs to other disks."""
    elsewhere = trail.path.parent.parent / "disk.jsonl"
    elsewhere.touch()
    trail.path.parent.mkdir()
    trail.path.symlink_to(elsewhere)
    trail.write(2)
    assert trail.path.is_symlink()
    assert len(elsewhere.read_bytes().splitlines()) == 2


# --- crashes and full disks ---------------------------------------------------------------------


@pytest.mark.parametrize("whole_events", [0, 2])
def test_a_torn_line_is_cut_off_and_that_is_recorded(trail: Trail, whole_events: int) -> None:
    """What a crash left without a line end is removed, and its size and hash are chained before the next event."""
    trail.write(whole_events)
    fragment = b'{"actor":{"host":"node-1"},"at":"2026-1'
    trail.path.parent.mkdir(exist_ok=True)
    with trail.path.open("ab") as file:
        file.write(fragment)
    trail.writer().record(EVENT)
    repaired, event = trail.events[-2:]
    assert repaired["event"] == "audit.repaired"
    assert repaired["data"] == {"bytes": len(fragment), "sha256": hashlib.sha256(fragment).hexdigest()}
    assert (repaired["policy"], repaired["seq"], event["seq"]) == (None, whole_events + 1, whole_events + 2)
    assert event["event"] == EVENT.event
    assert verify(trail.path, KEY, trail.anchor.head).ok


def test_a_whole_line_without_its_end_was_never_acknowledged(trail: Trail) -> None:
    """A crash one byte before the end tears the line like any other."""
    trail.write(2)
    trail.anchor.head = ChainHead(1, trail.events[0]["mac"])
    trail.path.write_bytes(trail.path.read_bytes()[:-1])
    trail.writer().record(EVENT)
    assert [event["event"] for event in trail.events] == ["test.step", "audit.repaired", EVENT.event]
    assert verify(trail.path, KEY, trail.anchor.head).ok


def test_an_acknowledged_line_is_never_taken_for_a_torn_one(trail: Trail) -> None:
    """Where the journal remembers the event, a missing line end is damage: refused, and nothing is cut."""
    trail.write(2)
    damaged = trail.path.read_bytes()[:-1]
    trail.path.write_bytes(damaged)
    with pytest.raises(AuditBroken, match="ends with event 1"):
        trail.write()
    assert trail.path.read_bytes() == damaged


def test_a_full_disk_leaves_the_log_as_it_was(trail: Trail) -> None:
    """The kernel takes half a line and then refuses: it is rolled back, and the next event fits again."""
    script = """
import os, resource
from rotator.errors import AuditUnavailable
audit.record(AuditEvent("test.step"))
size = os.stat(sys.argv[1]).st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
try:
    audit.record(AuditEvent("test.step"))
except AuditUnavailable as error:
    print(type(error).__name__, error.exit_code, os.stat(sys.argv[1]).st_size - size, error.happened)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
audit.record(AuditEvent("test.step"))
"""
    said = child(trail, "1", script).communicate()[0]
    assert said.startswith(f"AuditUnavailable 6 0 The audit log {trail.path} cannot be written: ")
    assert [event["event"] for event in trail.events] == ["test.step", "test.step"]
    assert verify(trail.path, KEY, None).ok


def test_an_event_that_failed_never_reaches_the_anchor(trail: Trail) -> None:
    """The journal remembers only what is on disk."""
    trail.write()
    former = trail.anchor.head
    trail.path.rename(trail.path.with_suffix(".kept"))
    trail.path.mkdir()
    with pytest.raises(AuditUnavailable):
        trail.write()
    assert trail.anchor.head == former


def test_a_kill_in_the_middle_of_many_writes_loses_no_acknowledged_event(trail: Trail) -> None:
    """SIGKILL at any moment: what was acknowledged is there, and the next writer goes on."""
    script = """
n = 0
while True:
    audit.record(AuditEvent("test.step", data={"n": n}))
    print(n, flush=True)
    n += 1
"""
    for _ in range(3):
        one = child(trail, "1", script)
        assert one.stdout is not None
        acknowledged = [int(one.stdout.readline()) for _ in range(10)][-1]
        one.kill()
        acknowledged = int(([*one.communicate()[0].split()] or [acknowledged])[-1])
        # A kill may leave half a line at the end, which the next writer cuts off.
        events = [json.loads(line) for line in trail.lines if line.endswith(b"\n")]
        assert acknowledged in [event["data"].get("n") for event in events[-2:]]
    trail.write()
    assert verify(trail.path, KEY, trail.anchor.head).ok


# --- refusing to begin anew ---------------------------------------------------------------------


def test_a_removed_log_is_never_silently_begun_anew(trail: Trail) -> None:
    """Nothing is recorded and no file is made; the message tells both ways out."""
    trail.write(2)
    trail.path.unlink()
    for attempt in (trail.write, trail.writer().check_writable):
        with pytest.raises(AuditBroken) as raised:
            attempt()
        assert "the journal remembers 2 events" in str(raised.value)
        assert "Put the file back" in str(raised.value)
        assert "move the audit log and the journal away together" in str(raised.value)
        assert (exit_code_of(raised.value), raised.value.retryable) == (4, False)
    assert not trail.path.exists()


def test_an_emptied_log_is_refused_like_a_removed_one(trail: Trail) -> None:
    """`> audit.jsonl` is no way to rotate it."""
    trail.write()
    trail.path.write_bytes(b"")
    with pytest.raises(AuditBroken, match="missing or empty, and the journal remembers 1 event in it"):
        trail.write()
    assert trail.path.read_bytes() == b""


def test_putting_the_log_back_is_enough(trail: Trail) -> None:
    """The remedy works."""
    trail.write(2)
    kept = trail.path.rename(trail.path.with_suffix(".kept"))
    with pytest.raises(AuditBroken):
        trail.write()
    kept.rename(trail.path)
    trail.write()
    assert verify(trail.path, KEY, trail.anchor.head).events == 3


def test_moving_log_and_journal_away_together_begins_a_new_trail(trail: Trail) -> None:
    """The other remedy works too."""
    trail.write(2)
    trail.path.rename(trail.path.with_suffix(".kept"))
    trail.anchor.head = None
    trail.write()
    assert [event["seq"] for event in trail.events] == [1]


def test_a_new_journal_continues_an_old_log(trail: Trail) -> None:
    """A lost journal is no reason to begin the trail anew."""
    trail.write(2)
    trail.anchor.head = None
    trail.write()
    assert [event["seq"] for event in trail.events] == [1, 2, 3]


def test_a_cut_tail_is_noticed_by_the_writer(trail: Trail) -> None:
    """A log that ends before the event the journal remembers takes no more; one event fewer is enough."""
    trail.write(3)
    trail.lines = trail.lines[:-1]
    for attempt in (trail.write, trail.writer().check_writable):
        with pytest.raises(AuditBroken, match="ends with event 2, and the journal remembers event 3"):
            attempt()
    assert len(trail.lines) == 2


def test_a_replaced_tail_is_noticed_by_the_writer(trail: Trail) -> None:
    """Another event with the same number, sealed with the right key, is still not the one remembered."""
    trail.write(2)
    trail.lines = trail.lines[:-1]
    trail.anchor.head, remembered = None, trail.anchor.head
    trail.write()
    trail.anchor.head = remembered
    with pytest.raises(AuditBroken, match="the journal remembers another 2"):
        trail.write()


def test_a_log_of_another_key_takes_no_lines(trail: Trail) -> None:
    """Nobody could tell a new line from a forged one."""
    trail.write()
    with pytest.raises(AuditBroken, match="with this key") as raised:
        trail.writer(Secret("another key entirely")).record(EVENT)
    assert "Check ROTATOR_AUDIT_KEY" in str(raised.value)
    assert len(trail.lines) == 1


@pytest.mark.parametrize(
    "last",
    [b"# rotated by somebody\n", b"\n", b"[]\n", b"{}\n", b'{"seq":3,"mac":"x","prev":"y"}\n', b"\xff\n"],
)
def test_a_foreign_last_line_is_refused(trail: Trail, last: bytes) -> None:
    """A line that rotator did not write cannot be continued, and is not cut off either."""
    trail.write()
    trail.lines = [*trail.lines, last]
    with pytest.raises(AuditBroken):
        trail.write()
    assert trail.lines[-1] == last


def test_a_file_without_line_ends_is_refused_in_bounded_memory(trail: Trail) -> None:
    """A wrong file in the place of the log is neither read whole nor cut."""
    trail.path.parent.mkdir()
    with trail.path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(AuditBroken, match="no line end"):
        trail.write()
    assert trail.path.stat().st_size == 1 << 40


# --- check_writable and settings ----------------------------------------------------------------


def test_the_check_writes_nothing(trail: Trail) -> None:
    """Neither file nor folder comes into being, and an existing log stays as it is."""
    trail.writer().check_writable()
    assert not trail.path.parent.exists()
    trail.write()
    trail.path.write_bytes(trail.path.read_bytes() + b"torn")
    former = trail.path.read_bytes()
    trail.writer().check_writable()
    assert trail.path.read_bytes() == former


def test_the_check_wants_room_on_the_disk(trail: Trail) -> None:
    """Below the limit the disk counts as full, above it not; with and without a log."""
    space = os.statvfs(trail.path.parent.parent)
    free = space.f_bavail * space.f_frsize
    for _ in range(2):
        trail.writer(min_free=free // 2).check_writable()
        with pytest.raises(AuditUnavailable, match=os.strerror(errno.ENOSPC)) as raised:
            trail.writer(min_free=free * 2).check_writable()
        assert (exit_code_of(raised.value), raised.value.retryable) == (6, True)
        trail.write()


def misplaced(kind: str, folder: Path) -> Path:
    """A path that cannot work."""
    path = folder / "audit.jsonl"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "below a file":
        path.touch()
        return path / "deeper" / "audit.jsonl"
    elif kind == "a link to itself":
        path.symlink_to(path)
    elif kind == "a name too long":
        return folder / ("x" * 300)
    elif kind == "a device":
        return Path("/dev/null")
    return path


@pytest.mark.parametrize(
    "kind", ["a folder", "a pipe", "below a file", "a link to itself", "a name too long", "a device"]
)
def test_a_path_that_cannot_work_is_a_mistake_of_the_settings(
    trail: Trail, tmp_path: Path, kind: str
) -> None:
    """Exit code 2 and the setting's name, from the check and from recording alike."""
    audit = JsonlAudit(misplaced(kind, tmp_path), KEY, MemoryAnchor(), trail.clock, ACTOR)
    for attempt in (audit.check_writable, lambda: audit.record(EVENT)):
        with pytest.raises(AuditMisconfigured) as raised:
            attempt()
        assert isinstance(raised.value, InvalidInput)
        assert isinstance(raised.value, AuditUnavailable)
        assert (exit_code_of(raised.value), raised.value.retryable) == (2, False)
        assert "ROTATOR_AUDIT_LOG" in str(raised.value)


def test_a_folder_without_permission_is_a_mistake_of_the_settings(trail: Trail) -> None:
    """Where this user may not write there is no log; asked as a user that is not root."""
    script = """
import os
if os.geteuid() == 0:
    os.setegid(65534), os.seteuid(65534)
from rotator.errors import AuditUnavailable
for attempt in (audit.check_writable, lambda: audit.record(AuditEvent("test.step"))):
    try:
        attempt()
    except AuditUnavailable as error:
        print(type(error).__name__, error.exit_code)
"""
    # Not below pytest's own folder, which other users cannot enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        trail.path = Path(folder) / "audit.jsonl"
        assert child(trail, "1", script).communicate()[0] == "AuditMisconfigured 2\n" * 2
        Path(folder).chmod(0o700)
