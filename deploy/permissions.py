"""The users, accounts and permissions of each service in NATS and PostgreSQL. A service may do only its own work.

`python -m deploy.permissions nats` prints the accounts for the configuration of your own NATS server, which reads
the passwords from its environment. `python -m deploy.permissions postgres` prints the logins as SQL for psql,
which reads the passwords from its variables.
"""

import json
import sys
from collections.abc import Callable, Sequence

from libs.common.bus import CONSUMER, inbox_of, stream_of, tickets_subject
from libs.common.contracts.events import cancel_subject, events_subject
from libs.common.contracts.services import GATEWAY, SERVICES, ServiceRow, login_of, queues_of
from libs.common.rpc import subject_pattern
from services.gateway.identity import authentication
from services.gateway.limits import outages

GATEWAY_SUBJECTS = (authentication.SUBJECT, outages.SUBJECT)
"""The subjects on which gateways talk to each other."""


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


def main() -> None:
    """Print the NATS accounts or the PostgreSQL logins."""
    if sys.argv[1:] == ["nats"]:
        print(nats_accounts(lambda service: f"$NATS_{service.upper()}_PASSWORD"), end="")
    elif sys.argv[1:] == ["postgres"]:
        print(
            *(f"{statement};" for statement in postgres_logins(lambda service: f":'{service}_password'").values()),
            sep="\n",
        )
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
