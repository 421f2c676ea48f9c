"""S26 in Redis: each service's user can do its own work there and nothing else, not in scripts either."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from deploy.local import servers
from deploy.local.servers import Server, write_secret
from deploy.local.test_servers import free_port, running
from deploy.permissions import REDIS_COMMANDS
from libs.common.bus import Bus
from libs.common.contracts.services import SERVICES, RedisRights
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.outages import Mode
from services.gateway.limits.policies import Charge, Charges, Per, Policy
from services.mailer.smtp.pacing import Pacer, Rate, Rates
from tests.integration.services.gateway.limits.charging import PATIENT_S
from tests.polling import until
from tests.server_process import ServerProcess

RIGHTS = {service.name: service.redis for service in SERVICES if service.redis is not None}
NOBODYS = ("argosy:", "argosy:limit", "argosy:other:", "celery:")
"""Beginnings of keys that no service of ours has."""
AFTER_THE_KEY: dict[str, tuple[str | int, ...]] = {
    "set": ("1",),
    "hget": ("f",),
    "hset": ("f", "1"),
    "hdel": ("f",),
    "hincrby": ("f", 1),
    "expire": (60,),
    "pexpire": (60_000,),
    "zadd": (1, "m"),
    "zrange": (0, -1),
    "zrem": ("m",),
    "zremrangebyscore": ("-inf", 0),
    # and what others might use to read, write, delete or move
    "getset": ("1",),
    "append": ("1",),
    "rename": ("argosy:taken",),
    "restore": (0, "x"),
}
FOR_EVERYBODY = {"auth", "hello", "quit", "reset", "host:", "post"}
"""What no rule of an ACL can forbid; `host:` and `post` end the connection."""
FORBIDDEN = """
acl list|acl setuser mailer on +@all|acl whoami|bgrewriteaof|bgsave|client kill type normal|client list
client no-evict on|client pause 1|client unblock 1|cluster nodes|command|config get dir|config set dir /tmp
config rewrite|config resetstat|debug sleep 0|eval return(1) 0|flushall|flushdb|keys *|latency reset|memory stats
migrate 127.0.0.1 1 k 0 1|module list|monitor|move argosy:x 1|object help|ping|psync x 1|publish a b
pubsub channels|randomkey|replicaof no one|role|save|scan 0|script exists x|script flush|script kill
shutdown nosave|slaveof no one|slowlog get|subscribe a|swapdb 0 1|sync|multi
""".strip()
REFUSALS = ("NOPERM", "executing the script can't", "ACL failure", "not allowed from script", "nknown subcommand")
"""What is in the errors of commands that are refused in a transaction or a script, or that there are not."""
DECLARED = "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))"
UNDECLARED = "return redis.call(unpack(ARGV))"


@asynccontextmanager
async def logged_in(server: Server, user: str) -> AsyncIterator[Redis]:
    """As a service has it; the user `default` may do everything."""
    url = server.url if user == "default" else server.urls[user]
    async with Redis.from_url(url, protocol=2, driver_info=None) as client:
        yield client


async def may(client: Redis, *words: str | int) -> bool:
    """Whether Redis carries a command out, or would if its key or arguments were others."""
    try:
        await client.execute_command(*words)  # type: ignore[no-untyped-call]
    except NoPermissionError:
        return False
    except ResponseError as error:
        return not any(word in str(error) for word in REFUSALS)
    return True


async def ways(client: Redis, command: str, key: str) -> set[str]:
    """By which ways a command may be used with a key: by itself, and in scripts that name their keys or do not."""
    declared, undeclared = [await client.script_load(text) for text in (DECLARED, UNDECLARED)]
    after = AFTER_THE_KEY.get(command, ())
    tried = {
        "by itself": (command, key, *after),
        "with keys": ("evalsha", declared, 1, key, command, *after),
        "without keys": ("evalsha", undeclared, 0, command, key, *after),
    }
    return {way for way, words in tried.items() if await may(client, *words)}


def own(rights: RedisRights, prefix: str) -> bool:
    return prefix in rights.prefixes


@pytest.mark.parametrize("user", RIGHTS)
async def test_s26_a_user_of_redis_reaches_its_own_keys_only(redis_server: ServerProcess, user: str) -> None:
    """Every command of anybody, and others that read, write, delete or move, with the keys of everybody."""
    prefixes = [*(prefix for rights in RIGHTS.values() for prefix in rights.prefixes), *NOBODYS]
    commands = {command for rights in RIGHTS.values() for command in rights.commands}
    commands |= {"del", "unlink", "exists", "type", "ttl", "persist", "dump", "getdel", *AFTER_THE_KEY}
    rights = RIGHTS[user]
    async with (
        logged_in(redis_server.server, "default") as operator,
        logged_in(redis_server.server, user) as client,
    ):
        others = {f"{prefix}kept": prefix.encode() for prefix in prefixes if not own(rights, prefix)}
        await operator.mset(others)
        for prefix, command in product(prefixes, sorted(commands)):
            allowed = own(rights, prefix) and command in rights.commands
            expected = {"by itself", "with keys", "without keys"} if allowed else set[str]()
            assert await ways(client, command, f"{prefix}kept") == expected, (command, prefix)
        assert await operator.mget(list(others)) == list(others.values())


@pytest.mark.parametrize("user", RIGHTS)
async def test_s26_a_user_of_redis_may_use_its_own_commands_only(redis_server: ServerProcess, user: str) -> None:
    """All that the server knows, with as many arguments as it wants, and what operators use, also in scripts."""
    rights = RIGHTS[user]
    async with (
        logged_in(redis_server.server, "default") as operator,
        logged_in(redis_server.server, user) as client,
    ):
        known = await operator.execute_command("COMMAND")  # type: ignore[no-untyped-call]
        everything = {
            name.decode() if isinstance(name, bytes) else name: abs(facts["arity"])
            for name, facts in known.items()
        }
        containers = {command.partition("|")[0] for command in REDIS_COMMANDS if "|" in command}
        others = everything.keys() - {*rights.commands, *REDIS_COMMANDS} - FOR_EVERYBODY
        assert len(others) > 100
        assert containers <= others
        tries = [[name, *[f"{rights.prefixes[0]}x"] * (everything[name] - 1)] for name in sorted(others)]
        tries += [words.split() for words in re.split(r"[|\n]", FORBIDDEN)]
        script = await client.script_load(UNDECLARED)
        for words in tries:
            assert not await may(client, *words), words
            assert not await may(client, "evalsha", script, 0, *words), words
        for command in (*rights.commands, "info", "time"):
            words = [command, *[f"{rights.prefixes[0]}x"] * (everything[command] - 1)]
            assert await may(client, *words), words


@pytest.mark.parametrize(
    "change",
    [
        "string.match = function() return 'x' end",
        "redis.call = nil",
        "rawset(_G, 'tonumber', nil)",
        "tonumber = nil",
        "KEYS = nil",
        "setmetatable(string, {})",
        "getmetatable(_G).__index = nil",
    ],
)
async def test_s26_a_script_changes_nothing_for_the_scripts_of_others(
    redis_server: ServerProcess, change: str
) -> None:
    async with (
        logged_in(redis_server.server, "mailer") as mailer,
        logged_in(redis_server.server, "gateway") as gateway,
    ):
        hostile = await mailer.script_load(f"{change} return 1")
        with pytest.raises(ResponseError, match="readonly table"):
            await mailer.evalsha(hostile, 0)
        own_script = await gateway.script_load(
            "return {string.match('abc', 'b'), tonumber('5'), redis.call('time')[1]}"
        )
        found, number, _ = await gateway.evalsha(own_script, 0)
        assert (found, number) == (b"b", 5)


async def test_s26_another_users_password_opens_nothing(redis_server: ServerProcess) -> None:
    urls = {"default": redis_server.server.url, **redis_server.server.urls}
    passwords = {user: urlsplit(url).password for user, url in urls.items()}
    assert len({*passwords.values()}) == len(urls) >= 3
    for user, other in product(urls, urls):
        login = f"redis://{user}:{passwords[other]}@{redis_server.server.url.partition('@')[2]}"
        async with Redis.from_url(login) as client:
            if user == other:
                assert await client.info("server")
            else:
                with pytest.raises(AuthenticationError):
                    await client.info("server")


@pytest.mark.parametrize(
    "users", [dict.fromkeys(RIGHTS, "default"), {user: user for user in RIGHTS}], ids=["old", "own"]
)
async def test_each_service_does_its_work_and_nothing_of_it_is_refused(
    redis_server: ServerProcess, nats_bus: Bus, users: dict[str, str]
) -> None:
    """With a user of its own, and with the one password of all that was enough before there were users."""
    server = redis_server.server
    async with (
        logged_in(server, "default") as operator,
        logged_in(server, users["gateway"]) as gateway,
        logged_in(server, users["mailer"]) as mailer,
    ):
        await limits_are_decided(gateway, nats_bus)
        await mail_is_paced(mailer)
        assert await operator.execute_command("ACL", "LOG") == []  # type: ignore[no-untyped-call]


async def limits_are_decided(client: Redis, nats_bus: Bus) -> None:
    """Of both kinds, and a slot is given back."""
    limiter = Limiter(client, nats_bus, budget_s=PATIENT_S)
    policies = [Policy("few", Per.USER, 2, 60), Policy("many", Per.USER, 2_000, 60)]
    policies.append(Policy("slots", Per.USER, 2, 60, at_once=True))
    charges = Charges(Charge.of(policy, "ann") for policy in policies)
    async with limiter.running():

        async def shared() -> bool:
            return limiter.mode is Mode.SHARED

        await until(shared)
        decisions = [await limiter.take(charges) for _ in range(3)]
        assert [decision.admitted for decision in decisions] == [True, True, False]
        limiter.give_back(decisions[0])
        assert await limiter.reachable()
    assert limiter.eviction == "noeviction"


async def mail_is_paced(client: Redis) -> None:
    """Also by a mailer that has to tell a Redis which forgot."""
    pacer = Pacer(client, Rates(relay=Rate(1_000, 60)))

    async def sent() -> bool:
        permit = pacer.permit("relay", "dev", "example.com")
        taken = not await pacer.take(permit)
        pacer.done(permit)
        return taken

    async with pacer.holding():
        await until(sent)
        pacer._epoch = b"of another Redis"
        await until(sent)


def printed(*passwords: str) -> str:
    """What an operator is given for these passwords of the users."""
    variables = {f"REDIS_{user.upper()}_PASSWORD": word for user, word in zip(RIGHTS, passwords, strict=True)}
    command = [sys.executable, "-m", "deploy.permissions", "redis"]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True).stdout


async def test_what_is_printed_is_an_acl_file_and_with_another_word_commands(tmp_path: Path) -> None:
    made = servers.redis(tmp_path / "redis", free_port(), servers.new_password())
    users = tmp_path / "users.acl"
    write_secret(users, f"user default on >secret ~* &* +@all\n{printed('g0', 'm0')}")
    without = [line for line in made.configuration.splitlines() if not line.startswith(("user ", "requirepass "))]
    text = "\n".join([*without, f"aclfile {users}", ""])
    write_secret(Path(made.command[-1]), text)
    place = made.url.partition("@")[2]

    async def opens(user: str, password: str) -> bool:
        async with Redis.from_url(f"redis://{user}:{password}@{place}", driver_info=None) as client:
            try:
                return bool(await client.info("server"))
            except AuthenticationError:
                return False

    with running(replace(made, configuration=text), tmp_path):
        assert [await opens("gateway", "g0"), await opens("mailer", "m0"), await opens("mailer", "g0")] == [
            True,
            True,
            False,
        ]
        async with Redis.from_url(f"redis://default:secret@{place}") as operator:
            for line in printed("g1", "m1").replace("user ", "ACL SETUSER ").splitlines():
                await operator.execute_command(*line.split())  # type: ignore[no-untyped-call]
        assert [await opens("gateway", "g1"), await opens("gateway", "g0")] == [True, False]
