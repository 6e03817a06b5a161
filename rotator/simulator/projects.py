"""Rules of `/team` and `/projects`, rotate-token among them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rotator.simulator.answers import Answer, invalid
from rotator.simulator.context import Context, choice_field, flag_field, text_field
from rotator.simulator.domains import domain_data
from rotator.simulator.pages import page
from rotator.simulator.records import Message, Project, timestamp
from rotator.simulator.routes import route_data

ROTATED: Final = "API token rotated successfully. Please update your integrations."
DELIVERY_MODES: Final = ("live", "sandbox")
INITIAL_ROUTES: Final = ("both", "transactional", "broadcast")


def show_team(call: Context) -> Answer:
    """The bare `TeamData`."""
    team = call.world.teams[call.team]
    data: dict[str, Any] = {
        "id": team.id,
        "name": team.name,
        "type": "business",
        "plan": "starter",
        "included_volume": 10000,
        "tier": 10000,
        "verified_at": timestamp(team.verified_at) if team.verified_at else None,
        "created_at": timestamp(team.created_at),
    }
    for name in ("features", "addons"):
        if name in call.includes():
            data[name] = []
    return Answer(200, data)


def list_projects(call: Context) -> Answer:
    """A page of `ProjectListData`, which carries no token fields."""
    search = call.request.query.get("filter[search]", "").lower()
    found = [one for one in call.world.projects_of(call.team) if search in one.name.lower()]

    def view(project: Project) -> dict[str, Any]:
        return {
            "id": project.id,
            "name": project.name,
            "delivery_mode": project.delivery_mode,
            "smtp_enabled": project.smtp_enabled,
            "routes_count": len(project.routes),
            "domains_count": len(call.world.domains_of(project)),
            "last_28_days": _stats(project.messages),
            "created_at": timestamp(project.created_at),
            "updated_at": timestamp(project.updated_at),
        }

    return Answer(
        200,
        page(
            found,
            call.request.query,
            url=call.url(),
            keys={
                "name": lambda one: (one.name, one.number),
                "created_at": lambda one: (timestamp(one.created_at), one.number),
            },
            default_sort="created_at",
            view=view,
        ),
    )


def show_project(call: Context) -> Answer:
    """The bare `ProjectData`, with routes, domains, their counts and statistics on request."""
    project, wanted = call.project(), call.includes()
    data = project_data(call, project)
    routes, domains = project.routes, call.world.domains_of(project)
    if "routes" in wanted:
        data["routes"] = [route_data(call, route) for route in routes]
    if "routesCount" in wanted:
        data["routes_count"] = len(routes)
    if "domains" in wanted:
        data["domains"] = [domain_data(call, domain) for domain in domains]
    if "domainsCount" in wanted:
        data["domains_count"] = len(domains)
    if "messageStats" in wanted:
        data["last_28_days"] = _stats(project.messages)
    return Answer(200, data)


def create_project(call: Context) -> Answer:
    """The one answer that shows the first token."""
    body = call.body()
    name = text_field(body, "name", required=True) or ""
    project = call.world.new_project(
        call.team,
        name,
        call.now,
        smtp_enabled=flag_field(body, "smtp_enabled") or False,
        initial_routes=choice_field(body, "initial_routes", INITIAL_ROUTES) or "both",
        short_token=flag_field(body, "short_token") or False,
        delivery_mode=choice_field(body, "delivery_mode", DELIVERY_MODES) or "live",
        redact_email_content=flag_field(body, "redact_email_content") or False,
    )
    data = project_data(call, project)
    text = project.original.text
    return Answer(201, {"data": data, "message": "Project created successfully.", "api_token": text})


def update_project(call: Context) -> Answer:
    """Changes what is given and not null."""
    project, body = call.project(), call.body()
    name = text_field(body, "name", required=False)
    smtp_enabled = flag_field(body, "smtp_enabled")
    redact = flag_field(body, "redact_email_content")
    delivery_mode = choice_field(body, "delivery_mode", DELIVERY_MODES)
    default_route = text_field(body, "default_route_id", required=False)
    if default_route is not None and default_route not in {r.id for r in project.routes}:
        raise invalid(default_route_id="The selected default_route_id is invalid.")
    project.name = project.name if name is None else name
    project.smtp_enabled = project.smtp_enabled if smtp_enabled is None else smtp_enabled
    project.redact_email_content = project.redact_email_content if redact is None else redact
    project.delivery_mode = delivery_mode or project.delivery_mode
    project.default_route_id = default_route or project.default_route_id
    project.updated_at = call.now.wall
    return Answer(200, {"data": project_data(call, project), "message": "Project updated successfully."})


def delete_project(call: Context) -> Answer:
    """Deletes for good; the project's tokens die with it."""
    call.world.delete_project(call.project(), call.now)
    return Answer(200, {"message": "Project deleted successfully."})


def rotate_token(call: Context) -> Answer:
    """Not idempotent: each call makes a new token, shown in this one answer (SDK 3.2.0)."""
    project = call.project()
    token = call.world.mint(project, call.now, via="rotate-token", effects=call.effects)
    data = project_data(call, project)
    data["token_generated_at"] = timestamp(call.now.wall)  # a read lag is one of reads, not of this answer
    return Answer(200, {"data": data, "new_token": token.text, "message": ROTATED})


def project_data(call: Context, project: Project) -> dict[str, Any]:
    """`ProjectData`. Its `token_*` fields describe the original token; no field tells of the others."""
    return {
        "id": project.id,
        "name": project.name,
        "delivery_mode": project.delivery_mode,
        "smtp_enabled": project.smtp_enabled,
        "redact_email_content": project.redact_email_content,
        "default_route_id": project.default_route_id,
        "token_generated_at": project.generated_at(call.now),
        "token_last_used_at": project.original.last_used_at,
        "token_last_used_ip": project.original.last_used_ip,
        "created_at": timestamp(project.created_at),
        "updated_at": timestamp(project.updated_at),
    }


def _stats(messages: Iterable[Message]) -> dict[str, Any]:
    billed = sum(1 for message in messages if message.billed)
    return {
        "messages_transactional": billed,
        "messages_broadcast": 0,
        "messages_inbound": 0,
        "deliverability": 100.0,
    }
