"""What tells of the API itself, to everybody."""

import re

from services.gateway.routes import OPERATIONS
from tests.integration.services.gateway.gateway import Gateway, assert_problem


async def test_the_root_says_who_answers_and_where_to_read_on(gateway: Gateway) -> None:
    client = gateway.anonymous()
    told = (await client.get("/")).json()
    assert (told["name"], bool(told["version"])) == ("Argosy", True)
    assert told["links"].keys() == {"docs", "openapi", "ready"}
    statuses = {name: (await client.get(link)).status_code for name, link in told["links"].items()}
    assert statuses.pop("ready") in (200, 503)
    assert statuses == {"docs": 200, "openapi": 200}


async def test_every_problem_says_which_request_it_answers_and_where_it_is_explained(gateway: Gateway) -> None:
    client = gateway.anonymous()
    answer = await client.get("/v1/jobs")
    problem = assert_problem(answer, 401, "unauthenticated")
    assert problem["request_id"] == answer.headers["x-request-id"]
    url, _, anchor = problem["doc_url"].partition("#")
    page = await client.get(url)
    assert page.status_code == 200
    assert f'id="{anchor}"' in page.text
    assert_problem(await client.get("/nowhere"), 404, "not-found")


async def test_the_description_and_the_page_are_served(gateway: Gateway) -> None:
    client = gateway.anonymous()
    described = (await client.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    known = {(operation.method.lower(), operation.path) for operation in OPERATIONS}
    assert {(method, path) for path, methods in described["paths"].items() for method in methods} == known
    page = (await client.get("/docs")).text
    assert all(operation.path in page for operation in OPERATIONS)
    assert not re.search("<script", page)
