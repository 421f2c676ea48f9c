"""Who each service is on the bus and in the database, and what it may do there: its own work, and nothing else.

`python -m deploy.permissions nats` prints the users for the configuration of a NATS server of yours, which takes
their passwords from its environment; `… postgres` the logins for psql, which takes them from its variables.
"""

import json
import sys
from collections.abc import Callable

from libs.common.bus import CONSUMER, inbox_of, stream_of, tickets_subject
from libs.common.contracts import QUEUES
from libs.common.contracts.events import cancel_subject, events_subject
from libs.common.db import Role
from libs.common.queries import subjects
from services.gateway import auth
from services.gateway.limits import outages

GATEWAY = "gateway"
SERVICES = (GATEWAY, *QUEUES)
ROLES = {
    GATEWAY: (Role.GATEWAY, Role.GATEWAY.of_a_tenant),
    "ocr": (Role.OCR,),
    "mailer": (Role.MAILER, Role.MAILER.of_a_tenant),
}
OF_GATEWAYS = (auth.SUBJECT, outages.SUBJECT)
"""What gateways tell each other."""


def nats_users(password: Callable[[str], str], *, operator: str | None = None) -> str:
    """The `authorization` of a NATS server. `password`: as it is written there, by user.

    `operator`: the password of a user `argosy` who may do everything, if there is to be one.
    """
    users = [f"{{ user: argosy, password: {operator} }}"] if operator else []
    for name in SERVICES:
        says, hears = _of_the_gateway() if name == GATEWAY else _of_a_worker(name)
        inbox = f"{inbox_of(name)}.>"
        allowed: dict[str, object] = {
            "publish": {"allow": [*says, inbox]},
            "subscribe": {"allow": [*hears, inbox]},
        }
        if name != GATEWAY:
            allowed["allow_responses"] = {"max": 1, "expires": "15s"}
        users.append(f"{{ user: {name}, password: {password(name)}, permissions: {json.dumps(allowed)} }}")
    together = ",\n  ".join(users)
    return f"authorization {{ users: [\n  {together}\n] }}\n"


def postgres_logins(password: Callable[[str], str]) -> dict[str, str]:
    """The statement that makes each service's login. `password`: as it is written there, by service."""
    return {
        login_of(service): f"CREATE ROLE {login_of(service)} LOGIN NOINHERIT PASSWORD {password(service)}"
        f" IN ROLE {', '.join(roles)}"
        for service, roles in ROLES.items()
    }


def login_of(service: str) -> str:
    """Nobody by itself: a member of the roles that the service works as."""
    return f"argosy_{service}_login"


def _of_the_gateway() -> tuple[list[str], list[str]]:
    says, hears = [*OF_GATEWAYS], [*OF_GATEWAYS, events_subject("*")]
    for queue in QUEUES:
        says += [tickets_subject(queue), cancel_subject(queue), subjects(queue)]
        says += [f"$JS.API.STREAM.{what}.{stream_of(queue)}" for what in ("CREATE", "INFO")]
        says.append(f"$JS.API.CONSUMER.DURABLE.CREATE.{stream_of(queue)}.{CONSUMER}")
    return says, hears


def _of_a_worker(queue: str) -> tuple[list[str], list[str]]:
    says = [tickets_subject(queue), events_subject(queue)]
    says.append(f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(queue)}.{CONSUMER}")
    return says, [cancel_subject(queue), subjects(queue)]


def main() -> None:
    """Print what is asked for."""
    if sys.argv[1:] == ["nats"]:
        print(nats_users(lambda service: f"$NATS_{service.upper()}_PASSWORD"), end="")
    elif sys.argv[1:] == ["postgres"]:
        print(
            *(f"{made};" for made in postgres_logins(lambda service: f":'{service}_password'").values()), sep="\n"
        )
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
