"""The OpenAPI document is sound, and says what the application has: no operation more or less."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from starlette.routing import BaseRoute, Mount, Route

from hub.api.doors import Operation
from hub.app import Hub, create_app
from hub.pages import METHODS, operations, resolved
from hub.settings import Settings

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {f"{method.upper()} {path}": operation for method, path, operation in operations(DOCUMENT)}
BASES = {
    "/user/v1": "User API",
    "/v1/messaging": "Messaging API",
    "/admin/v1": "Admin API",
    "/console/api": "Console",
}
ALIASES = ("/api/user/v1", "/api/admin/v1")
NOT_HTTP_APIS = ("/static", "/ws/v1")


def routes_of(routes: list[BaseRoute], base: str = "") -> Iterator[tuple[str, Route]]:
    """Every route by its whole path; aliases and what is no HTTP API left out."""
    for route in routes:
        path = base + getattr(route, "path", "")
        if path in NOT_HTTP_APIS or path in ALIASES:
            continue
        if isinstance(route, Mount):
            yield from routes_of(route.routes, path)
        elif isinstance(route, Route):
            yield path, route


def nameless(name: str) -> str:
    """Without the names of a path's parameters, which nobody sends."""
    return re.sub(r"{[^}]+}", "{}", name)


APP = create_app(Hub(Settings(redis_url="redis://nowhere", console_key="k" * 32)))
ROUTES = {
    nameless(f"{method} {path}"): route
    for path, route in routes_of(APP.routes)
    for method in (route.methods or set()) - {"HEAD"}
}


def parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from parts(part)
    elif isinstance(value, list):
        for part in value:
            yield from parts(part)


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"components": {"schemas": SCHEMAS}} | schema)


# ---- routes and document ---------------------------------------------------------------------------------


def test_every_route_is_in_the_document() -> None:
    assert sorted(ROUTES.keys() - set(map(nameless, OPERATIONS))) == []


def test_every_operation_of_the_document_has_a_route() -> None:
    assert sorted(set(map(nameless, OPERATIONS)) - ROUTES.keys()) == []


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_serves_the_same_routes(alias: str) -> None:
    mounts = {route.path: route for route in APP.routes if isinstance(route, Mount)}
    assert mounts[alias].routes == mounts[alias.removeprefix("/api")].routes


@pytest.mark.parametrize("path", [path for path in DOCUMENT["paths"] if not path.endswith("}")])
def test_an_address_is_not_taken_for_another_one_with_an_id_in_its_place(path: str) -> None:
    at_all = [(name.partition(" ")[2], route.path_regex) for name, route in ROUTES.items()]
    below = next((base for base in BASES if path.startswith(base)), "")
    matching = [there for there, regex in at_all if there.startswith(below) and regex.match(path.removeprefix(below))]
    assert matching[0] == nameless(path)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_needs_the_permission_that_its_route_demands(name: str) -> None:
    assert OPERATIONS[name].get("x-permission") == getattr(ROUTES.get(nameless(name)), "permission", None)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if isinstance(ROUTES.get(nameless(name)), Operation)])
def test_an_operation_takes_an_idempotency_key_where_its_route_does(name: str) -> None:
    route = ROUTES[nameless(name)]
    assert isinstance(route, Operation)
    documented = [resolved(DOCUMENT, part)["name"] for part in OPERATIONS[name].get("parameters", ())]
    assert ("Idempotency-Key" in documented) == (route.once is not None)
    assert (route.once is not None) == name.startswith(("POST", "PATCH"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_parameters_of_a_path_are_described(name: str) -> None:
    path = name.partition(" ")[2]
    described = [*DOCUMENT["paths"][path].get("parameters", ()), *OPERATIONS[name].get("parameters", ())]
    named = {part["name"] for part in (resolved(DOCUMENT, part) for part in described) if part["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", path))


# ---- what every operation says ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_the_tag_and_the_credentials_of_its_api(name: str) -> None:
    path, operation = name.partition(" ")[2], OPERATIONS[name]
    api = next((api for base, api in BASES.items() if path.startswith(base)), "The hub")
    assert operation["tags"] == [api]
    key, user = {"ApiKeyAuth": []}, {"ApiKeyAuth": [], "UserKeyAuth": []}
    operator: dict[str, list[str]] = {"OperatorAuth": []}
    schemes: dict[str, list[dict[str, list[str]]]] = {
        "User API": [user, key | {"UserIdAuth": []}, key | operator],
        "Messaging API": [{"BearerAuth": []}, key | {"BearerAuth": []}, key | operator],
        "Admin API": [key | {"SecretKeyAuth": []}, key | operator],
        "Console": [operator],
        "The hub": [],
    }
    assert operation["security"] == schemes[api]


ANSWERS = {"400", "401", "403", "429", "500", "503"}
"""What every operation of an API may answer."""


@pytest.mark.parametrize("name", [name for name in OPERATIONS if isinstance(ROUTES.get(nameless(name)), Operation)])
def test_an_operation_says_every_error_that_it_may_answer(name: str) -> None:
    answers = OPERATIONS[name]["responses"]
    assert answers.keys() >= ANSWERS
    path = name.partition(" ")[2]
    if "{" in path:
        assert "404" in answers
    if name.startswith(("POST", "PATCH")):
        assert {"409", "422"} <= answers.keys()
    for status, answer in answers.items():
        found = resolved(DOCUMENT, answer)
        if int(status) >= 400:
            envelope = found["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert envelope.startswith("Messaging") == path.startswith("/v1/messaging")
            error = SCHEMAS[envelope]["allOf"][1]["properties"]["error"]["properties"]
            assert error.get("status", {"const": int(status)}) == {"const": int(status)}
        assert {"x-request-id", "RateLimit", "RateLimit-Policy"} <= found["headers"].keys()


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"].lower() for operation in OPERATIONS.values()]
    assert len(set(names) | {schema.lower() for schema in SCHEMAS}) == len(names) + len(SCHEMAS), "anchors of the page"


# ---- the document in itself ------------------------------------------------------------------------------


def test_a_path_has_methods_and_parameters_only() -> None:
    for item in DOCUMENT["paths"].values():
        assert item.keys() <= {*METHODS, "parameters"}


def test_every_reference_leads_to_something() -> None:
    references = [part["$ref"] for part in parts(DOCUMENT) if "$ref" in part]
    assert len(references) > 200
    for reference in references:
        assert resolved(DOCUMENT, {"$ref": reference})


def test_every_component_is_used() -> None:
    used = {part["$ref"] for part in parts(DOCUMENT) if "$ref" in part}
    for room, named in DOCUMENT["components"].items():
        if room != "securitySchemes":
            assert {f"#/components/{room}/{name}" for name in named} - used == set()


def test_every_link_leads_to_an_operation() -> None:
    known = {operation["operationId"]: name for name, operation in OPERATIONS.items()}
    links = [link for part in parts(DOCUMENT) if isinstance(part.get("links"), dict) for link in part["links"].values()]
    assert links
    for link in links:
        name = known[link["operationId"]]
        shared = DOCUMENT["paths"][name.partition(" ")[2]].get("parameters", [])
        taken = [resolved(DOCUMENT, part) for part in [*shared, *OPERATIONS[name].get("parameters", ())]]
        names = {part["name"] for part in taken} | {f"{part['in']}.{part['name']}" for part in taken}
        assert link["parameters"].keys() <= names


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_json_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_required_field_is_described(name: str) -> None:
    for part in parts(SCHEMAS[name]):
        if part.get("type") == "object" and "properties" in part:
            assert set(part.get("required", ())) <= part["properties"].keys()


EXAMPLES = [
    pytest.param(part["schema"], example["value"], id=json.dumps(example["value"])[:60])
    for part in parts(DOCUMENT)
    if "schema" in part
    for example in part.get("examples", {}).values()
]


def test_every_body_that_is_required_has_an_example() -> None:
    for operation in OPERATIONS.values():
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["examples"], operation["operationId"]


@pytest.mark.parametrize(("schema", "value"), EXAMPLES)
def test_an_example_is_what_its_schema_says(schema: dict[str, Any], value: object) -> None:
    validator(schema).validate(value)


@pytest.mark.parametrize("name", [name for name, schema in SCHEMAS.items() if "examples" in schema])
def test_an_example_of_a_schema_is_what_it_says(name: str) -> None:
    for value in SCHEMAS[name]["examples"]:
        validator(SCHEMAS[name]).validate(value)
