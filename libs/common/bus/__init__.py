"""NATS: the conveyor of job tickets, publish/subscribe, and request/reply.

bus         what processes say to each other, and how they connect
connection  one connection to the servers: lost, silent and refused ones
streams     the stream of tickets of each queue
tickets     takes tickets for a worker's free slots
names       streams and subjects
"""

from libs.common.bus.bus import Bus, connect
from libs.common.bus.names import CONSUMER, inbox_of, stream_of, tickets_subject
from libs.common.bus.streams import StreamState, StreamUnavailable

__all__ = [
    "CONSUMER",
    "Bus",
    "StreamState",
    "StreamUnavailable",
    "connect",
    "inbox_of",
    "stream_of",
    "tickets_subject",
]
