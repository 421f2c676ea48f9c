"""Statements that name jobs by their ids look them up by these ids.

Each state that a job passes through has a partial index. At most moments it is nearly empty, so it looks cheap
to the planner: rather than look up each id, it reads the whole index. That plan is kept while the index fills,
and then every claim and every finish reads thousands of entries. That took a third of the throughput.
"""

from libs.common.ledger.jobs import State


def in_state(state: State, table: str = "jobs") -> str:
    """A condition on the state that no partial index supports."""
    return f"{table}.state || '' = '{state}'"
