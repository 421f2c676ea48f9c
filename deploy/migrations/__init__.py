"""The database's shape: one Alembic history for all schemas, run once before a rollout."""
