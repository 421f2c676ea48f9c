"""`make scale`: how many processes of each worker run, now and after the next `make up`."""

from deploy.local import state, supervisor
from deploy.local.errors import CannotRun
from deploy.local.settings import WORKERS

MOST = 32
"""Each process holds two connections at least, and PostgreSQL accepts 100 if nobody says otherwise."""
USAGE = "Usage: make scale S=ocr N=3"


def scale(service: str | None, number: str | None) -> None:
    """Run `number` processes of the worker `service`; without both, say how many run. Raises CannotRun."""
    if not service and not number:
        _show()
        return
    if service not in WORKERS:
        named = f"There is no worker {service}" if service else "Say which worker"
        raise CannotRun(f"{named}; there are: {', '.join(WORKERS)}. {USAGE}")
    if number is None or not (number.isascii() and number.isdigit() and int(number) <= MOST):
        named = f"N is {number}" if number else "Say how many"
        raise CannotRun(f"{named}: it should be a whole number from 0 to {MOST}. {USAGE}")
    supervisor.need()
    fleet = state.load()
    supervisor.ask("set", name=service, options={"numprocesses": int(number)}, waiting=True)
    fleet.scale[service] = int(number)
    fleet.save()
    print(f"{service}: {number} worker processes; `make down` and `make up` keep the number.")


def _show() -> None:
    print(f"{USAGE}\n")
    fleet = state.load()
    known = supervisor.statuses() if supervisor.alive() else {}
    for name in WORKERS:
        processes = supervisor.processes_wanted(name) if name in known else fleet.scale.get(name, 1)
        print(f"    {name:<10} {processes}" + ("" if known.get(name) == "active" else "  (not running)"))
