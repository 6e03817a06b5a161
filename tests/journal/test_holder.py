"""Who this process is, and who is certainly dead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from rotator.journal import holder as module
from rotator.journal.holder import is_dead, this_process


@pytest.fixture
def me(clock):
    return this_process(clock, "rotator serve")


def test_a_holder_names_this_process(me):
    """Host, boot, pid, start and namespace are this process's; the label says it to people."""
    assert (me.host, me.boot_id, me.pid) == (socket.gethostname(), "boot-1", os.getpid())
    assert int(me.pid_started) > 0
    assert me.pid_namespace.startswith("pid:[")
    assert me.label == f"rotator serve on {me.host} (pid {me.pid})"


def test_each_holder_is_one_of_its_kind(clock, me):
    """Two starts never share an id, even with one pid."""
    assert this_process(clock, "rotator serve").id != me.id


def test_a_living_process_is_not_dead(me):
    """The present process lives, and so does its parent."""
    _, started = module._state_and_start(os.getppid())

    assert not is_dead(me, "boot-1")
    assert not is_dead(replace(me, pid=os.getppid(), pid_started=started), "boot-1")


def test_an_ended_process_is_dead(me):
    """A pid that no process has any more belonged to a dead one."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert is_dead(replace(me, pid=child.pid), "boot-1")


def test_a_zombie_is_dead(me):
    """A process that ended and was not reaped does nothing any more."""
    with subprocess.Popen(["sleep", "60"]) as child:
        _, started = module._state_and_start(child.pid)
        zombie = replace(me, pid=child.pid, pid_started=started)
        assert not is_dead(zombie, "boot-1")
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert is_dead(zombie, "boot-1")


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({"pid_started": "1"}, True),
        ({"boot_id": "boot-0"}, True),
        ({"boot_id": "boot-0", "host": "elsewhere"}, False),
        ({"pid_started": "1", "host": "elsewhere"}, False),
        ({"pid_started": "1", "pid_namespace": "pid:[1]"}, False),
        ({"pid_started": "1", "pid_namespace": ""}, False),
        ({"boot_id": "boot-0", "pid_namespace": ""}, False),
        ({"pid_started": ""}, False),
    ],
    ids=str,
)
def test_only_the_certainly_dead_are_dead(me, change, dead):
    """Of this host, a reused pid or another boot mean death; whatever cannot be told counts as alive."""
    assert is_dead(replace(me, **change), "boot-1") is dead


def test_nothing_is_certain_without_proc(me, tmp_path, monkeypatch):
    """Where /proc cannot be read, no living pid is declared dead and no reboot is inferred."""
    monkeypatch.setattr(module, "_PROC", tmp_path)

    assert not is_dead(me, "boot-1")
    assert not is_dead(me, "boot-2")
    assert module._state_and_start(os.getpid()) == ("", "")


def test_a_process_hidden_by_proc_is_not_dead(me, tmp_path, monkeypatch):
    """With hidepid the processes of others have no entry in /proc, and yet they live."""
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "pid").symlink_to(me.pid_namespace)
    monkeypatch.setattr(module, "_PROC", tmp_path)

    assert not is_dead(me, "boot-1")


def test_a_command_name_with_brackets_confuses_nobody(me, tmp_path, monkeypatch):
    """The kernel prints the command in brackets, and a command may contain brackets itself."""
    fields = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (a) S (b) x) R {fields}\n")
    monkeypatch.setattr(module, "_PROC", tmp_path)

    assert module._state_and_start(7) == ("R", "22")
