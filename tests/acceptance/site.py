"""A place where real commands run: policies, stores, a Lettermint, and what is true about them."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.acceptance.moments import Moment
from tests.crash.harness import Child, Ended, Nursery
from tests.destinations.strict_vault import StrictVault

REGION = "eu-central-1"
SENDER = "rotation@example.com"
PING = ({"type": "ping"},)
PING_AND_SEND = ({"type": "ping"}, {"type": "send", "from": SENDER})
NOTES = ("stdout", "stderr")
AWS_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent/aws-config",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/aws-credentials",
}


class FileStore:
    """A JSON file with another field beside the token."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.spec: dict[str, Any] = {"type": "file", "path": str(path), "format": "json", "key": "token"}

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")
        self.path.chmod(0o600)

    def content(self) -> str | None:
        """Exactly what readers get; None when there is nothing."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else None


class AwsStore:
    """A secret behind a boto3 client, real moto or the strict fake."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.name = f"prod/{uuid.uuid4().hex}"
        self.spec: dict[str, Any] = {
            "type": "aws-secrets-manager",
            "secret_id": self.name,
            "region": REGION,
            "key": "token",
        }

    def write(self, text: str) -> None:
        try:
            self.client.put_secret_value(SecretId=self.name, SecretString=text)
        except self.client.exceptions.ResourceNotFoundException:
            self.client.create_secret(Name=self.name, SecretString=text)

    def content(self) -> str | None:
        """Exactly what readers get; None when there is nothing."""
        try:
            answer = self.client.get_secret_value(SecretId=self.name, VersionStage="AWSCURRENT")
        except self.client.exceptions.ResourceNotFoundException:
            return None
        return str(answer["SecretString"])


class VaultStore:
    """A secret in the strict fake of Vault, written and read past its door."""

    def __init__(self, server: StrictVault) -> None:
        self.server = server
        self.path = f"prod/{uuid.uuid4().hex}"
        self.spec: dict[str, Any] = {
            "type": "vault-kv",
            "mount": "secret",
            "path": self.path,
            "key": "token",
        }

    def write(self, text: str) -> None:
        self.server.write("secret", self.path, json.loads(text))

    def content(self) -> str | None:
        """What readers get; None when there is nothing."""
        data = self.server.read("secret", self.path)
        return None if data is None else json.dumps(data)


Store = FileStore | AwsStore | VaultStore


@dataclass
class Entry:
    """One policy of a site, and what is true about its project and its secret."""

    simulator: Simulator
    name: str
    project: str
    first: Secret
    store: Store
    document: dict[str, Any]
    seq: int = 0
    """Number of the simulator's last event when this was made."""
    database: str = "kept as it is"
    """Another field of the secret."""

    def seed(self, token: Secret | str, store: Store | None = None) -> None:
        value = token.reveal() if isinstance(token, Secret) else token
        (store or self.store).write(json.dumps({"database": self.database, "token": value, "port": 5432}))

    @property
    def stored(self) -> Secret:
        return self.stored_in(self.store)

    def stored_in(self, store: Store) -> Secret:
        """The token that readers of one destination get; every other field must be as it was seeded."""
        document = json.loads(store.content() or "{}")
        assert {**document, "token": ""} == {"database": self.database, "token": "", "port": 5432}
        return Secret(document["token"])

    @property
    def serves_a_living_token(self) -> bool:
        return self.simulator.is_alive(self.stored)

    @property
    def mints(self) -> int:
        return len(self.simulator.mints(self.project))

    @property
    def rotate_calls(self) -> int:
        """Calls of rotate-token for this project that reached the provider, executed or not."""
        events = self.simulator.events_since(self.seq)
        return sum(1 for event in events if event.call == "rotate" and event.project == self.project)


@dataclass(frozen=True)
class Paused:
    """A command that waits at a moment until `go_on`."""

    child: Child
    gate: Path

    def go_on(self) -> Child:
        self.gate.unlink()
        return self.child


@dataclass
class Site:
    """A folder with policies and the environment in which commands run. `folder` must exist."""

    folder: Path
    simulator: Simulator
    team_token: Secret
    nursery: Nursery
    environment: dict[str, str] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    database: str = "kept as it is"

    def __post_init__(self) -> None:
        state = self.folder / "state"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LETTERMINT_API_URL": self.simulator.url,
            "LETTERMINT_TEAM_TOKEN": self.team_token.reveal(),
            "ROTATOR_POLICIES": str(self.folder / "policies"),
            "ROTATOR_JOURNAL": f"sqlite:///{state}/journal.db",
            "ROTATOR_AUDIT_LOG": str(state / "audit.jsonl"),
            "ROTATOR_ROTATE_LIMIT": "1000",
            "ROTATOR_CALL_TIMEOUT": "1.5s",
            "ROTATOR_LEASE": "4s",
            **AWS_CREDENTIALS,
            **self.environment,
        }

    # policies

    def add(
        self,
        name: str = "billing",
        *,
        store: Store | None = None,
        verify: Sequence[Mapping[str, str]] = PING,
        project: tuple[str, Secret] | None = None,
        **more: Any,
    ) -> Entry:
        """One more policy with a project of its own, whose token stands in the store."""
        seq = len(self.simulator.events)
        identity, first = project or self.simulator.add_project(name, team=self.team_token)
        place = store or FileStore(self.folder / "store" / f"{name}.json")
        document = {
            "name": name,
            "project": identity,
            "strategy": "in-place",
            "schedule": {"every": "30d"},
            "destinations": [place.spec],
            "verify": [dict(one) for one in verify],
            **more,
        }
        entry = Entry(self.simulator, name, identity, first, place, document, seq, self.database)
        entry.seed(first)
        self.entries[name] = entry
        self.write_policies()
        return entry

    def write_policies(self) -> None:
        policies = self.folder / "policies"
        policies.mkdir(exist_ok=True)
        for entry in self.entries.values():
            # JSON is YAML.
            text = json.dumps({"policies": [entry.document]})
            (policies / f"{entry.name}.yaml").write_text(text, encoding="utf-8")

    # commands

    def run(self, *argv: str, prepare: Mapping[str, Any] | None = None) -> Ended:
        return self.nursery.run(*argv, stage=self, prepare=prepare)

    def start(self, *argv: str, prepare: Mapping[str, Any] | None = None) -> Child:
        return self.nursery.start(*argv, stage=self, prepare=prepare)

    def start_until(self, moment: Moment, *argv: str) -> Paused:
        """Starts `rotator ARGV -o json` and returns when it has come to the moment, where it waits."""
        gate = self.folder / "gate"
        child = self.start(*argv, "-o", "json", prepare=moment.prepare(gate))

        def came() -> bool:
            ended = child.ended()
            assert ended is None or gate.exists(), f"it ended before that: exit {ended.code}\n{ended.errors}"
            return gate.exists()

        try:
            eventually(came)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{child.errors}") from None
        return Paused(child, gate)

    def rotate(self, *names: str) -> Ended:
        return self.run("rotate", *(names or ("--all",)), "--yes", "-o", "json")

    def status(self, name: str = "billing") -> dict[str, Any]:
        ended = self.run("status", name, "-o", "json")
        return dict(json.loads(ended.output)["policies"][0])

    def audit_holds(self) -> bool:
        ended = self.run("audit", "verify", "-o", "json")
        return ended.code == 0 and json.loads(ended.output)["ok"] is True

    # what is true

    def files(self) -> dict[str, bytes]:
        """Every file below the folder, but for what commands print and SQLite's shared memory."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not path.name.startswith(NOTES) and path.suffix != ".db-shm"
        }


def eventually(condition: Callable[[], object], patience: float = 60.0) -> None:
    """Waits until the condition holds; fails when the patience (seconds) ends."""
    began = looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        waited, took = now - began, now - looked
        assert waited < patience, "it never came to be"
        # What takes long is looked at less often, and so is what takes long to look at: some conditions are commands.
        pause = min(max(0.002, waited / 10), 0.05)
        time.sleep(max(pause, 3 * took))
        looked = time.monotonic()
