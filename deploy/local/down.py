"""`make down`: stop everything, first what takes work, then the servers. Nothing is lost."""

from contextlib import suppress

from deploy.local import supervisor
from deploy.local.errors import CannotRun
from deploy.local.program_specs import CATCHER, SERVERS
from deploy.local.state import RUN
from deploy.local.waiting import wait_for


def down() -> None:
    """Stop the fleet, also one whose supervisor is dead or silent."""
    try:
        supervised = supervisor.alive()
    except CannotRun as silent:
        print(f"{silent} What it runs is stopped all the same.")
        supervised = False
    if supervised:
        _stop_in_order()
        print(f"The fleet is down. Its data is kept in {RUN}; `make up` goes on with it.")
    elif swept := supervisor.sweep():
        print(f"No supervisor was in charge; {swept} processes that were left have been stopped.")
    else:
        print("The fleet is not running.")


def _stop_in_order() -> None:
    supervisor.stop(supervisor.statuses().keys() - {CATCHER, *SERVERS})
    supervisor.stop({CATCHER})  # after the mailer, which may still hand it something
    supervisor.ask("quit", waiting=True)
    with suppress(CannotRun):
        wait_for("the supervisor's end", lambda: not supervisor.leftovers(), within_s=supervisor.STOP_WITHIN_S)
    supervisor.sweep()  # a server that was restarted just then may have been forgotten
