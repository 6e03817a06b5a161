"""Threads that take jobs in the order of their urgency."""

from __future__ import annotations

import threading

from rotator.daemon.workers import Workers


def test_the_most_urgent_goes_first() -> None:
    """While the only thread is at work, what was handed in is taken by rank, then by date, then as it came."""
    workers = Workers(1, "test")
    begun, go_on, done = threading.Event(), threading.Event(), []

    def hold() -> None:
        begun.set()
        go_on.wait(10)

    workers.submit((0, 0), hold)
    begun.wait(10)
    for key, name in (((2, 5), "later"), ((2, 1), "sooner"), ((0, 9), "dead"), ((2, 1), "sooner too")):
        workers.submit(key, lambda name=name: done.append(name))
    assert workers.waiting == 4
    finished = threading.Event()
    workers.submit((9, 9), finished.set)
    go_on.set()
    assert finished.wait(10)
    workers.stop()
    assert done == ["dead", "sooner", "sooner too", "later"]


def test_stopping_waits_for_what_is_at_work_and_forgets_the_rest() -> None:
    """A job that was taken ends; one that was not never begins, and none is taken any more."""
    workers = Workers(1, "test")
    begun, go_on, done = threading.Event(), threading.Event(), []

    def job() -> None:
        begun.set()
        go_on.wait(10)
        done.append("at work")

    workers.submit((0, 0), job)
    begun.wait(10)
    workers.submit((0, 0), lambda: done.append("waiting"))
    stopper = threading.Thread(target=workers.stop)
    stopper.start()
    while workers.waiting:
        pass
    go_on.set()
    stopper.join(10)
    workers.submit((0, 0), lambda: done.append("late"))
    assert done == ["at work"]
    assert workers.waiting == 0


def test_a_job_that_fails_stops_nobody() -> None:
    """The thread goes on with the next."""
    workers = Workers(1, "test")
    done = threading.Event()
    workers.submit((0, 0), lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    workers.submit((1, 0), done.set)
    assert done.wait(10)
    workers.stop()
