"""Rules of the routes of a project."""

from __future__ import annotations

import re
from typing import Any, Final

from rotator.simulator.answers import Answer, Refusal, error, invalid
from rotator.simulator.context import Context, choice_field, text_field
from rotator.simulator.pages import page
from rotator.simulator.records import Route, timestamp

ROUTE_TYPES: Final = ("transactional", "broadcast", "inbound")


def list_routes(call: Context) -> Answer:
    """A page of a project's routes: `filter[search]`, `filter[route_type]`, `filter[is_default]`."""
    project, query = call.project(), call.request.query
    search, kind = query.get("filter[search]", "").lower(), query.get("filter[route_type]")
    default = query.get("filter[is_default]")
    found = [
        route
        for route in project.routes
        if (search in route.name.lower() or search in route.slug)
        and kind in (None, route.route_type)
        and (default is None or (default in ("1", "true")) == (route.id == project.default_route_id))
    ]

    def view(route: Route) -> dict[str, Any]:
        data = route_data(call, route)
        data = {name: value for name, value in data.items() if name not in ("project_id", "settings")}
        return {**data, "webhooks_count": 0, "suppressed_recipients_count": 0}

    return Answer(
        200,
        page(
            found,
            query,
            url=call.url(),
            keys={
                "name": lambda one: (one.name, one.number),
                "slug": lambda one: (one.slug, one.number),
                "created_at": lambda one: (timestamp(one.created_at), one.number),
            },
            default_sort="created_at",
            view=view,
        ),
    )


def show_route(call: Context) -> Answer:
    """The bare `RouteData`; its `project_id` ends the way from a message to its project."""
    return Answer(200, route_data(call, call.route()))


def create_route(call: Context) -> Answer:
    """A slug is unique within its project, and made from the name when left out."""
    project, body = call.project(), call.body()
    name = text_field(body, "name", required=True) or ""
    route_type = choice_field(body, "route_type", ROUTE_TYPES)
    if route_type is None:
        raise invalid(route_type="The route_type field is required.")
    slug = text_field(body, "slug", required=False) or re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if slug in {route.slug for route in project.routes}:
        raise invalid(slug="The slug has already been taken.")
    settings = _settings(body)
    route = call.world.new_route(project, name, slug, route_type, call.now)
    route.settings.update(settings)
    return Answer(201, {"data": route_data(call, route), "message": "Route created successfully."})


def update_route(call: Context) -> Answer:
    """Changes the name and the settings given."""
    route, body = call.route(), call.body()
    name, settings = text_field(body, "name", required=False), _settings(body)
    route.name = route.name if name is None else name
    route.settings.update(settings)
    route.updated_at = call.now.wall
    return Answer(200, {"data": route_data(call, route), "message": "Route updated successfully."})


def delete_route(call: Context) -> Answer:
    """Any route but the default one."""
    route = call.route()
    if call.world.projects[route.project].default_route_id == route.id:
        raise Refusal(error(422, "VALIDATION_ERROR", "The default route cannot be deleted."))
    call.world.delete_route(route)
    return Answer(200, {"message": "Route deleted successfully."})


def route_data(call: Context, route: Route) -> dict[str, Any]:
    """`RouteData` of SDK 3.2.0, without the fields of inbound routes."""
    return {
        "id": route.id,
        "project_id": route.project,
        "slug": route.slug,
        "name": route.name,
        "route_type": route.route_type,
        "is_default": call.world.projects[route.project].default_route_id == route.id,
        "settings": dict(route.settings),
        "created_at": timestamp(route.created_at),
        "updated_at": timestamp(route.updated_at),
    }


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    settings = body.get("settings")
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise invalid(settings="The settings field must be an object.")
    return settings
