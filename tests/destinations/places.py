"""Places for the contract suite: each knows how a reader, and how somebody else, uses the real thing.

A place has `destination(create=…)`, `seed(value)` (somebody else writes a whole secret whose field holds
`value`; None leaves the field out), `visible()` (what a reader of the current version gets in the field),
`neighbours()` (all the rest of what readers get) and `edit()` (somebody else changes something).
"""

from __future__ import annotations

import json
import uuid
from functools import cache

import boto3

from rotator.clock import SystemClock
from rotator.destinations import document
from rotator.destinations.aws_secrets_manager import AwsSecretsManagerDestination
from rotator.destinations.file import FileDestination
from rotator.model import DestinationSpec

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
