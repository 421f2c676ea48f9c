"""The users and permissions of each service in NATS, PostgreSQL and Redis. A service may do only its own work.

`python -m deploy.permissions nats` prints the accounts for the configuration of your own NATS server, which reads
the passwords from its environment. `python -m deploy.permissions postgres` prints the logins as SQL for psql,
which reads the passwords from its variables. `python -m deploy.permissions redis` prints the users as an ACL file,
with the hashes of the passwords that it reads from its environment: REDIS_GATEWAY_PASSWORD and so on.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence

from libs.common.bus import CONSUMER, inbox_of, stream_of, tickets_subject
from libs.common.contracts.events import cancel_subject, events_subject
from libs.common.contracts.services import GATEWAY, SERVICES, RedisRights, ServiceRow, login_of, queues_of
from libs.common.rpc import subject_pattern
from services.gateway.identity import authentication
from services.gateway.limits import outages

GATEWAY_SUBJECTS = (authentication.SUBJECT, outages.SUBJECT)
"""The subjects on which gateways talk to each other."""

REDIS_COMMANDS = ("evalsha", "script|load", "info", "time", "select", "client|setname")
"""What every service does in Redis besides: it runs scripts, asks for its run id and its clock, and connects."""


def nats_accounts(
    password: Callable[[str], str], *, operator: str | None = None, services: Sequence[ServiceRow] = SERVICES
) -> str:
    """The `accounts` of a NATS server: one for the fleet, with the streams of tickets, and one for each worker.

    Messages of one account are visible in another only if they are exported and imported here. User permissions in
    one account are not enough: a user that may take tickets can have them delivered to any subject of its account.
    `password` returns the password of a user as it is written in the configuration. `operator` is the password of
    an additional user `argosy`, who may do everything in the account of the fleet.
    """
    queues, gateway = queues_of(services), GATEWAY.name
    users = [{"user": gateway, "password": gateway, "permissions": _gateway_permissions(queues)}]
    users += [{"user": "argosy", "password": "argosy"}] if operator else []
    fleet = {
        "jetstream": "enabled",
        "users": users,
        "exports": [export | {"accounts": [queue]} for queue in queues for export in _exports_for_worker(queue)],
        "imports": [{"service": {"account": queue, "subject": subject_pattern(queue)}} for queue in queues],
    }
    text = json.dumps({"fleet": fleet} | {queue: _worker_account(queue) for queue in queues}, indent=1)
    for user in (service.name for service in services):
        text = text.replace(f'"password": "{user}"', f'"password": {password(user)}')
    return "accounts: " + text.replace('"password": "argosy"', f'"password": {operator}') + "\n"


def _exports_for_worker(queue: str) -> list[dict[str, str]]:
    """What the fleet exports to a worker's account: take and publish tickets, publish events, receive cancels."""
    return [
        {"service": f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(queue)}.{CONSUMER}", "response": "stream"},
        {"service": tickets_subject(queue)},
        {"service": events_subject(queue)},
        {"stream": cancel_subject(queue)},
    ]


def _worker_account(queue: str) -> dict[str, object]:
    imports = [
        {kind: {"account": "fleet", "subject": subject}}
        for export in _exports_for_worker(queue)
        for kind, subject in export.items()
        if kind != "response"
    ]
    return {
        "users": [{"user": queue, "password": queue}],
        "exports": [{"service": subject_pattern(queue), "accounts": ["fleet"]}],
        "imports": imports,
    }


def _gateway_permissions(queues: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    inbox = f"{inbox_of(GATEWAY.name)}.>"
    publish, subscribe = [*GATEWAY_SUBJECTS, inbox], [*GATEWAY_SUBJECTS, inbox, events_subject("*")]
    for queue in queues:
        publish += [tickets_subject(queue), cancel_subject(queue), subject_pattern(queue)]
        publish += [f"$JS.API.STREAM.{what}.{stream_of(queue)}" for what in ("CREATE", "INFO")]
        publish.append(f"$JS.API.CONSUMER.DURABLE.CREATE.{stream_of(queue)}.{CONSUMER}")
    return {"publish": {"allow": publish}, "subscribe": {"allow": subscribe}}


def postgres_logins(password: Callable[[str], str], services: Sequence[ServiceRow] = SERVICES) -> dict[str, str]:
    """The SQL statement that creates the login of each service. `password` returns the password as SQL text."""
    return {
        login_of(service.name): f"CREATE ROLE {login_of(service.name)} LOGIN NOINHERIT PASSWORD"
        f" {password(service.name)} IN ROLE {', '.join(service.role.names)}"
        for service in services
    }


def redis_users(password: Callable[[str], str], services: Sequence[ServiceRow] = SERVICES) -> list[str]:
    """The lines of an ACL file, or of redis.conf, with the user of each service that needs Redis.

    `password` returns the password of a user as an ACL rule: `>password`, or `#` and its SHA-256 in hex. A script
    runs with the rights of its user: it reaches no key and no command that the user may not use otherwise.
    """
    return [
        f"user {service.name} reset on {password(service.name)} resetchannels {_redis_rules(service.redis)}"
        for service in services
        if service.redis is not None
    ]


def _redis_rules(rights: RedisRights) -> str:
    keys = (f"~{prefix}*" for prefix in rights.prefixes)
    commands = (f"+{command}" for command in (*REDIS_COMMANDS, *rights.commands))
    return " ".join([*keys, "-@all", *commands])


def _redis_password_hashes() -> dict[str, str]:
    """The ACL rule of each user's password. Ends the process if a password is not in the environment."""
    variables = {row.name: f"REDIS_{row.name.upper()}_PASSWORD" for row in SERVICES if row.redis is not None}
    if missing := [variable for variable in variables.values() if not os.environ.get(variable)]:
        sys.exit(f"Set these variables to the passwords of the users: {', '.join(missing)}")
    return {
        name: "#" + hashlib.sha256(os.environ[variable].encode()).hexdigest()
        for name, variable in variables.items()
    }


def main() -> None:
    """Print the NATS accounts, the PostgreSQL logins or the Redis users."""
    if sys.argv[1:] == ["nats"]:
        print(nats_accounts(lambda service: f"$NATS_{service.upper()}_PASSWORD"), end="")
    elif sys.argv[1:] == ["postgres"]:
        print(
            *(f"{statement};" for statement in postgres_logins(lambda service: f":'{service}_password'").values()),
            sep="\n",
        )
    elif sys.argv[1:] == ["redis"]:
        print(*redis_users(_redis_password_hashes().__getitem__), sep="\n")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
