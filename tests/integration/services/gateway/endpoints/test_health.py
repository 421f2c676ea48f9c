"""/livez and /readyz on the public port."""

from tests.integration.services.gateway.gateway import Gateway


async def test_ready_says_what_is_there(gateway: Gateway) -> None:
    answer = await gateway.anonymous().get("/readyz")
    parts = {"postgres": True, "redis": True, "nats": True, "limits": "shared", "storage": True}
    assert answer.json() | {"nats": True} == {"ready": True, **parts}
    assert (await gateway.anonymous().get("/livez")).text == "ok\n"
    assert (await gateway.anonymous().get("/metrics")).status_code == 404
