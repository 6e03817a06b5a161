"""Rules of projects, routes, domains and cursor pages."""

from __future__ import annotations

import pytest

from tests.simulator.support import UNKNOWN_ID, Scene


def walk(scene: Scene, path: str, direction: str = "next_cursor", **query: str) -> list[list[str]]:
    """Names on every page, following one cursor."""
    pages, cursor = [], query.pop("cursor", None)
    while True:
        page = scene.team("GET", path, query={**query, **({"page[cursor]": cursor} if cursor else {})}).json
        pages.append([item["name"] for item in page["data"]])
        cursor = page[direction]
        if cursor is None:
            return pages


@pytest.mark.parametrize("total", [3, 4, 5])
def test_pages_hold_everything_once(scene: Scene, total: int) -> None:
    """Below, at and above a multiple of the page size, every project is on exactly one page."""
    for number in range(total - 2):
        scene.simulator.add_project(f"More {number}")
    names = ["Project 1", "Project 2", "More 0", "More 1", "More 2"][:total]

    assert [names[at : at + 2] for at in range(0, total, 2)] == walk(
        scene, "/projects", **{"page[size]": "2"}
    )


def test_pages_can_be_walked_back(scene: Scene) -> None:
    """`prev_cursor` leads from the last page to the first."""
    for number in range(3):
        scene.simulator.add_project(f"More {number}")
    query = {"page[size]": "2"}
    second = scene.team("GET", "/projects", query=query).json["next_cursor"]
    third = scene.team("GET", "/projects", query={**query, "page[cursor]": second}).json["next_cursor"]

    assert walk(scene, "/projects", "prev_cursor", cursor=third, **query) == [
        ["More 2"],
        ["More 0", "More 1"],
        ["Project 1", "Project 2"],
    ]


@pytest.mark.parametrize("sort", ["name", "-name", "created_at", "-created_at"])
def test_sorting(scene: Scene, sort: str) -> None:
    """Each documented order holds across pages."""
    scene.simulator.add_project("Alpha")
    in_order = {
        "name": ["Alpha", "Project 1", "Project 2"],
        "created_at": ["Project 1", "Project 2", "Alpha"],
    }
    expected = in_order[sort.removeprefix("-")]

    found = walk(scene, "/projects", sort=sort, **{"page[size]": "1"})

    assert [[name] for name in (reversed(expected) if sort.startswith("-") else expected)] == found


def test_a_page_stays_right_while_projects_come_and_go(scene: Scene) -> None:
    """A cursor stands beside an item, so deleting that item skips and repeats nothing."""
    scene.simulator.add_project("Third")
    first = scene.team("GET", "/projects", query={"page[size]": "1"}).json
    scene.team("DELETE", f"/projects/{first['data'][0]['id']}")

    rest = walk(scene, "/projects", cursor=first["next_cursor"], **{"page[size]": "9"})

    assert rest == [["Project 2", "Third"]]


@pytest.mark.parametrize(
    ("size", "per_page"), [("0", 30), ("1", 1), ("100", 100), ("101", 100), ("x", 30), (None, 30)]
)
def test_page_sizes(scene: Scene, size: str | None, per_page: int) -> None:
    """30 by default, 100 at most."""
    query = {} if size is None else {"page[size]": size}

    assert per_page == scene.team("GET", "/projects", query=query).json["per_page"]


@pytest.mark.parametrize("cursor", ["nonsense", "e30", "WyJhZnRlciIsWzFdXQ", "ÿ"])
def test_a_cursor_that_means_nothing_is_the_first_page(scene: Scene, cursor: str) -> None:
    """The contract knows no 422 for lists, so an unreadable cursor starts anew."""
    reply = scene.team("GET", "/projects", query={"page[cursor]": cursor})

    assert (reply.status, len(reply.json["data"])) == (200, 2)


def test_page_urls_lead_on(scene: Scene) -> None:
    """`next_page_url` is the next page itself, filters and size included."""
    page = scene.team("GET", "/projects", query={"page[size]": "1", "filter[search]": "project"}).json

    path = page["next_page_url"].removeprefix(scene.simulator.url)

    assert page["next_page_url"].startswith(page["path"])
    assert [item["name"] for item in scene.team("GET", path).json["data"]] == ["Project 2"]


def test_ids_may_be_percent_encoded(scene: Scene) -> None:
    """A path is decoded part by part: an encoded id is the same id, an encoded slash no separator."""
    encoded = scene.id.replace("-", "%2D")

    assert scene.team("GET", f"/projects/{encoded}").json["id"] == scene.id
    assert scene.team("POST", f"/projects/{scene.id}%2Frotate-token").status == 405
    assert scene.simulator.is_alive(scene.token)


def test_search_and_teams_bound_a_list(scene: Scene) -> None:
    """`filter[search]` ignores case; another team's projects are not listed."""
    scene.simulator.add_project("Foreign project", team=scene.simulator.add_team("Other"))

    assert walk(scene, "/projects", **{"filter[search]": "T 2"}) == [["Project 2"]]
    assert walk(scene, "/projects") == [["Project 1", "Project 2"]]


@pytest.mark.parametrize(("length", "status"), [(255, 201), (256, 422), (0, 422)])
def test_length_of_a_project_name(scene: Scene, length: int, status: int) -> None:
    """A name has 1 to 255 characters."""
    assert status == scene.team("POST", "/projects", {"name": "x" * length}).status


@pytest.mark.parametrize(
    "fields",
    [
        {"name": 7},
        {"smtp_enabled": "yes"},
        {"initial_routes": "inbound"},
        {"short_token": 1},
        {"delivery_mode": "paused"},
        {"redact_email_content": "no"},
    ],
)
def test_a_project_with_a_wrong_field_is_not_made(scene: Scene, fields: dict) -> None:
    """A field of the wrong type or choice is a 422 that names it."""
    reply = scene.team("POST", "/projects", {"name": "New", **fields})

    assert (422, list(fields)) == (reply.status, list(reply.json["errors"]))
    assert len(scene.team("GET", "/projects").json["data"]) == 2


@pytest.mark.parametrize(
    ("initial", "slugs"),
    [
        ("both", ["transactional", "broadcast"]),
        ("transactional", ["transactional"]),
        ("broadcast", ["broadcast"]),
    ],
)
def test_initial_routes(scene: Scene, initial: str, slugs: list[str]) -> None:
    """A project starts with the routes asked for; the first is the default one."""
    data = scene.team("POST", "/projects", {"name": "New", "initial_routes": initial}).json["data"]

    routes = scene.team("GET", f"/projects/{data['id']}/routes").json["data"]

    assert slugs == [route["slug"] for route in routes]
    assert routes[0]["id"] == data["default_route_id"]
    assert [True, False][: len(slugs)] == [route["is_default"] for route in routes]


def test_an_update_changes_what_it_names(scene: Scene) -> None:
    """Fields that are absent or null stay as they were; the token is not touched."""
    before = scene.project()

    scene.team(
        "PUT", f"/projects/{scene.id}", {"smtp_enabled": True, "name": None, "redact_email_content": True}
    )

    assert {**before, "smtp_enabled": True, "redact_email_content": True} == scene.project()
    assert scene.simulator.is_alive(scene.token)


def test_the_default_route_is_one_of_the_project(scene: Scene) -> None:
    """Another project's route cannot become the default; an own one can, and then the first may go."""
    (_, _), (second, _) = scene.furnished.projects
    own = scene.team("GET", f"/projects/{scene.id}/routes").json["data"]
    foreign = scene.team("GET", f"/projects/{second}/routes").json["data"][0]["id"]

    assert scene.team("PUT", f"/projects/{scene.id}", {"default_route_id": foreign}).status == 422
    assert scene.team("DELETE", f"/routes/{own[0]['id']}").status == 422
    scene.team("PUT", f"/projects/{scene.id}", {"default_route_id": own[1]["id"]})
    assert scene.team("DELETE", f"/routes/{own[0]['id']}").status == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 201),
        ({"slug": "transactional"}, 422),
        ({"route_type": None}, 422),
        ({"route_type": "pigeon"}, 422),
        ({"settings": []}, 422),
        ({"settings": {"tls": "enforced"}}, 201),
        ({"name": "x" * 256}, 422),
    ],
)
def test_making_a_route(scene: Scene, fields: dict, status: int) -> None:
    """Type and name are required and a slug is taken once per project."""
    body = {"name": "Extra", "route_type": "inbound", **fields}

    assert status == scene.team("POST", f"/projects/{scene.id}/routes", body).status


def test_filters_of_routes(scene: Scene) -> None:
    """Type, default and search narrow the list."""

    def slugs(**query: str) -> list[str]:
        routes = scene.team("GET", f"/projects/{scene.id}/routes", query=query).json["data"]
        return [route["slug"] for route in routes]

    assert slugs(**{"filter[route_type]": "broadcast"}) == ["broadcast"]
    assert slugs(**{"filter[is_default]": "1"}) == ["transactional"]
    assert slugs(**{"filter[is_default]": "0"}) == ["broadcast"]
    assert slugs(**{"filter[search]": "BROAD"}) == ["broadcast"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/routes/{route}"),
        ("PUT", "/routes/{route}"),
        ("DELETE", "/routes/{route}"),
        ("GET", "/projects/{id}/routes"),
        ("GET", "/domains/{domain}"),
        ("PUT", "/domains/{domain}/projects"),
    ],
)
def test_what_belongs_to_another_team_is_not_there(scene: Scene, method: str, path: str) -> None:
    """Routes and domains of another team are a 404, and so are unknown ids."""
    route = scene.team("GET", f"/projects/{scene.id}/routes").json["data"][0]["id"]
    domain = scene.team("GET", "/domains").json["data"][0]["id"]
    stranger = scene.other_team()

    assert stranger(method, path.format(route=route, id=scene.id, domain=domain), {}).status == 404
    assert (
        scene.team(method, path.format(route=UNKNOWN_ID, id=UNKNOWN_ID, domain=UNKNOWN_ID), {}).status == 404
    )


def test_attaching_replaces_the_whole_list(scene: Scene) -> None:
    """A project that is left out loses the domain, and with it the right to send from it."""
    (_, token), (second, other) = scene.furnished.projects
    domain = scene.team("GET", "/domains").json["data"][0]["id"]

    reply = scene.team("PUT", f"/domains/{domain}/projects", {"project_ids": [second, second]})

    assert [second] == [project["id"] for project in reply.json["data"]["projects"]]
    assert (scene.send(token).status, scene.send(other).status) == (422, 202)


@pytest.mark.parametrize("wanted", [None, [], "one", [UNKNOWN_ID], [7], ["{foreign}"]])
def test_a_wrong_list_of_projects_changes_nothing(scene: Scene, wanted: object) -> None:
    """An empty list, unknown ids and another team's projects are refused."""
    foreign, _ = scene.simulator.add_project(team=scene.simulator.add_team("Other"))
    domain = scene.team("GET", "/domains").json["data"][0]["id"]
    body = {"project_ids": [foreign] if wanted == ["{foreign}"] else wanted}

    assert scene.team("PUT", f"/domains/{domain}/projects", body).status == 422
    assert scene.send().status == 202


def test_filters_of_domains(scene: Scene) -> None:
    """Project, part of the name and status narrow the list; a single domain tells no status."""
    (first, _), (second, _) = scene.furnished.projects
    scene.simulator.add_domain("pending.example", status="pending_verification", projects=[second])

    def names(**query: str) -> list[str]:
        return [one["domain"] for one in scene.team("GET", "/domains", query=query).json["data"]]

    assert names() == ["example.com", "pending.example"]
    assert names(**{"filter[project]": first}) == ["example.com"]
    assert names(**{"filter[status]": "pending_verification"}) == ["pending.example"]
    assert names(**{"filter[domain]": "PEND"}) == ["pending.example"]
    with pytest.raises(ValueError, match="status"):
        scene.simulator.add_domain("x.example", status="unknown")


def test_a_deleted_project_leaves_its_domains(scene: Scene) -> None:
    """Deleting a project detaches it, and its routes are gone."""
    route = scene.project()["default_route_id"]
    domain = scene.team("GET", "/domains").json["data"][0]["id"]

    scene.team("DELETE", f"/projects/{scene.id}")

    attached = scene.team("GET", f"/domains/{domain}", query={"include": "projects"}).json["projects"]
    assert [project["name"] for project in attached] == ["Project 2"]
    assert [
        scene.team("GET", path).status for path in (f"/routes/{route}", f"/projects/{scene.id}/routes")
    ] == [404, 404]
