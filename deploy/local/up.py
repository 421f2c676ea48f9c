"""`make up`: start what does not run, and bring what runs to the code and the settings that there are now.

Everything that can be checked is checked before anything is touched. Then the servers, the database, the workers
and at last the gateway, each waited for.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterable
from functools import partial
from urllib.parse import urlsplit

from deploy.local import database_queries, install_tesseract, program_specs, settings, state, supervisor, version
from deploy.local.changes import Action, Change, plan
from deploy.local.errors import CannotRun
from deploy.local.ports import answers, why_not
from deploy.local.program_specs import SERVERS, Program
from deploy.local.settings import EXTERNAL, GATEWAY, PORT, SERVICES, WORKERS, Choice
from deploy.local.state import RUN, Started, State
from deploy.local.waiting import SERVERS_GET_S, Watch, wait_for
from deploy.local.welcome import welcome
from libs.common.db_opening import urls_of

SUPERVISOR = "supervisor"
UNRECORDED = Started("unknown", "", "", {})
"""What was started by a version that kept no record."""


def up(choice: Choice) -> None:
    """Do it, and say what was done. Raises CannotRun."""
    begun = time.monotonic()
    for note in choice.notes:
        print(note)
    install_tesseract.ensure()
    before, fleet = state.load(), choice.state
    was_running = supervisor.alive()
    statuses = supervisor.statuses() if was_running else {}
    active = {name for name, status in statuses.items() if status == "active"}
    _check_what_cannot_change(before, fleet, active)
    if was_running:
        _adopt_scale(fleet, active)
    else:
        clear_away()
    _settle_ports(before, fleet, active)
    if database_runs := bool(active) and database_queries.reachable(before):
        database_queries.pending(before)  # it may be too new for this code: then nothing is touched
    fleet.save()
    wanted = program_specs.wanted(fleet)
    if not was_running:
        launch(fleet)
    changes = plan(wanted, fleet.started, statuses)
    from_version = fleet.started.get(GATEWAY, UNRECORDED).version if active & {*SERVICES} else None
    _bring_up_servers(fleet, wanted, changes)
    migrated = _bring_up_database(fleet, database_runs)
    if migrated:
        changes = [_restarted_for_migration(change) for change in changes]
    _bring_up_services(fleet, wanted, changes, serving=GATEWAY in active and not migrated)
    _report(fleet, changes, from_version, migrated if database_runs else None)
    welcome(fleet, time.monotonic() - begun)


def clear_away() -> None:
    """End what a killed run left."""
    if swept := supervisor.sweep():
        print(f"Stopped {swept} processes that an earlier run had left behind.")
    (RUN / "postgres" / "data" / "postmaster.pid").unlink(missing_ok=True)


def launch(fleet: State) -> None:
    """Start the supervisor, and remember which one."""
    supervisor.launch()
    fleet.started = {SUPERVISOR: _supervisor_now()}
    fleet.save()


def _supervisor_now() -> Started:
    return Started(version.checked_out(), "", version.supervisor_code(), {})


def _check_what_cannot_change(before: State, fleet: State, active: Collection[str]) -> None:
    """The services of a running fleet stay with their servers. Raises CannotRun."""
    if not set(active) & set(SERVICES):
        return
    for name, variable in EXTERNAL.items():
        old, new = settings.external(before).get(name), settings.external(fleet).get(name)
        if _place(old) != _place(new):
            given = f"{variable}=…" if new else f"{variable}="
            uses = f"the {name} of its own" if old is None else "the server that it was started with"
            raise CannotRun(
                f"{variable}: the running fleet uses {uses}, and its jobs would not move. "
                f"`make down` first, then `{given} make up`. Nothing was changed."
            )


def _place(url: str | None) -> tuple[list[tuple[str | None, int | None]], str] | None:
    """What makes it another server or database; a new password does not."""
    if url is None:
        return None
    hosts = [(parts.hostname, parts.port) for parts in map(urlsplit, urls_of(url))]
    return hosts, urlsplit(url).path


def _adopt_scale(fleet: State, active: Collection[str]) -> None:
    """A fleet that was started before there was a record of it goes on with as many processes."""
    for name in WORKERS:
        if name in active and name not in fleet.started:
            fleet.scale[name] = supervisor.processes_wanted(name)


def _settle_ports(before: State, fleet: State, active: Collection[str]) -> None:
    """Ports for everything that is to start. Raises CannotRun if the gateway cannot have its."""
    ours = GATEWAY in active and before.gateway_port == fleet.gateway_port
    if not ours and (reason := why_not(fleet.gateway_port)):
        stop = "Stop that one, or choose" if "taken" in reason else "Choose"
        raise CannotRun(f"Port {fleet.gateway_port} {reason}. {stop} another port: {PORT}=8081 make up")
    state.refresh_ports(fleet, active)


def _bring_up_servers(fleet: State, wanted: list[Program], changes: Iterable[Change]) -> None:
    ours = [program for program in wanted if program.name in SERVERS]
    _apply(fleet, ours, changes)
    watch = Watch(ours, patience_s=SERVERS_GET_S)
    for name, url in settings.addresses_of(fleet).items():
        wait_for(name, partial(answers, url), watch)
    wait_for("the database", partial(database_queries.reachable, fleet), watch)


def _bring_up_database(fleet: State, runs: bool) -> str | None:
    """Migrate it; what was migrated.

    Old code cannot be expected to understand a new schema: some of the first ten migrations needed the fleet
    stopped. A request that is refused for some seconds can be sent again; a job that failed has failed.
    """
    migration = database_queries.pending(fleet)
    if migration and runs:
        print(f"Stopping the services to migrate the database, {migration} …", flush=True)
        supervisor.stop(SERVICES)
    try:
        database_queries.prepare(fleet)
    except Exception as error:
        left = "The services are stopped; the database is as it was. " if migration and runs else ""
        raise CannotRun(f"The database could not be prepared: {error}\n{left}Mend it and `make up`.") from error
    return migration


def _restarted_for_migration(change: Change) -> Change:
    if change.action is Action.KEEP and change.name in SERVICES:
        return Change(change.name, Action.RESTART, ["the database was migrated"])
    return change


def _bring_up_services(fleet: State, wanted: list[Program], changes: list[Change], *, serving: bool) -> None:
    for name in SERVICES:
        own, given = settings.environment_of(name, fleet), settings.given_to(name, fleet)
        fixed = {variable: value for variable, value in own.items() if variable not in given}
        state.write_environment(f"{name}.env", fixed, given)
    services = [program for program in wanted if program.name not in SERVERS]
    workers = [program for program in services if program.name in WORKERS]
    gateway = [program for program in services if program.name == GATEWAY]
    last = gateway if serving else []  # in no order while nobody is served
    first = [program for program in services if program not in last]
    _apply(fleet, first, changes)
    wait_for("the workers", partial(_registered, fleet, workers), Watch(first))
    _apply(fleet, last, changes)
    wait_for("the gateway", partial(gateway_ready, fleet), Watch(gateway))
    for change in changes:
        if change.action is Action.REMOVE:
            supervisor.remove(change.name)
            fleet.started.pop(change.name, None)
    fleet.save()


def _apply(fleet: State, some: Iterable[Program], changes: Iterable[Change]) -> None:
    """Start and restart these programs as planned; those that are restarted stop side by side."""
    actions = {change.name: change.action for change in changes}
    due = [program for program in some if actions[program.name] is not Action.KEEP]
    supervisor.stop({program.name for program in due if actions[program.name] is Action.RESTART})
    for program in due:
        start(program)
    for program in some:
        fleet.started[program.name] = program.started
    fleet.save()


def start(program: Program) -> None:
    """Have the supervisor start it."""
    supervisor.start(
        program.name,
        program.command,
        program_specs.whole_environment(program),
        stop_signal=program.stop_signal,
        processes=program.processes,
    )


def _registered(fleet: State, workers: Iterable[Program]) -> bool:
    """Whether as many workers as asked for live, and the ledger knows each."""
    known = database_queries.registered(fleet)
    for worker in workers:
        pids = supervisor.pids(worker.name)
        if len(pids) < worker.processes or not {(worker.name, pid) for pid in pids} <= known:
            return False
    return True


def gateway_ready(fleet: State) -> bool:
    """Whether it takes requests."""
    try:
        with urllib.request.urlopen(f"{settings.gateway_url(fleet)}/readyz", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _report(fleet: State, changes: list[Change], from_version: str | None, migrated: str | None) -> None:
    """What was done to a fleet that ran."""
    now = version.checked_out()
    if from_version is None:
        return
    if not migrated and all(change.action is Action.KEEP for change in changes):
        print(f"The fleet is already running, at version {now}: nothing to restart.")
    else:
        versions = f"at version {now}" if from_version == now else f"upgraded from version {from_version} to {now}"
        print(f"The fleet is already running, {versions}:")
        print(f"    {'database':<10} {'migrated: ' + migrated if migrated else 'nothing to migrate'}")
        print(*(f"    {change}" for change in changes), sep="\n")
    if from_version == UNRECORDED.version:
        print(
            "That version kept no record of settings: what it was given holds on only if it was given again now."
        )
    if fleet.started.get(SUPERVISOR, UNRECORDED).code != _supervisor_now().code:
        print(
            "Not restarted: the supervisor itself, whose code has changed, because everything would stop with it. "
            "It goes on as it is until `make down`."
        )
