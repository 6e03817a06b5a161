"""A site that keeps every byte that its commands print, and searches all of it at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotator.simulator.server import Simulator
from tests.acceptance.conftest import VAULT_RULES, aws_store
from tests.acceptance.site import AwsStore, Site, VaultStore
from tests.crash.harness import Child, Ended, Nursery
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault
from tests.leaks.search import leaks

MARKER = "LeakMarker"
PASSWORD = "pg-LeakMarker/p4ss+w0rd"
AWS_KEY = "LeakMarkerAwsSecretAccessKey+/0123456789"
AUDIT_KEY = "LeakMarkerAuditKey0123456789abcdefLeakMarker"


@dataclass
class WatchedSite(Site):
    """Every secret of it is marked. `aws` and `vault` are started when first asked for."""

    printed: dict[str, bytes] = field(default_factory=dict)
    more_secrets: list[str] = field(default_factory=list)
    aws: StrictSecretsManager | None = None
    vault: StrictVault | None = None
    hidden: set[str] = field(default_factory=set)
    """Files in which a secret belongs, beside the destinations."""

    def run(self, *argv: str, prepare: Mapping[str, Any] | None = None) -> Ended:
        ended = super().run(*argv, prepare=prepare)
        self._keep(argv[0], ended)
        return ended

    def end(self, child: Child) -> Ended:
        """Waits for a started command."""
        ended = child.wait()
        self._keep("started", ended)
        return ended

    def aws_place(self) -> AwsStore:
        if self.aws is None:
            self.aws = StrictSecretsManager()
            self.aws.__enter__()
        return aws_store(self, self.aws.url)

    def vault_place(self) -> VaultStore:
        """A secret in Vault, to which commands log in by a token."""
        if self.vault is None:
            self.vault = StrictVault()
            self.vault.__enter__()
        self.environment |= {"VAULT_ADDR": self.vault.url, "VAULT_TOKEN": self.vault.token(VAULT_RULES)}
        self.more_secrets.append(self.environment["VAULT_TOKEN"])
        return VaultStore(self.vault)

    def _keep(self, name: str, ended: Ended) -> None:
        number = len(self.printed)
        self.printed[f"stdout of {name} ({number})"] = ended.output.encode()
        self.printed[f"stderr of {name} ({number})"] = ended.errors.encode()

    @property
    def secrets(self) -> list[str]:
        issued = [token.reveal() for token in self.simulator.issued()]
        assert all(MARKER in token for token in issued)
        return [*issued, PASSWORD, AWS_KEY, AUDIT_KEY, *self.more_secrets]

    def places(self) -> dict[str, bytes]:
        """What was printed, and every file that is neither a destination nor its side file."""
        destinations = {
            f"store/{name}.json{end}" for name in (*self.entries, "rehearsal") for end in ("", ".rotator")
        }
        files = {
            name: content for name, content in self.files().items() if name not in destinations | self.hidden
        }
        shared = {path.name: path.read_bytes() for path in self.folder.rglob("*.db-shm")}
        names = "\n".join(str(path) for path in self.folder.rglob("*"))
        return {**self.printed, **files, **shared, "names of files": names.encode()}

    def leaks(self) -> list[str]:
        return leaks(self.secrets, self.places())


@contextmanager
def watched(folder: Path, nursery: Nursery, log_format: str) -> Iterator[WatchedSite]:
    """A site with a Lettermint of its own, at ROTATOR_LOG_LEVEL=debug."""
    temporary = folder / "tmp"
    temporary.mkdir()
    with Simulator(marker=MARKER, rotate_limit=1000, read_limit=100_000) as simulator:
        site = WatchedSite(
            folder,
            simulator,
            simulator.furnish(0).team_token,
            nursery,
            environment={
                "ROTATOR_LOG_LEVEL": "debug",
                "ROTATOR_LOG_FORMAT": log_format,
                "ROTATOR_AUDIT_KEY": AUDIT_KEY,
                "AWS_SECRET_ACCESS_KEY": AWS_KEY,
                "TMPDIR": str(temporary),
            },
            database=PASSWORD,
        )
        try:
            yield site
        finally:
            for server in (site.aws, site.vault):
                if server is not None:
                    server.__exit__()
