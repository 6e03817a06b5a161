"""The parts of `doctor` by themselves: bounds, exit codes, limits, file systems."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rotator.clock import SystemClock
from rotator.destinations.base import Content, DestinationRefused, Reading
from rotator.errors import InvalidInput, RateLimited, Unreachable
from rotator.journal.sqlite import SqliteJournal
from rotator.model import DestinationSpec, Policy, ProjectFacts, Schedule, Strategy
from rotator.operations.doctor import disk
from rotator.operations.doctor.parts import Parts, Setup
from rotator.operations.doctor.report import Check, Findings, Report, Result
from rotator.operations.doctor.run import examine
from rotator.provider.base import Greeting, PingAnswer, TeamFacts
from rotator.secret import Secret
from rotator.verifiers.base import Attempt, Verdict
from tests.conftest import FakeClock

TOKEN = "lm_" + "A" * 32
PROJECT = "0f8fad5b-d9cb-469f-a165-70867728950e"
SPEC = DestinationSpec("file", "file:/secrets/billing")
POLICY = Policy("billing", PROJECT, Strategy.IN_PLACE, (SPEC,))


class StubProvider:
    """Answers as told; every question may be turned into an error."""

    def __init__(self) -> None:
        self.greeting = Greeting(PingAnswer.DEAD, 0.0)
        self.facts = TeamFacts("Example", 300, 299)
        self.answers = [PingAnswer.ALIVE]
        self.full = 0

    def greet(self) -> Greeting:
        return self.greeting

    def team(self) -> TeamFacts:
        return self.facts

    def project_ids(self) -> Iterator[str]:
        yield PROJECT

    def can_read(self, collection: str) -> bool:
        raise Unreachable(f"Lettermint answered 502 to {collection}", remedy="Try again")

    def project(self, project_id: str) -> ProjectFacts:
        if self.full:
            self.full -= 1
            raise RateLimited("The rate limit for reading has no room", retry_after=40)
        return ProjectFacts(
            project_id,
            "Production",
            smtp_enabled=True,
            delivery_mode="live",
            default_route=None,
            token_generated_at=None,
            token_last_used_at=None,
            token_last_used_ip=None,
        )

    def ping(self, token: Secret) -> PingAnswer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class StubDestination:
    """Holds a token; `held` keeps whoever reads it waiting."""

    spec = SPEC

    def __init__(self, content: Content = Content.TOKEN) -> None:
        self.content = content
        self.held = threading.Event()
        self.held.set()
        self.broken: Exception | None = None

    def describe(self) -> str:
        return "file /secrets/billing"

    def identity(self) -> str:
        return "kim (uid 1000)"

    def read(self) -> Reading:
        self.held.wait(30)
        if self.broken is not None:
            raise self.broken
        value = Secret(TOKEN) if self.content is Content.TOKEN else None
        return Reading(self.content, "1", value)

    def preflight_shows(self, reading: Reading) -> bool:
        return False

    def preflight(self) -> None:
        pass


class StubVerifier:
    type = "ping"

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = list(verdicts) or [Verdict.PASSED]
        self.keys: list[str] = []

    def verify(self, token: Secret, *, key: str) -> Attempt:
        self.keys.append(key)
        verdict = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        return Attempt(verdict, f"ping said {verdict}")


class Bench:
    """Everything that `examine` needs, made of stubs."""

    def __init__(self, folder: Path, clock: Any) -> None:
        self.provider = StubProvider()
        self.place = StubDestination()
        self.verifier = StubVerifier()
        self.clock = clock
        self.setup = Setup(
            warnings=(),
            lease=15.0,
            call_timeout=10.0,
            rotate_limit=3,
            api_url="https://api.lettermint.co/v1",
            journal=folder / "journal.db",
            audit_log=folder / "audit.jsonl",
            audit_key=folder / "audit.key",
            key_is_set=False,
            policies=(POLICY,),
            every_policy=(POLICY,),
        )

    def examine(self, *, patience: float = 30.0, **changes: Any) -> Report:
        parts = Parts(
            clock=self.clock,
            provider=lambda: self.provider,  # type: ignore[arg-type,return-value]  # the calls that are made
            destination=lambda _: self.place,  # type: ignore[arg-type,return-value]
            verifier=lambda _: self.verifier,
            consumer=_nobody,
            read_key=_nobody,
            open_journal=_nobody,
            check_key=_nobody,
            open_audit=_nobody,
            check_chain=_nobody,
        )
        return examine(replace(self.setup, **changes), parts, patience=patience)


def _nobody(*_: object) -> Any:
    raise AssertionError("asked for where there is no journal")


@pytest.fixture
def bench(tmp_path: Path, clock: FakeClock) -> Bench:
    return Bench(tmp_path, clock)


def one(report: Report, name: str) -> Check:
    (found,) = [check for check in report.checks if check.name == name]
    return found


# --- bounds ---------------------------------------------------------------------------------------


def test_what_never_answers_is_given_up(bench: Bench) -> None:
    """After its patience a policy's checks end with what was found and one failure; exit 6."""
    bench.clock = SystemClock()
    bench.place.held.clear()
    report = bench.examine(patience=0.3)
    late = one(report, "time")
    assert (late.result, late.code, late.policy) == (Result.FAILED, 6, "billing")
    assert "did not end within 0.3 s" in late.detail
    assert one(report, "project").result is Result.OK
    before = report.checks
    bench.place.held.set()
    assert report.checks == before
    assert report.exit_code == 6


def test_many_policies_wait_for_their_turn_and_not_for_one_another(bench: Bench) -> None:
    """With more policies than work side by side and some that never answer, all others are checked."""
    bench.clock = SystemClock()
    held = threading.Event()

    class Mixed(StubDestination):
        def __init__(self, spec: DestinationSpec) -> None:
            super().__init__()
            self.spec = spec  # type: ignore[misc]  # a class's own in the parent
            if spec.place.endswith("stuck"):
                self.held = held

    places = [f"file:/{n}{'-stuck' if n < 9 else ''}" for n in range(20)]
    policies = tuple(
        replace(POLICY, name=f"p{n}", destinations=(DestinationSpec("file", place),))
        for n, place in enumerate(places)
    )
    parts = Parts(
        clock=bench.clock,
        provider=lambda: bench.provider,  # type: ignore[arg-type,return-value]
        destination=Mixed,  # type: ignore[arg-type]
        verifier=lambda _: bench.verifier,
        consumer=_nobody,
        read_key=_nobody,
        open_journal=_nobody,
        check_key=_nobody,
        open_audit=_nobody,
        check_chain=_nobody,
    )
    setup = replace(bench.setup, policies=policies, every_policy=policies)
    report = examine(setup, parts, patience=0.3)
    held.set()
    assert {check.policy for check in report.checks if check.name == "time"} == {f"p{n}" for n in range(9)}
    verified = [check.policy for check in report.checks if check.name == "verify"]
    assert verified == [f"p{n}" for n in range(9, 20)]


def test_an_error_nobody_expected_ends_one_check_only(bench: Bench) -> None:
    """A bug in one place is said, and its text is not repeated: it may hold anything."""
    bench.place.broken = RuntimeError(f"unexpected {TOKEN}")
    report = bench.examine()
    found = one(report, "unexpected")
    assert (found.result, found.policy, found.code) == (Result.FAILED, "billing", 1)
    assert TOKEN not in str(report)
    assert one(report, "provider.token").result is Result.OK


def test_a_full_limit_on_reads_is_waited_for_once(bench: Bench) -> None:
    """With many policies the provider's minute may be full: one wait, then the project is read."""
    bench.provider.full = 1
    assert one(bench.examine(), "project").result is Result.OK
    assert 40 in bench.clock.waits
    bench.provider.full = 2
    refused = one(bench.examine(), "project")
    assert (refused.result, refused.code) == (Result.FAILED, 6)


# --- the provider ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "result"),
    [
        (0.0, Result.OK),
        (30.0, Result.OK),
        (-30.0, Result.OK),
        (30.1, Result.WARNING),
        (-300.0, Result.WARNING),
        (300.1, Result.FAILED),
        (None, Result.UNKNOWN),
    ],
)
def test_the_clock_has_two_limits(bench: Bench, ahead: float | None, result: Result) -> None:
    """Up to 30 s is fine, up to 5 min a warning; without a `Date` nobody can tell."""
    bench.provider.greeting = Greeting(PingAnswer.DEAD, ahead)
    assert one(bench.examine(), "provider.clock").result is result


@pytest.mark.parametrize(
    ("limit", "remaining", "result"),
    [
        (300, 30, Result.OK),
        (300, 29, Result.WARNING),
        (10, 5, Result.OK),
        (10, 4, Result.WARNING),
        (None, None, Result.UNKNOWN),
    ],
)
def test_how_many_reads_are_left(
    bench: Bench, limit: int | None, remaining: int | None, result: Result
) -> None:
    """Few reads left is a warning: something else uses the team token."""
    bench.provider.facts = TeamFacts(None, limit, remaining)
    assert one(bench.examine(), "provider.limits").result is result


def test_a_ping_that_proves_nothing(bench: Bench) -> None:
    """If an invented token is called alive, the policies should verify by a send."""
    bench.provider.greeting = Greeting(PingAnswer.ALIVE, 0.0)
    found = one(bench.examine(), "provider.ping")
    assert found.result is Result.WARNING
    assert "type: send" in found.hint


def test_an_ability_that_cannot_be_asked_for_fails_nothing(bench: Bench) -> None:
    """A send verifies without it, so an error of the provider there is only unknown."""
    spec = replace(POLICY.verify[0], type="send", sender="rotation@example.com")
    policy = replace(POLICY, verify=(spec,))
    report = bench.examine(policies=(policy,), every_policy=(policy,))
    results = {check.subject: check.result for check in report.checks if check.name == "provider.ability"}
    assert results["read:messages"] is Result.UNKNOWN
    assert report.exit_code == 0


def test_a_schedule_needs_the_time_of_the_token(bench: Bench) -> None:
    """Where the provider tells none, a policy with a schedule would never be due: a warning."""
    policy = replace(POLICY, schedule=Schedule(every=timedelta(days=30)))
    found = one(bench.examine(policies=(policy,), every_policy=(policy,)), "project")
    assert found.result is Result.WARNING
    assert "rotator rotate billing" in found.hint


# --- tokens and verifiers -------------------------------------------------------------------------


def test_a_token_is_presented_three_times_before_it_is_called_dead(bench: Bench) -> None:
    """A young token may not be known everywhere yet."""
    bench.provider.answers = [PingAnswer.DEAD, PingAnswer.DEAD, PingAnswer.ALIVE]
    assert one(bench.examine(), "destination.token").result is Result.OK
    bench.provider.answers = [PingAnswer.DEAD]
    assert one(bench.examine(), "destination.token").code == 4


def test_a_token_that_may_not_be_used_from_here(bench: Bench) -> None:
    """403 is neither alive nor dead: an IP restriction."""
    bench.provider.answers = [PingAnswer.FORBIDDEN]
    found = one(bench.examine(), "destination.token")
    assert found.result is Result.WARNING
    assert "IP restrictions" in found.hint


@pytest.mark.parametrize(
    ("verdicts", "tries", "code"),
    [
        ([Verdict.PASSED], 1, 0),
        ([Verdict.NOT_YET, Verdict.UNKNOWN, Verdict.PASSED], 3, 0),
        ([Verdict.FAILED], 1, 1),
        ([Verdict.NOT_YET], 3, 1),
        ([Verdict.UNKNOWN], 3, 6),
    ],
)
def test_a_verifier_is_tried_as_preflight_tries_it(
    bench: Bench, verdicts: list[Verdict], tries: int, code: int
) -> None:
    """At most three attempts under one key of its own; what could not be asked is exit 6, a refusal exit 1."""
    bench.verifier = StubVerifier(*verdicts)
    report = bench.examine()
    assert one(report, "verify").code == code
    assert len(bench.verifier.keys) == tries
    assert len(set(bench.verifier.keys)) == 1
    assert bench.verifier.keys[0].startswith("rotator-doctor-")
    assert report.exit_code == code


@pytest.mark.parametrize("content", [Content.MISSING, Content.EMPTY])
def test_no_token_is_stored_yet(bench: Bench, content: Content) -> None:
    """Before the first issue there is nothing to verify with, and nothing is wrong."""
    bench.place = StubDestination(content)
    report = bench.examine()
    assert report.exit_code == 0
    assert one(report, "verify").result is Result.SKIPPED
    assert one(report, "destination.write").result is Result.OK


# --- the report -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "exit_code"),
    [
        ([], 0),
        ([2, 2], 2),
        ([6], 6),
        ([1], 1),
        ([2, 6], 3),
        ([4], 4),
        ([4, 4], 4),
        ([4, 2], 2),
        ([4, 2, 6], 3),
    ],
)
def test_exit_codes_combine(codes: list[int], exit_code: int) -> None:
    """All alike make that code, else 3; attention counts where nothing else failed; warnings never."""
    found = Findings()
    found.ok("a", "fine")
    found.warning("b", "not so fine", "do this")
    for code in codes:
        found.failed("c", "broken", "mend it", code=code)
    report = Report((), tuple(found.checks))
    assert report.exit_code == exit_code
    assert report.view()["ok"] is (exit_code == 0)


def test_errors_bring_their_own_words() -> None:
    """The remedy is the hint; an error without one says what happens next."""
    found = Findings("billing")
    found.error("a", InvalidInput("X is wrong", then="Nothing was done", remedy="Set X"), subject="x")
    found.error("b", DestinationRefused("Y is not ours", then="Nothing was changed"))
    assert [(one.detail, one.hint, one.code) for one in found.checks] == [
        ("X is wrong.", "Set X.", 2),
        ("Y is not ours.", "Nothing was changed.", 1),
    ]
    assert found.has_failed("a")
    assert not found.has_failed("c")


# --- disks ----------------------------------------------------------------------------------------

MOUNTS = [
    "22 1 0:20 / / rw,relatime - ext4 /dev/sda1 rw",
    "30 22 0:40 / /srv rw - nfs4 server:/export rw",
    "31 30 0:41 / /srv/local\\040disk rw - xfs /dev/sdb1 rw",
    "32 22 0:42 / /mnt/ssh rw master:1 - fuse.sshfs kim@host: rw",
    "33 22 0:43 / /over rw - nfs server:/a rw",
    "34 22 0:44 / /over rw - tmpfs tmpfs rw",
    "a line that is broken",
]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/rotator/journal.db", None),
        ("/srv/rotator/journal.db", "nfs4"),
        ("/srv/local disk/journal.db", None),
        ("/srvx/journal.db", None),
        ("/mnt/ssh/journal.db", "fuse.sshfs"),
        ("/over/journal.db", None),
    ],
)
def test_network_file_systems_are_known_by_their_type(path: str, kind: str | None) -> None:
    """The innermost mount counts, and of one mount point the one mounted last."""
    assert disk.network_type(MOUNTS, Path(path)) == kind


def test_this_file_system_has_a_mount(tmp_path: Path) -> None:
    """The real table of mounts can be read, and a folder of the tests is local."""
    assert disk.network_file_system(tmp_path) is None


def test_a_pipe_is_no_log(tmp_path: Path) -> None:
    """Something that is not a regular file is refused without waiting for it."""
    os.mkfifo(tmp_path / "log")
    found = Findings()
    assert not disk.file_takes_lines(tmp_path / "log", found, "audit.write", variable="ROTATOR_AUDIT_LOG")
    assert "regular file" in found.checks[0].detail
    assert "ROTATOR_AUDIT_LOG" in found.checks[0].hint


def test_the_slot_that_proves_a_write_is_nobody_elses(tmp_path: Path, clock: FakeClock) -> None:
    """What doctor writes into the journal changes no limit, no rotation and no attention."""
    journal = SqliteJournal.open(tmp_path / "journal.db", clock)
    before = journal.take_slot("rotate", limit=1, window=60, take=False)
    assert journal.take_slot("doctor", limit=1000, window=60.0) == 0.0
    assert journal.take_slot("rotate", limit=1, window=60, take=False) == before == 0.0
    assert (journal.rotations(), journal.attentions(), journal.holds()) == ([], [], {})
    journal.close()


def test_a_proof_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest folder that exists takes a file and has none afterwards; relative paths are fine."""
    monkeypatch.chdir(tmp_path)
    found = Findings()
    assert disk.folder_takes_files(Path("deep/er/journal.db"), found, "journal", variable="X")
    assert (list(tmp_path.iterdir()), found.checks) == ([], [])
