"""Which statements need not wait for the disk."""

LAZILY = "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"
"""A condition that is always true. The statement that contains it commits without waiting for fsync.

A crash of PostgreSQL may then undo the statement (never in part, never out of order); a crash of anything
else cannot. https://www.postgresql.org/docs/current/wal-async-commit.html
"""
