"""Rules of sending domains."""

from __future__ import annotations

from typing import Any

from rotator.simulator.answers import Answer, invalid
from rotator.simulator.context import Context
from rotator.simulator.pages import page
from rotator.simulator.records import Domain, timestamp


def list_domains(call: Context) -> Answer:
    """A page of the team's domains: `filter[project]`, `filter[domain]`, `filter[status]`."""
    query = call.request.query
    wanted, part, status = (query.get(f"filter[{name}]") for name in ("project", "domain", "status"))
    found = [
        domain
        for domain in call.world.domains.values()
        if domain.team == call.team
        and (wanted is None or wanted in domain.projects)
        and (part or "").lower() in domain.domain
        and status in (None, domain.status)
    ]

    def view(domain: Domain) -> dict[str, Any]:
        data = domain_data(call, domain)
        del data["rotation_ready"]
        return {**data, "status": domain.status}

    return Answer(
        200,
        page(
            found,
            query,
            url=call.url(),
            keys={
                "domain": lambda one: (one.domain, one.number),
                "created_at": lambda one: (timestamp(one.created_at), one.number),
            },
            default_sort="created_at",
            view=view,
        ),
    )


def show_domain(call: Context) -> Answer:
    """One domain, with its projects on request."""
    return Answer(200, domain_data(call, call.domain(), projects="projects" in call.includes()))


def replace_projects(call: Context) -> Answer:
    """The list given becomes the whole list; a project that is not in it loses the domain."""
    domain, wanted = call.domain(), call.body().get("project_ids")
    if not isinstance(wanted, list) or not wanted:
        raise invalid(project_ids="The project_ids field must have at least 1 item.")
    known = {project.id for project in call.world.projects_of(call.team)}
    if any(not isinstance(one, str) or one not in known for one in wanted):
        raise invalid(project_ids="The selected project_ids is invalid.")
    domain.projects = list(dict.fromkeys(wanted))
    data = domain_data(call, domain, projects=True)
    return Answer(200, {"data": data, "message": "Domain projects updated successfully."})


def domain_data(call: Context, domain: Domain, *, projects: bool = False) -> dict[str, Any]:
    """`DomainData`, which tells no status; only the list does (SDK 3.2.0)."""
    data: dict[str, Any] = {
        "id": domain.id,
        "domain": domain.domain,
        "dkim_mode": "managed_cname",
        "rotation_ready": domain.status == "verified",
        "status_changed_at": timestamp(domain.created_at),
        "created_at": timestamp(domain.created_at),
    }
    if projects:
        attached = (call.world.projects[one] for one in domain.projects)
        data["projects"] = [{"id": project.id, "name": project.name} for project in attached]
    return data
