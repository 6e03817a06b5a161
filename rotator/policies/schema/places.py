"""The written format of everything outside that a policy names: destinations, verifiers, consumers,
notifiers. Each is picked by its `type`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from rotator.policies import texts
from rotator.policies.schema.values import (
    Address,
    FileMode,
    FilePath,
    Key,
    KubernetesName,
    Part,
    Region,
    SecretId,
    Url,
    VaultPath,
    wrong,
)

_KEY = Field(
    None,
    description="The field inside a JSON (or env) secret; all others are preserved. "
    "Without it the whole secret is the bare token.",
    examples=["LETTERMINT_PROJECT_TOKEN"],
)
_CREATE = Field(False, description="Makes the secret if it is missing; else a missing one is refused.")
_OVERWRITE = Field(
    False, description="Replaces what stands there even if it is not a Lettermint project token of ours."
)


class AwsSecretsManager(Part):
    """A secret in AWS Secrets Manager."""

    type: Literal["aws-secrets-manager"] = Field(description="AWS Secrets Manager.")
    secret_id: SecretId = Field(description="The secret's name or ARN.", examples=["prod/billing/lettermint"])
    region: Region | None = Field(
        None,
        description="The region. Left out: that of the ARN, else the one AWS's own settings name.",
        examples=["eu-central-1"],
    )
    key: Key | None = _KEY
    create: bool = _CREATE
    overwrite: bool = _OVERWRITE

    @field_validator("region")
    @classmethod
    def _agrees_with_arn(cls, value: str | None, info: ValidationInfo) -> str | None:
        arn = texts.SECRET_ARN.fullmatch(info.data.get("secret_id", ""))
        if arn is None:
            return value
        if value not in (None, arn["region"]):
            raise wrong("is not the region of the ARN in `secret_id`; accepted: the same one, or none")
        return arn["region"]


class VaultKv(Part):
    """A secret in a KV version 2 engine of Vault or OpenBao."""

    type: Literal["vault-kv"] = Field(description="Vault or OpenBao, KV version 2.")
    mount: VaultPath = Field(description="Where the KV engine is mounted.", examples=["secret"])
    path: VaultPath = Field(
        description="The secret's path below the mount, as `vault kv get` takes it.",
        examples=["prod/billing/lettermint"],
    )
    key: Key = Field(
        description="The field for the token; all others are preserved. A secret in Vault always has fields.",
        examples=["token"],
    )
    create: bool = _CREATE
    overwrite: bool = _OVERWRITE


class File(Part):
    """A file on this machine."""

    type: Literal["file"] = Field(description="A file on this machine.")
    path: FilePath = Field(
        description="The file. A relative path starts at the folder of the policy file.",
        examples=["./secrets/billing.env"],
    )
    key: Key | None = _KEY
    format: Literal["json", "env"] | None = Field(
        None, description="How the file keeps its fields. With `key`: json if left out. Without `key`: none."
    )
    mode: FileMode | None = Field(
        None, description='Permissions in octal; "0600" for a file that rotator makes.', examples=["0640"]
    )
    create: bool = Field(True, description="Makes the file if it is missing; else a missing one is refused.")
    overwrite: bool = _OVERWRITE

    @field_validator("path")
    @classmethod
    def _is_no_side_file(cls, value: str) -> str:
        if value.endswith(".rotator"):
            raise wrong("ends in .rotator, where staged tokens are kept; accepted: any other name")
        return value

    @field_validator("format")
    @classmethod
    def _fits_key(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "key" not in info.data:
            return value
        key = info.data["key"]
        if key is None:
            if value is not None:
                raise wrong("needs `key`, the field to write; without both the whole file is the bare token")
            return None
        if value == "env" and not texts.is_variable(key):
            raise wrong("is env, and `key` is not a variable name; accepted: letters, digits and _ in `key`")
        return value or "json"


Destination = Annotated[AwsSecretsManager | VaultKv | File, Field(discriminator="type")]


class Ping(Part):
    """Asks the API whether it knows the token; sends nothing."""

    type: Literal["ping"] = Field(description="Asks the API whether it knows the token; sends nothing.")


class Send(Part):
    """Sends one test message with the token."""

    type: Literal["send"] = Field(description="Sends one test message with the token.")
    sender: Address = Field(
        alias="from", description="The sender, in a domain of the project.", examples=["rotation@example.com"]
    )
    to: Address = Field(
        "ok@testing.lettermint.co",
        description="The recipient; the provider's test address, which accepts and discards, if left out.",
    )


class Smtp(Part):
    """Logs in at the SMTP relay; sends nothing."""

    type: Literal["smtp"] = Field(description="Logs in at the SMTP relay with the token; sends nothing.")


Verifier = Annotated[Ping | Send | Smtp, Field(discriminator="type")]


class KubernetesRestart(Part):
    """Restarts a workload, so that it reads the new token."""

    type: Literal["kubernetes-restart"] = Field(
        description="Restarts a workload, as `kubectl rollout restart`."
    )
    kind: Literal["Deployment", "StatefulSet", "DaemonSet"] = Field(description="The kind of workload.")
    namespace: KubernetesName = Field(description="Its namespace.", examples=["shop"])
    name: KubernetesName = Field(description="Its name.", examples=["mailer"])


class ExternalSecret(Part):
    """Has the External Secrets Operator read the store now."""

    type: Literal["external-secret"] = Field(
        description="Has the External Secrets Operator read the store now instead of at its next refresh."
    )
    namespace: KubernetesName = Field(description="The ExternalSecret's namespace.", examples=["shop"])
    name: KubernetesName = Field(description="The ExternalSecret's name.", examples=["mailer"])


class ConsumerWebhook(Part):
    """Calls a URL that makes the consumer read its token again."""

    type: Literal["webhook"] = Field(description="Calls a URL that makes the consumer read its token again.")
    url: Url = Field(
        description="https, or http on a loopback address.", examples=["https://mailer.example.com/reload"]
    )
    signing_key_file: FilePath | None = Field(
        None, description="A file with the key that signs the call.", examples=["/run/secrets/reload"]
    )


Consumer = Annotated[KubernetesRestart | ExternalSecret | ConsumerWebhook, Field(discriminator="type")]

Event = Literal["completed", "failed", "needs-attention", "emergency"]


class _Notifier(Part):
    on: list[Event] = Field(
        ["failed", "needs-attention"],
        min_length=1,
        description="What is told: completed, failed, needs-attention, emergency.",
        examples=[["failed", "needs-attention"]],
    )


class Slack(_Notifier):
    """Posts to a Slack channel."""

    type: Literal["slack"] = Field(description="Posts to a Slack channel.")
    url_file: FilePath = Field(
        description="A file with the incoming webhook's URL, which is a secret.",
        examples=["/run/secrets/slack"],
    )


class PagerDuty(_Notifier):
    """Opens and resolves PagerDuty incidents."""

    type: Literal["pagerduty"] = Field(description="Opens and resolves PagerDuty incidents.")
    routing_key_file: FilePath = Field(
        description="A file with the integration's routing key.", examples=["/run/secrets/pagerduty"]
    )


class NotifyWebhook(_Notifier):
    """Posts JSON to a URL."""

    type: Literal["webhook"] = Field(description="Posts JSON to a URL.")
    url: Url = Field(
        description="https, or http on a loopback address.", examples=["https://siem.example.com/in"]
    )
    signing_key_file: FilePath | None = Field(
        None, description="A file with the key that signs the call.", examples=["/run/secrets/siem"]
    )


Notifier = Annotated[Slack | PagerDuty | NotifyWebhook, Field(discriminator="type")]
