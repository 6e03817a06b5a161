"""Kills a real rotator before and after every call to the outside, then sees what a later command makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rotator.audit.chain import verify as verify_chain
from rotator.clock import SystemClock
from rotator.journal.sqlite import SqliteJournal
from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.destinations.strict_secrets_manager import StrictSecretsManager

ROOT = Path(__file__).resolve().parents[2]
AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Ended:
    """How a child ended: an exit code, or the negative number of the signal that killed it."""

    code: int
    output: str
    errors: str

    @property
    def rotations(self) -> list[dict[str, Any]]:
        return list(json.loads(self.output)["rotations"])


class Workplace(Protocol):
    """Where a command runs."""

    folder: Path
    environment: Mapping[str, str]


class Nursery:
    """The warm parent of all children; a process of its own, because a forked child must have no threads."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._started = 0
        self._lock = threading.Lock()
        assert self._answer() == {"ready": True}

    def run(
        self,
        *argv: str,
        stage: Workplace,
        trace: Mapping[str, Any] | None = None,
        prepare: Mapping[str, Any] | None = None,
    ) -> Ended:
        """Runs one command to its end. `prepare` (`call`: "module:function", `with`: arguments) is called
        in the child before it."""
        out, err = stage.folder / "stdout", stage.folder / "stderr"
        code = self._ask(_request(argv, stage, out, err, trace=trace, prepare=prepare))["code"]
        return _ended(code, out, err)

    def start(self, *argv: str, stage: Workplace, prepare: Mapping[str, Any] | None = None) -> Child:
        """Starts one command whose end `Child.wait` waits for."""
        self._started += 1
        out, err = (stage.folder / f"{name}-{self._started}" for name in ("stdout", "stderr"))
        request = _request(argv, stage, out, err, prepare=prepare)
        return Child(self, self._ask({**request, "wait": False})["pid"], out, err)

    def reap(self, pid: int, patience: float) -> int | None:
        code: int | None = self._ask({"reap": pid, "patience": patience})["code"]
        return code

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery died"
        return dict(json.loads(line))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


class Child:
    """A command that runs while the test goes on."""

    def __init__(self, nursery: Nursery, pid: int, out: Path, err: Path) -> None:
        self._nursery = nursery
        self.pid = pid
        self._out = out
        self._err = err

    @property
    def errors(self) -> str:
        """Standard error so far."""
        return self._err.read_text(encoding="utf-8") if self._err.exists() else ""

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, patience: float = 60.0) -> Ended:
        code = self._nursery.reap(self.pid, patience)
        if code is None:
            errors = self.errors
            self.signal(signal.SIGKILL)
            self._nursery.reap(self.pid, patience)
            raise AssertionError(f"still running after {patience:g} s:\n{errors}")
        return _ended(code, self._out, self._err)


def _request(
    argv: tuple[str, ...], stage: Workplace, out: Path, err: Path, **more: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "argv": list(argv),
        "env": dict(stage.environment),
        "cwd": str(stage.folder),
        "stdout": str(out),
        "stderr": str(err),
        **more,
    }


def _ended(code: int, out: Path, err: Path) -> Ended:
    ended = Ended(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
    out.unlink()
    err.unlink()
    return ended


def running_nursery() -> Iterator[Nursery]:
    """For a fixture of whatever scope."""
    made = Nursery()
    yield made
    made.close()


def running_lettermint() -> Iterator[tuple[Simulator, Secret]]:
    """For a fixture of whatever scope: limits that no test meets, and a team token."""
    with Simulator(rotate_limit=100_000, read_limit=1_000_000, write_limit=100_000) as simulator:
        yield simulator, simulator.furnish(0).team_token


def running_aws() -> Iterator[tuple[StrictSecretsManager, Any]]:
    """For a fixture of whatever scope: the strict fake, and somebody else's client of it."""
    import boto3  # noqa: PLC0415  # a second to load; the nursery does without

    with StrictSecretsManager() as server:
        client = boto3.client(
            "secretsmanager",
            region_name="eu-central-1",
            endpoint_url=server.url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        yield server, client


class Store:
    """Where the secret lives, as the harness sees it: seeded and read without rotator."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    def seed(self, token: Secret) -> None:
        raise NotImplementedError

    def read(self) -> Secret:
        raise NotImplementedError

    def stages(self) -> bool:
        """Whether a token is kept there that readers do not get yet."""
        raise NotImplementedError


class FileStore(Store):
    def __init__(self, folder: Path, name: str = "billing.json") -> None:
        self.path = folder / "store" / name
        self.path.parent.mkdir(exist_ok=True)
        super().__init__({"type": "file", "path": str(self.path), "format": "json", "key": "token"})

    def seed(self, token: Secret) -> None:
        self.path.write_text(json.dumps({"other": "kept", "token": token.reveal()}), encoding="utf-8")
        self.path.chmod(0o600)

    def read(self) -> Secret:
        document = json.loads(self.path.read_text(encoding="utf-8"))
        assert document["other"] == "kept"
        return Secret(document["token"])

    def stages(self) -> bool:
        sidecar = self.path.with_name(f"{self.path.name}.rotator")
        return sidecar.exists() and json.loads(sidecar.read_text(encoding="utf-8"))["pending"] is not None


class AwsStore(Store):
    def __init__(self, client: Any) -> None:
        self.client = client
        self.name = f"prod/{uuid.uuid4().hex}"
        super().__init__(
            {"type": "aws-secrets-manager", "secret_id": self.name, "region": "eu-central-1", "key": "token"}
        )

    def seed(self, token: Secret) -> None:
        text = json.dumps({"other": "kept", "token": token.reveal()})
        self.client.create_secret(Name=self.name, SecretString=text)

    def read(self) -> Secret:
        answer = self.client.get_secret_value(SecretId=self.name, VersionStage="AWSCURRENT")
        document = json.loads(answer["SecretString"])
        assert document["other"] == "kept"
        return Secret(document["token"])

    def stages(self) -> bool:
        versions = self.client.describe_secret(SecretId=self.name)["VersionIdsToStages"]
        return any("ROTATOR_PENDING" in labels for labels in versions.values())


@dataclass
class Stage:
    """One policy with a project of its own, in a folder of its own."""

    folder: Path
    simulator: Simulator
    team_token: Secret
    store: Store
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    verify: tuple[Mapping[str, str], ...] = ({"type": "ping"},)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.project, self.first = self.simulator.add_project(team=self.team_token)
        self.store.seed(self.first)
        policies = self.folder / "policies"
        policies.mkdir()
        document = self.document()
        (policies / "billing.yaml").write_text(json.dumps({"policies": [document]}), encoding="utf-8")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LETTERMINT_API_URL": self.simulator.url,
            "LETTERMINT_TEAM_TOKEN": self.team_token.reveal(),
            "ROTATOR_POLICIES": str(policies),
            "ROTATOR_JOURNAL": f"sqlite:///{self.folder}/state/journal.db",
            "ROTATOR_AUDIT_LOG": str(self.folder / "state" / "audit.jsonl"),
            "ROTATOR_ROTATE_LIMIT": "1000",
            "ROTATOR_CALL_TIMEOUT": "0.4s",
            "ROTATOR_LEASE": "4s",
            **self.extra_environment,
        }

    def document(self) -> dict[str, Any]:
        """The policy. Called once, when project and store are there."""
        return {
            "name": "billing",
            "project": self.project,
            "strategy": "in-place",
            "schedule": {"every": "30d"},
            "destinations": [self.store.spec],
            "verify": [dict(one) for one in self.verify],
        }

    # the truth, seen from outside

    def violations(self, nursery: Nursery) -> list[str]:
        """What of the invariant does not hold, now that the last command has ended."""
        wrong = []
        status = nursery.run("status", "-o", "json", stage=self)
        policy = json.loads(status.output)["policies"][0]
        alive = self.simulator.is_alive(self.store.read())
        if not alive and policy["state"] != "needs-attention":
            wrong.append(f"the store serves a dead token and status says {policy['state']}")
        if alive and policy["state"] != "ok":
            wrong.append(f"status says {policy['state']}: {policy['attention']}")
        wrong += self.broken_chain()
        wrong += self.tokens_on_disk()
        return wrong

    def broken_chain(self) -> list[str]:
        """What is wrong with the audit log, by its key and by the head that the journal keeps."""
        state = self.folder / "state"
        key = Secret((state / "audit.key").read_text(encoding="utf-8").strip())
        journal = SqliteJournal.open(state / "journal.db", SystemClock(), create=False)
        try:
            report = verify_chain(state / "audit.jsonl", key, journal.audit_head())
        finally:
            journal.close()
        return [] if report.ok else [f"audit verify: {report.problem}"]

    def tokens_on_disk(self) -> list[str]:
        """As `tokens_on_disk`, in this folder."""
        return tokens_on_disk(self.folder, self.simulator)


def tokens_on_disk(folder: Path, simulator: Simulator) -> list[str]:
    """Files that hold a token and are no destination (a destination keeps its own former versions)."""
    tokens = [token.reveal().encode() for token in simulator.issued()]
    store = folder / "store"
    found = []
    for path in folder.rglob("*"):
        if not path.is_file() or store in path.parents:
            continue
        content = path.read_bytes()
        found += [f"a token stands in {path.name}" for token in tokens if token in content]
    leftovers = [p.name for p in store.rglob("*") if "tmp" in p.name] if store.exists() else []
    return found + [f"{name} was left behind" for name in leftovers]


KILLED = -signal.SIGKILL
