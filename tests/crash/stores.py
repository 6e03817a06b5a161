"""Where the secret lives, as the crash suite sees it: seeded and read without rotator."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rotator.secret import Secret
from tests.crash.harness import AWS
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault

OTHER = "kept"
"""Another field beside the token."""
_VAULT_RULES = {
    "secret/data/prod/*": {"create", "read", "update"},
    "secret/metadata/prod/*": {"create", "read", "update", "delete"},
}


class Store:
    """`spec` is the destination in the policy, `environment` what commands need to reach it."""

    def __init__(self, spec: dict[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self.spec = spec
        self.environment = environment or {}

    def seed(self, token: Secret) -> None:
        raise NotImplementedError

    def read(self) -> Secret:
        raise NotImplementedError

    def stages(self) -> bool:
        """Whether a token is kept there that readers do not get yet."""
        raise NotImplementedError


def _document(token: Secret) -> str:
    return json.dumps({"other": OTHER, "token": token.reveal()})


def _token(document: Mapping[str, Any]) -> Secret:
    assert document["other"] == OTHER
    return Secret(document["token"])


class FileStore(Store):
    def __init__(self, folder: Path, name: str = "billing.json") -> None:
        self.path = folder / "store" / name
        self.path.parent.mkdir(exist_ok=True)
        super().__init__({"type": "file", "path": str(self.path), "format": "json", "key": "token"})

    def seed(self, token: Secret) -> None:
        self.path.write_text(_document(token), encoding="utf-8")
        self.path.chmod(0o600)

    def read(self) -> Secret:
        return _token(json.loads(self.path.read_text(encoding="utf-8")))

    def stages(self) -> bool:
        sidecar = self.path.with_name(f"{self.path.name}.rotator")
        return sidecar.exists() and json.loads(sidecar.read_text(encoding="utf-8"))["pending"] is not None


class AwsStore(Store):
    """`client` is somebody else's client of the server."""

    def __init__(self, server: StrictSecretsManager, client: Any) -> None:
        self.client = client
        self.name = f"prod/{uuid.uuid4().hex}"
        super().__init__(
            {"type": "aws-secrets-manager", "secret_id": self.name, "region": "eu-central-1", "key": "token"},
            {**AWS, "AWS_ENDPOINT_URL_SECRETS_MANAGER": server.url},
        )

    def seed(self, token: Secret) -> None:
        self.client.create_secret(Name=self.name, SecretString=_document(token))

    def read(self) -> Secret:
        answer = self.client.get_secret_value(SecretId=self.name, VersionStage="AWSCURRENT")
        return _token(json.loads(answer["SecretString"]))

    def stages(self) -> bool:
        versions = self.client.describe_secret(SecretId=self.name)["VersionIdsToStages"]
        return any("ROTATOR_PENDING" in labels for labels in versions.values())


class VaultStore(Store):
    """Seeded and read past the server's door."""

    def __init__(self, server: StrictVault) -> None:
        self.server = server
        self.path = f"prod/{uuid.uuid4().hex}"
        super().__init__(
            {"type": "vault-kv", "mount": "secret", "path": self.path, "key": "token"},
            {"VAULT_ADDR": server.url, "VAULT_TOKEN": server.token(_VAULT_RULES)},
        )

    def seed(self, token: Secret) -> None:
        self.server.write("secret", self.path, json.loads(_document(token)))

    def read(self) -> Secret:
        document = self.server.read("secret", self.path)
        assert document is not None
        return _token(document)

    def stages(self) -> bool:
        return self.server.read("secret", f"{self.path}/rotator-pending") is not None
