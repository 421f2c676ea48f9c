"""The names of streams, consumers and subjects in NATS. `deploy/permissions.py` grants each service its own."""

CONSUMER = "workers"


def stream_of(queue: str) -> str:
    """The name of the stream of tickets of `queue`."""
    return f"TICKETS_{queue}"


def tickets_subject(queue: str) -> str:
    """The subject that the tickets of `queue` are published to."""
    return f"tickets.{queue}"


def inbox_of(name: str) -> str:
    """The prefix of the reply subjects of process `name`. No other process may subscribe there."""
    return f"_INBOX_{name}"
