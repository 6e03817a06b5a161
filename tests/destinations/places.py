"""Places for the contract suite: each knows how a reader, and how somebody else, uses the real thing.

A place has `destination(create=…)`, `seed(value)` (somebody else writes a whole secret whose field holds
`value`; None leaves the field out), `visible()` (what a reader of the current version gets in the field),
`neighbours()` (all the rest of what readers get) and `edit()` (somebody else changes something).
"""

from __future__ import annotations

import http.client
import json
import uuid
from collections import Counter
from functools import cache
from urllib.parse import urlsplit

import boto3
import pytest

from rotator.clock import SystemClock
from rotator.destinations import document
from rotator.destinations.aws_secrets_manager import AwsSecretsManagerDestination
from rotator.destinations.file import FileDestination
from rotator.destinations.vault_kv import VaultKvDestination
from rotator.destinations.vault_login import VaultAccess
from rotator.destinations.vault_session import VaultSession
from rotator.errors import InvalidInput
from rotator.model import DestinationSpec
from rotator.secret import Secret

KEY = "LETTERMINT_TOKEN"
SECRET_ID = "prod/billing/lettermint"
JSON_TEXT = (
    '{\n  "host" : "mail.example.com",\n  "ratio": 1.50,\n  "{KEY}": {VALUE},\n  "note": "\\u00e9 \\/"\n}\n'
)
ENV_TEXT = "# mail\nexport HOST=mail.example.com\nLETTERMINT_TOKEN='{VALUE}' # rotated\nNOTE=\"a b\"\n"


def document_text(form, value):
    """A whole secret with the field, in a style that a careless rewrite would change."""
    if form == "json":
        if value is None:
            return '{"host": "mail.example.com", "ratio": 1.50}'
        return JSON_TEXT.replace("{KEY}", KEY).replace("{VALUE}", json.dumps(value))
    if form == "env":
        return "HOST=mail.example.com\n" if value is None else ENV_TEXT.replace("{VALUE}", value)
    return f"{value or ''}\n"


class Place:
    """What all places have in common."""

    form: str | None
    clock = None

    @property
    def key(self):
        return KEY if self.form in ("json", "env") else None

    def text(self):
        raise NotImplementedError

    def write(self, text):
        raise NotImplementedError

    def seed(self, value):
        self.write(document_text(self.form, value))

    def edit(self):
        text = self.text() or ""
        self.write(
            text.replace("mail.example.com", "mx.example.com") if self.key else "lm_" + "9" * 32 + "\n"
        )

    def visible(self):
        text = self.text()
        return None if text is None else document.get_field(text, self.key, self.form if self.key else None)

    def neighbours(self):
        text = self.text() or ""
        value = self.visible()
        return text.replace(value, "*") if value else text


class FilePlace(Place):
    def __init__(self, path, form):
        self.path, self.form = path, form
        self.clock = SystemClock()

    def destination(self, *, create=True, overwrite=False, mode=None):
        options = {"path": str(self.path), "format": self.form, "mode": mode}
        spec = DestinationSpec("file", f"file:{self.path}", self.key, create, overwrite, options)
        return FileDestination(spec, self.clock)

    def write(self, text):
        self.path.write_bytes(text.encode())

    def text(self):
        return self.path.read_bytes().decode() if self.path.exists() else None


class AwsPlace(Place):
    def __init__(self, backend, form):
        self.backend, self.form = backend, form
        self.clock = SystemClock()

    def destination(self, *, create=True, overwrite=False, region="eu-central-1"):
        options = {"secret_id": SECRET_ID, "region": region}
        spec = DestinationSpec(
            "aws-secrets-manager", f"aws:{region}:{SECRET_ID}", self.key, create, overwrite, options
        )
        return AwsSecretsManagerDestination(spec, self.clock)

    def write(self, text):
        self.backend.write(text)

    def text(self):
        return self.backend.text()


class StrictBackend:
    def __init__(self, server):
        self.server = server

    def write(self, text):
        self.server.seed(SECRET_ID, text)

    def text(self):
        return self.server.text(SECRET_ID)


@cache
def person(url):
    """A client of somebody else's."""
    return boto3.client(
        "secretsmanager",
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="somebody",
        aws_secret_access_key="else",
    )


class MotoBackend:
    """Somebody else who uses AWS through boto3, as a person's script would."""

    def __init__(self, url):
        self.client = person(url)

    def write(self, text):
        if self.text() is None:
            self.client.create_secret(Name=SECRET_ID, SecretString=text)
            return
        # moto leaves two current versions behind when a default write follows a moved label: move it instead.
        new, old = str(uuid.uuid4()), self._current()["VersionId"]
        self.client.put_secret_value(
            SecretId=SECRET_ID, ClientRequestToken=new, SecretString=text, VersionStages=["EDIT"]
        )
        self.client.update_secret_version_stage(
            SecretId=SECRET_ID, VersionStage="AWSCURRENT", MoveToVersionId=new, RemoveFromVersionId=old
        )

    def text(self):
        try:
            return self._current().get("SecretString")
        except self.client.exceptions.ResourceNotFoundException:
            return None

    def _current(self):
        return self.client.get_secret_value(SecretId=SECRET_ID, VersionStage="AWSCURRENT")


VAULT_PATH = "prod/billing/lettermint"


def vault_access(url, token="", *, auth="token", **changed):
    """How a session gets to a server; whatever is not said is not set."""

    def unset():
        raise InvalidInput("it is not set")

    access = {
        "address": url,
        "namespace": None,
        "cacert": None,
        "auth": auth,
        "auth_mount": auth,
        "role": None,
        "token": (lambda: Secret(token)) if token else unset,
        "role_id": unset,
        "secret_id": unset,
        "jwt": unset,
    }
    return VaultAccess(**{**access, **changed})


class VaultPlace(Place):
    """A secret of a mount of its own, and somebody else who uses it with all rights.

    Servers sort fields by name, so the field is one that comes behind its neighbours.
    """

    form = "json"

    def __init__(self, server, mount=None, *, clock=None, session=None, path=VAULT_PATH):
        self.server, self.mount, self.path = server, mount or server.mount(), path
        self.clock = clock or SystemClock()
        self.session = session or VaultSession(vault_access(server.url, server.root), self.clock)

    def close(self):
        self.session.close()

    @property
    def key(self):
        return "token"

    def destination(self, *, create=True, overwrite=False, key="token"):
        options = {"mount": self.mount, "path": self.path}
        place = f"vault-kv:{self.mount}/{self.path}"
        spec = DestinationSpec("vault-kv", place, key, create, overwrite, options)
        return VaultKvDestination(spec, self.clock, self.session)

    def seed(self, value):
        self.write(document_text(self.form, value).replace(KEY, self.key))

    def write(self, text):
        json.loads(text, object_pairs_hook=_once_each)
        status, said = self.call("POST", f"data/{self.path}", f'{{"data": {text}}}')
        assert status == 200, said

    def text(self):
        """As the server writes it: fields sorted, numbers as it reads them."""
        status, said = self.call("GET", f"data/{self.path}")
        assert status in (200, 404)
        data = document.get_field(said, "data", "json")
        return document.get_field(data, "data", "json") if data else None

    def call(self, method, path, body=None, kind="application/json"):
        """Status and text of one call below the mount, with all rights."""
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=30)
        headers = {"X-Vault-Token": self.server.root, "Content-Type": kind}
        connection.request(method, f"/v1/{self.mount}/{path}", body and body.encode(), headers)
        answer = connection.getresponse()
        status, text = answer.status, answer.read().decode()
        connection.close()
        return status, text


def _once_each(pairs):
    if max(Counter(name for name, _ in pairs).values(), default=0) > 1:
        pytest.skip("a secret of Vault is a map: no field can be in it twice")
    return dict(pairs)
