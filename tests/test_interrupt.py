"""What a signal sets: it ends a wait whenever it comes, and never stands in its own way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from rotator.errors import Interrupted
from rotator.interrupt import Flag, Stop

# The handler comes at every place of a wait: thousands of times, at odd moments, in the thread that waits.
ALARMS = """
import random, signal, sys
from rotator.interrupt import Flag
count = int(sys.argv[1])
flag = None
signal.signal(signal.SIGALRM, lambda *_: flag.set())
for number in range(count):
    flag = Flag()
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 4e-4))
    while not flag.wait(random.choice([0.0, 1e-5, 1e-4])):
        pass
print("all of them")
"""


def test_a_handler_never_waits_for_the_thread_it_interrupts() -> None:
    """With a `threading.Event` this hangs after some hundreds: the process would not notice that it is to end."""
    ran = subprocess.run(
        [sys.executable, "-c", ALARMS, "5000"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == "all of them\n", ran.stderr


# A signal that is taken by a thread which is not the main one wakes nobody, as one that comes just before a wait.
UNNOTICED = """
import signal, sys, threading, time
from rotator.interrupt import Flag, join
from rotator.operations.several import side_by_side
flag, heard = Flag(), []
signal.signal(signal.SIGTERM, lambda *_: flag.set())
def work():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    heard.append(flag.wait(20))
if sys.argv[1] == "work":
    list(side_by_side({"one": work}))
else:
    thread = threading.Thread(target=work)
    thread.start()
    flag.wait() if sys.argv[1] == "a flag" else join(thread)
    thread.join()
print(heard)
"""


@pytest.mark.parametrize("what", ["a flag", "a thread", "work"])
def test_a_signal_that_wakes_nobody_is_noticed_all_the_same(what: str) -> None:
    """However long the main thread means to wait: a second signal right after the first is heard."""
    ran = subprocess.run(
        [sys.executable, "-c", UNNOTICED, what], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == "[True]\n", ran.stderr


def test_all_who_wait_are_let_go() -> None:
    """Several threads wait for one flag, some for ever; setting it twice is setting it once."""
    flag, through = Flag(), []
    threads = [
        threading.Thread(target=lambda patience=patience: through.append(flag.wait(patience)))
        for patience in (None, None, 60.0, 1e12)
    ]
    for thread in threads:
        thread.start()
    flag.set()
    flag.set()
    for thread in threads:
        thread.join(10)
    assert through == [True] * 4
    assert flag.is_set()
    assert flag.wait(0.0)


@pytest.mark.parametrize("patience", [0.0, 0.05, -1.0])
def test_a_wait_ends_by_itself(patience: float) -> None:
    """False when nobody has set it in time; never before."""
    began = time.monotonic()
    assert Flag().wait(patience) is False
    assert time.monotonic() - began >= patience


def test_the_first_signal_names_the_exit_code() -> None:
    """The second one only hurries."""
    stop = Stop()
    stop.check()
    stop.request(15)
    assert not stop.hurry.is_set()
    stop.request(2)
    assert stop.hurry.is_set()
    with pytest.raises(Interrupted) as raised:
        stop.check()
    assert raised.value.signal_number == 15
