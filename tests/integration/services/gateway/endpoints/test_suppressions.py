"""/v1/suppressions: who gets no mail."""

from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.mailing import Mailer


async def test_suppressions_are_added_found_and_removed(gateway: Gateway, mailer: Mailer) -> None:
    client = await gateway.client()
    body = {"addresses": ["Ada@example.test", "grace@example.test"], "expires_at": "2999-01-01T00:00:00Z"}
    assert (await client.post("/v1/suppressions", json=body)).json() == {"added": 2}
    assert (await client.post("/v1/suppressions", json=body)).json() == {"added": 0}
    found = (await client.get("/v1/suppressions?address=ada@EXAMPLE.test")).json()["suppressions"]
    assert [suppression["address"] for suppression in found] == ["ada@example.test"]
    first = (await client.get("/v1/suppressions?limit=1")).json()
    second = (await client.get(f"/v1/suppressions?limit=1&cursor={first['next_cursor']}")).json()
    assert first["suppressions"] != second["suppressions"]
    assert (await client.delete("/v1/suppressions/ada@example.test")).status_code == 204
    assert_problem(await client.delete("/v1/suppressions/ada@example.test"), 404, "not-found")


async def test_an_address_with_a_slash_is_found(gateway: Gateway, mailer: Mailer) -> None:
    client = await gateway.client()
    for path in ("a/b@example.test", "a%2Fb@example.test"):
        await client.post("/v1/suppressions", json={"addresses": ["a/b@example.test"]})
        assert (await client.delete(f"/v1/suppressions/{path}")).status_code == 204
