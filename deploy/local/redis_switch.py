"""`make redis-start` and `make redis-stop`: our Redis alone, for work on the limits or to try its loss."""

from functools import partial

from deploy.local import program_specs, settings, state, supervisor, up
from deploy.local.errors import CannotRun
from deploy.local.ports import answers
from deploy.local.waiting import Watch, wait_for

REDIS = "redis"


def start() -> None:
    """Start our Redis, alone if need be."""
    fleet = state.load()
    if REDIS in settings.external(fleet):
        raise CannotRun("REDIS_URL was set when the fleet was started: that Redis is not ours to start.")
    if not supervisor.alive():
        up.clear_away()
        state.refresh_ports(fleet, ())
        up.launch(fleet)
    if supervisor.statuses().get(REDIS) != "active":
        (ours,) = [program for program in program_specs.wanted(fleet) if program.name == REDIS]
        up.start(ours)
        fleet.started[REDIS] = ours.started
        fleet.save()
        wait_for(REDIS, partial(answers, settings.addresses_of(fleet)[REDIS]), Watch([ours]))
    print("Redis is running.")


def stop() -> None:
    """Stop our Redis; the supervisor too, if it has nothing else to do."""
    supervisor.need()
    if REDIS not in supervisor.statuses():
        raise CannotRun("REDIS_URL was set when the fleet was started: that Redis is not ours to stop.")
    supervisor.stop({REDIS})
    if "active" not in supervisor.statuses().values():
        supervisor.ask("quit", waiting=True)
    print("Redis is stopped.")
