"""`make keys`: the API keys of the tenant `dev`; `make keys NEW=name` makes one more."""

from datetime import datetime

from deploy.local import database_queries, state
from deploy.local.errors import CannotRun
from deploy.local.state import RUN, shown
from deploy.local.table import table
from services.gateway.identity.scopes import Role


def keys(new: str | None, role: str | None) -> None:
    """List the keys, or make one and print it, once. Raises CannotRun."""
    fleet = state.load()
    if role and role not in [*Role]:
        raise CannotRun(f"There is no role {role}; there are: {', '.join(Role)}.")
    if not database_queries.reachable(fleet):
        raise CannotRun("The database does not answer: `make up` first.")
    if new:
        issued = database_queries.new_key(fleet, new, Role(role or Role.MEMBER))
        print(f"A key of the tenant {database_queries.TENANT} named {new}, with the role {issued.facts['role']}.")
        print("It is shown this once, only a hash of it is kept:\n")
        print(f"    {issued.key}")
        return
    print(f"The key that `make up` made is in {shown(RUN / 'dev.env')}:")
    print(f"    . {shown(RUN / 'dev.env')}; echo $ARGOSY_KEY\n")
    print(f"Keys of the tenant {database_queries.TENANT}; `make keys NEW=name [ROLE=member]` makes one more:\n")
    rows = [
        (key["id"], key["name"], key["role"], _day(key["created_at"]), _end(key))
        for key in database_queries.keys(fleet)
    ]
    print(table(("id", "name", "role", "made", "ends"), rows))


def _end(key: dict[str, datetime | None]) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {_day(key['revoked_at'])}"
    return _day(key["expires_at"])


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment is not None else "never"
