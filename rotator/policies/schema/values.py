"""The kinds of values in the written format, and the base of all its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from rotator.policies import texts


def wrong(message: str) -> PydanticCustomError:
    """A refusal in our words; a validator raises it."""
    # The message goes in as a value: pydantic would read braces in a template.
    return PydanticCustomError("policy", "{message}", {"message": message})


def _text(check: Callable[[str], str], **schema: Any) -> tuple[AfterValidator, WithJsonSchema]:
    def checked(value: str) -> str:
        try:
            return check(value)
        except ValueError as error:
            raise wrong(str(error)) from None

    return AfterValidator(checked), WithJsonSchema({"type": "string", **schema})


def _path(value: str, info: ValidationInfo) -> str:
    try:
        return texts.file_path(value, (info.context or {}).get("folder"))
    except ValueError as error:
        raise wrong(str(error)) from None


Text = Annotated[str, *_text(texts.plain, minLength=1)]
Key = Annotated[str, *_text(texts.key, minLength=1)]
Name = Annotated[str, *_text(texts.name, pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
ProjectId = Annotated[str, *_text(texts.project_id, format="uuid")]
Duration = Annotated[str, *_text(texts.duration, pattern="^[0-9]+[smhdw]$")]
PositiveDuration = Annotated[str, *_text(texts.positive_duration, pattern="^[0-9]*[1-9][0-9]*[smhdw]$")]
StartTime = Annotated[str, *_text(texts.start_time, pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
EndTime = Annotated[str, *_text(texts.end_time, pattern="^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
Zone = Annotated[str, *_text(texts.timezone)]
Cron = Annotated[str, *_text(texts.cron)]
SecretId = Annotated[str, *_text(texts.secret_id)]
Region = Annotated[str, *_text(texts.region)]
VaultPath = Annotated[str, *_text(texts.vault_path)]
FilePath = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "minLength": 1})]
FileMode = Annotated[str, *_text(texts.file_mode, pattern="^0?[0-7]{3}$")]
Label = Annotated[str, *_text(texts.label)]
KubernetesName = Annotated[str, *_text(texts.kubernetes_name)]
Address = Annotated[str, *_text(texts.mail_address, format="email")]
Url = Annotated[str, *_text(texts.url, format="uri")]


class Part(BaseModel):
    """Any part of a policy: unknown keys are refused, nothing is converted, inputs are not repeated."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, validate_default=True, hide_input_in_errors=True
    )
