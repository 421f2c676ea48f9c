"""S26 on NATS, as a matrix: what each login says is heard by those whom it is meant for, and by nobody else."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.local import servers
from deploy.local.servers import Server, password_of
from deploy.local.test_servers import free_port, running
from libs.common import bus
from libs.common.bus import CONSUMER, inbox_of, stream_of
from libs.common.config import BusSettings
from libs.common.contracts.services import GATEWAY, QUEUES, SERVICES
from libs.common.ledger.jobs import new_id
from tests.polling import until

PASSWORD = "of the server"  # noqa: S105
OPERATOR = "argosy"
LOGINS = tuple(service.name for service in SERVICES)
OF_GATEWAYS = ("identity.changed", "limits.admitted")
INBOXES = {login: f"{inbox_of(login)}.x" for login in LOGINS}
SUBJECTS = (
    *OF_GATEWAYS,
    *INBOXES.values(),
    *(f"{what}.{queue}" for what in ("tickets", "events", "cancel", "query") for queue in QUEUES),
    *(f"query.{queue}.recipients" for queue in QUEUES),
    *("tickets", "tickets.nobody", "events.nobody", "query.nobody.recipients", "of.nobody"),
)
WILDCARDS = (">", "*", "*.*", "*.>", "tickets.*", "cancel.*", "query.>", "events.>", "$JS.>", "$SYS.>", "_INBOX.>")
API_OF_STREAMS = tuple(
    f"$JS.API.STREAM.{what}.{stream_of(queue)}"
    for what in ("CREATE", "INFO", "UPDATE", "PURGE", "DELETE", "MSG.GET", "MSG.DELETE", "SNAPSHOT", "RESTORE")
    for queue in QUEUES
)
API_OF_CONSUMERS = tuple(
    f"$JS.API.CONSUMER.{what}.{stream_of(queue)}.{CONSUMER}"
    for what in ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT", "PAUSE")
    for queue in QUEUES
)
API_OF_THE_SERVER = ("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST")
API = (*API_OF_STREAMS, *API_OF_CONSUMERS, *API_OF_THE_SERVER)
NOBODY_ANSWERS, NO_JETSTREAM = "503", b'"err_code":10039'
"""Of a subject that leads nowhere; and of an account that has no JetStream, as those of workers."""


def meant_for(speaker: str, listener: str) -> set[str]:
    """What `listener` is to hear of what `speaker` says to all SUBJECTS."""
    if speaker == GATEWAY.name:
        to_workers = {f"cancel.{listener}", f"query.{listener}.recipients"}
        to_gateways = {*OF_GATEWAYS, INBOXES[speaker]}
        to_the_server = {f"{what}.{queue}" for what in ("tickets", "cancel") for queue in QUEUES}
        to_the_server |= to_gateways | {f"query.{queue}.recipients" for queue in QUEUES}
        return {GATEWAY.name: to_gateways, OPERATOR: to_the_server}.get(listener, to_workers)
    of_workers = {OPERATOR: {f"tickets.{speaker}", f"events.{speaker}"}, GATEWAY.name: {f"events.{speaker}"}}
    return of_workers.get(listener, set())


def asked_by(login: str) -> set[str]:
    """What it may ask of JetStream."""
    if login != GATEWAY.name:
        return {f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(login)}.{CONSUMER}"}
    of_streams = {f"$JS.API.STREAM.{what}.{stream_of(queue)}" for what in ("CREATE", "INFO") for queue in QUEUES}
    return of_streams | {f"$JS.API.CONSUMER.DURABLE.CREATE.{stream_of(queue)}.{CONSUMER}" for queue in QUEUES}


class Login:
    """A connection as one user; what it heard, what it was answered, and what it was denied."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.connection = Client()
        self.heard = set[tuple[str, str]]()
        """Who said it, and to which subject."""
        self.served = dict[str, bool]()
        """Whether JetStream has done what was asked, or would with another request; only what was answered."""
        self.denied = {"publish": set[str](), "subscription": set[str]()}

    @asynccontextmanager
    async def on(self, server: Server) -> AsyncIterator["Login"]:
        """Connected while the block runs."""
        password = PASSWORD if self.user == OPERATOR else password_of(self.user, PASSWORD)
        url = f"nats://{self.user}:{password}@{server.url.rpartition('@')[2]}"
        await self.connection.connect(url, inbox_prefix=inbox_of(self.user), error_cb=self._note_error)
        try:
            yield self
        finally:
            await self.connection.close()

    async def hear(self, *subjects: str) -> None:
        """Subscribe to each."""
        for subject in subjects:
            await self.connection.subscribe(subject, cb=self._note_message)
        await self.settled()

    async def settled(self) -> None:
        """The server has taken all that was sent, and what it had for us is here: one flush's ping overtakes."""
        for _ in range(2):
            await self.connection.flush()

    async def ask(self, *subjects: str) -> None:
        """Ask each as if for a ticket."""

        async def note(answer: Msg) -> None:
            refused = (answer.headers or {}).get("Status") == NOBODY_ANSWERS or NO_JETSTREAM in answer.data
            self.served[subjects[int(answer.subject.rpartition(".")[2])]] = not refused

        await self.connection.subscribe(f"{inbox_of(self.user)}.api.*", cb=note)
        for number, subject in enumerate(subjects):
            reply = f"{inbox_of(self.user)}.api.{number}"
            request = b'{"batch": 1, "no_wait": true}' if "MSG.NEXT" in subject else b""
            await self.connection.publish(subject, request, reply=reply)
        await self.settled()

    async def _note_message(self, message: Msg) -> None:
        self.heard.add((message.data.decode(), message.subject))

    async def _note_error(self, error: Exception) -> None:
        what = re.search(r"permissions violation for (publish|subscription) to \"(.+?)\"", str(error), re.I)
        assert what is not None, error
        self.denied[what[1].lower()].add(what[2].lower())


def lowered(subjects: set[str]) -> set[str]:
    """As the client's errors write them."""
    return {subject.lower() for subject in subjects}


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Server]:
    server = servers.nats(tmp_path, free_port(), PASSWORD)
    with running(server, tmp_path):
        yield server


async def test_s26_everybody_says_everything_and_each_hears_what_is_meant_for_it(nats_server: Server) -> None:
    async with AsyncExitStack() as stack:
        logins = {
            user: await stack.enter_async_context(Login(user).on(nats_server)) for user in (OPERATOR, *LOGINS)
        }
        for user, login in logins.items():
            await login.hear(*(SUBJECTS if user == GATEWAY.name else (">",)))
        for speaker in LOGINS:
            for subject in SUBJECTS:
                await logins[speaker].connection.publish(subject, speaker.encode())
            await logins[speaker].settled()
        for login in logins.values():
            await login.settled()
        for speaker, listener in product(LOGINS, logins):
            heard = {subject for who, subject in logins[listener].heard if who == speaker}
            if speaker != listener or speaker == GATEWAY.name:
                assert heard == meant_for(speaker, listener), f"{speaker} to {listener}"
        may_say = meant_for(GATEWAY.name, OPERATOR)
        assert logins[GATEWAY.name].denied["publish"] == lowered({*SUBJECTS} - may_say)


async def test_s26_a_gateway_may_listen_to_nothing_else(nats_server: Server) -> None:
    async with Login(GATEWAY.name).on(nats_server) as gateway:
        await gateway.hear(*SUBJECTS, *WILDCARDS, *API)
        to_gateways = {
            *OF_GATEWAYS,
            INBOXES[GATEWAY.name],
            *(f"events.{queue}" for queue in QUEUES),
            "events.nobody",
            "events.>",  # counts as one of events.*, and nobody may say anything else under it
        }
        assert gateway.denied["subscription"] == lowered({*SUBJECTS, *WILDCARDS, *API} - to_gateways)


@pytest.mark.parametrize("login", LOGINS)
async def test_s26_everybody_asks_jetstream_for_everything_and_is_answered_what_is_its_own(
    nats_server: Server, login: str
) -> None:
    settings = BusSettings.model_validate({"nats_url": nats_server.url})
    async with (
        bus.connect(settings, "test") as fleet,
        Login(login).on(nats_server) as asking,
        AsyncExitStack() as stack,
    ):

        async def connected() -> bool:
            return fleet.connected

        await until(connected)
        for queue in QUEUES:
            await fleet.create_stream(queue)
            await stack.enter_async_context(fleet.tickets(queue))
        another = next(queue for queue in QUEUES if queue != login)
        await fleet.publish_tickets(another, [new_id()])

        async def ticket_is_there() -> bool:
            return (await fleet.stream_state(another)).depth == 1

        await until(ticket_is_there)
        await asking.ask(*API)

        async def answered() -> bool:
            return lowered({*API} - asking.served.keys()) == asking.denied["publish"]

        await until(answered)
        assert {asked for asked, served in asking.served.items() if served} == asked_by(login)
        assert await ticket_is_there()
