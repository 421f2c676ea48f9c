"""Which statements need not wait for the disk, and which reads must wait for a standby.

With synchronous replication a commit may have given up waiting: its client had no more time, or an operator
cancelled the wait. Its rows then exist on this server only, and nothing shows it. Whoever finds such rows and
answers "accepted" or "done" promises what a failover takes back.
"""

LAZILY = "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"
"""A condition that is always true. The statement that contains it commits without waiting for fsync.

A crash of PostgreSQL may then undo the statement (never in part, never out of order); a crash of anything
else cannot. https://www.postgresql.org/docs/current/wal-async-commit.html
"""

CONFIRMED = "(SELECT pg_logical_emit_message(true, 'argosy', '') IS NOT NULL)"
"""An expression that is always true. A transaction that evaluates it ends when all that it has read is replicated.

It writes an empty message into the log, so the commit waits as that of a write does; the standby has then received
everything before it too. https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION
"""
