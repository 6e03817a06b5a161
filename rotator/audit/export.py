"""Audit events for a SIEM: CloudEvents 1.0 around the OCSF class Entity Management.

`source` and `id` together name one event for ever: whoever gets it twice can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rotator.audit.base import ChainHead, unreadable
from rotator.audit.chain import Broken, genuine_lines
from rotator.audit.events import EVENTS, Activity
from rotator.audit.line import Line
from rotator.clock import parse_rfc3339
from rotator.secret import Secret

OCSF_VERSION: Final = "1.8.0"
_SCHEMA: Final = f"https://schema.ocsf.io/{OCSF_VERSION}/classes/entity_management"
_CATEGORY: Final = (3, "Identity & Access Management")
_CLASS: Final = (3004, "Entity Management")
_INFORMATIONAL: Final = (1, "Informational")
_MEDIUM: Final = (3, "Medium")
_HIGH: Final = (4, "High")
_UNKNOWN: Final = (0, "Unknown")
_SUCCESS: Final = (1, "Success")
_FAILURE: Final = (2, "Failure")
_GRAVE: Final = frozenset({"token.found-dead", "token.superseded", "drain.stuck", "audit.repaired"})
"""Somebody should know of these, whatever comes of them."""


class ChangedMeanwhile(Exception):
    """The log is not as it was when it was checked a moment ago. Its text is the sentence."""


def exported(
    path: Path, key: Secret, head: ChainHead, version: str, *, since: datetime | None = None, after: int = 0
) -> Iterator[dict[str, Any]]:
    """The events up to `head`, the end of a chain that was verified just now, one at a time, in the order of the
    log: those that happened at `since` or later, and whose number is above `after`.

    Each line is checked again as it is read. Raises ChangedMeanwhile, and AuditMisconfigured or AuditUnavailable
    when the file cannot be read.
    """
    source = ""
    try:
        for line in genuine_lines(path, key):
            # The first line's MAC is the chain's name: no other chain can have it.
            source = source or f"/rotator/audit/{line.head.mac[:32]}"
            if line.head.seq > after and (since is None or parse_rfc3339(line.fields["at"]) >= since):
                yield cloud_event(line, source, version)
            if line.head.seq >= head.seq:
                if line.head != head:
                    break
                return
    except Broken as error:
        raise ChangedMeanwhile(str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    raise ChangedMeanwhile(f"event {head.seq} is not there any more as it was")


def cloud_event(line: Line, source: str, version: str) -> dict[str, Any]:
    """One line of the log as a CloudEvent; its data is an OCSF event."""
    fields = line.fields
    return {
        "specversion": "1.0",
        "id": str(line.head.seq),
        "source": source,
        "type": f"rotator.audit.{fields['event']}.v1",
        **({"subject": fields["policy"]} if fields["policy"] else {}),
        "time": fields["at"],
        "datacontenttype": "application/json",
        "dataschema": _SCHEMA,
        "data": _ocsf(line, version),
    }


def _ocsf(line: Line, version: str) -> dict[str, Any]:
    fields, data = line.fields, line.fields["data"]
    name: str = fields["event"]
    known = EVENTS.get(name)
    activity = known.activity if known is not None else Activity.OTHER
    # Of `Other` the source's own word is the name.
    activity_name = name if activity is Activity.OTHER else activity.name.capitalize()
    status_id, status = _status(name, data)
    severity_id, severity = _severity(name, fields, status_id)
    event: dict[str, Any] = {
        "category_uid": _CATEGORY[0],
        "category_name": _CATEGORY[1],
        "class_uid": _CLASS[0],
        "class_name": _CLASS[1],
        "activity_id": activity.value,
        "activity_name": activity_name,
        "type_uid": _CLASS[0] * 100 + activity.value,
        "type_name": f"{_CLASS[1]}: {activity_name}",
        "time": int(parse_rfc3339(fields["at"]).timestamp() * 1000),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "message": f"{name}: {known.meaning(name)}" if known is not None else name,
        "entity": _entity(name, fields),
        "actor": _actor(fields["actor"]),
        "src_endpoint": {
            "hostname": fields["actor"].get("host") or "unknown",
            **({"ip": data["caller"]} if data.get("caller") else {}),
        },
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": "rotator", "vendor_name": "rotator", "version": version},
            "log_name": "audit",
            "log_version": str(fields["v"]),
            "uid": line.head.mac,
            "sequence": line.head.seq,
            "event_code": name,
            "original_time": fields["at"],
            **({"correlation_uid": fields["rotation"]} if fields["rotation"] else {}),
        },
        # Everything that the log has, so that nothing is lost on the way.
        "unmapped": {"trigger": fields["trigger"], "prev": line.prev, "data": data},
    }
    if data.get("reason"):
        event["comment"] = data["reason"]
    if data.get("error"):
        event["status_detail"] = data["error"]
    return event


def _entity(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What was acted upon: the policy's secret, or one of our own records."""
    if fields["policy"] or fields["project"]:
        about = {"name": fields["policy"], "uid": fields["project"]}
        return {"type_id": 99, "type": "secret", **{key: value for key, value in about.items() if value}}
    kind = "journal" if name.startswith("journal.") else "audit log"
    return {"type_id": 99, "type": kind, "name": str(fields["data"].get("journal") or kind)}


def _actor(actor: Mapping[str, str]) -> dict[str, Any]:
    process: dict[str, Any] = {"cmd_line": actor.get("command", "")}
    if actor.get("pid", "").isdecimal():
        process["pid"] = int(actor["pid"])
    return {"app_name": "rotator", "user": {"name": actor.get("user", "")}, "process": process}


def _status(name: str, data: Mapping[str, Any]) -> tuple[int, str]:
    """What the event says of how it went."""
    if name.endswith(".intent"):
        return 99, "Intended"
    told = [data[field] for field in ("ok", "executed") if field in data]
    told += [data["verdict"] == "passed"] if data.get("verdict") in ("passed", "failed") else []
    told += [data["answer"] == "dead"] if data.get("answer") else []
    told += [data["state"] == "completed"] if "state" in data else []
    if False in told:
        return _FAILURE
    if None in told or "verdict" in data or "answer" in data:
        return _SUCCESS if True in told else _UNKNOWN
    return _SUCCESS


def _severity(name: str, fields: Mapping[str, Any], status_id: int) -> tuple[int, str]:
    if fields["data"].get("state") == "needs-attention" or name == "token.found-dead":
        return _HIGH
    if status_id == _FAILURE[0] or name in _GRAVE or fields["trigger"] == "emergency":
        return _MEDIUM
    return _INFORMATIONAL
