"""Who each service is on the bus and in the database, and what it may do there: its own work, and nothing else.

`python -m deploy.permissions nats` prints accounts for the configuration of a NATS server of yours, which takes
passwords from its environment; `… postgres` the logins for psql, which takes them from its variables.
"""

import json
import sys
from collections.abc import Callable, Sequence

from libs.common.bus import CONSUMER, inbox_of, stream_of, tickets_subject
from libs.common.contracts.events import cancel_subject, events_subject
from libs.common.contracts.services import GATEWAY, SERVICES, ServiceRow, queues_of
from libs.common.rpc import subject_pattern
from services.gateway.identity import authentication
from services.gateway.limits import outages

OF_GATEWAYS = (authentication.SUBJECT, outages.SUBJECT)
"""What gateways tell each other."""


def nats_accounts(
    password: Callable[[str], str], *, operator: str | None = None, services: Sequence[ServiceRow] = SERVICES
) -> str:
    """The `accounts` of a NATS server: the fleet's, with the conveyors, and one for each worker.

    What is said in one is not heard in another, but for what is exported and imported here. Permissions of users
    are not enough: whoever may take tickets can have them delivered to any subject of its account.
    `password`: as it is written there, by user. `operator`: that of a user `argosy`, who may do everything.
    """
    queues, gateway = queues_of(services), GATEWAY.name
    users = [{"user": gateway, "password": gateway, "permissions": _of_the_gateway(queues)}]
    users += [{"user": "argosy", "password": "argosy"}] if operator else []
    fleet = {
        "jetstream": "enabled",
        "users": users,
        "exports": [export | {"accounts": [queue]} for queue in queues for export in _for_a_worker(queue)],
        "imports": [{"service": {"account": queue, "subject": subject_pattern(queue)}} for queue in queues],
    }
    text = json.dumps({"fleet": fleet} | {queue: _of_a_worker(queue) for queue in queues}, indent=1)
    for user in (service.name for service in services):
        text = text.replace(f'"password": "{user}"', f'"password": {password(user)}')
    return "accounts: " + text.replace('"password": "argosy"', f'"password": {operator}') + "\n"


def _for_a_worker(queue: str) -> list[dict[str, str]]:
    """What the fleet's account exports to a worker's: to take tickets, publish them, tell, hear of cancels."""
    return [
        {"service": f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(queue)}.{CONSUMER}", "response": "stream"},
        {"service": tickets_subject(queue)},
        {"service": events_subject(queue)},
        {"stream": cancel_subject(queue)},
    ]


def _of_a_worker(queue: str) -> dict[str, object]:
    imports = [
        {kind: {"account": "fleet", "subject": subject}}
        for export in _for_a_worker(queue)
        for kind, subject in export.items()
        if kind != "response"
    ]
    return {
        "users": [{"user": queue, "password": queue}],
        "exports": [{"service": subject_pattern(queue), "accounts": ["fleet"]}],
        "imports": imports,
    }


def _of_the_gateway(queues: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    inbox = f"{inbox_of(GATEWAY.name)}.>"
    says, hears = [*OF_GATEWAYS, inbox], [*OF_GATEWAYS, inbox, events_subject("*")]
    for queue in queues:
        says += [tickets_subject(queue), cancel_subject(queue), subject_pattern(queue)]
        says += [f"$JS.API.STREAM.{what}.{stream_of(queue)}" for what in ("CREATE", "INFO")]
        says.append(f"$JS.API.CONSUMER.DURABLE.CREATE.{stream_of(queue)}.{CONSUMER}")
    return {"publish": {"allow": says}, "subscribe": {"allow": hears}}


def postgres_logins(password: Callable[[str], str], services: Sequence[ServiceRow] = SERVICES) -> dict[str, str]:
    """The statement that makes each service's login. `password`: as it is written there, by service."""
    return {
        login_of(service.name): f"CREATE ROLE {login_of(service.name)} LOGIN NOINHERIT PASSWORD"
        f" {password(service.name)} IN ROLE {', '.join(service.role.names)}"
        for service in services
    }


def login_of(service: str) -> str:
    """Nobody by itself: a member of the roles that the service works as."""
    return f"argosy_{service}_login"


def main() -> None:
    """Print what is asked for."""
    if sys.argv[1:] == ["nats"]:
        print(nats_accounts(lambda service: f"$NATS_{service.upper()}_PASSWORD"), end="")
    elif sys.argv[1:] == ["postgres"]:
        print(
            *(f"{made};" for made in postgres_logins(lambda service: f":'{service}_password'").values()), sep="\n"
        )
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
