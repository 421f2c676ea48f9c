"""python -m deploy.migrations: migrate the database at DATABASE_URL to the newest revision."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from libs.common.config import DatabaseSettings, exit_if_refused, load


def upgrade(settings: DatabaseSettings, *, revision: str = "head") -> None:
    """Run every migration up to `revision` that the database lacks. Safe to run again, and concurrently."""
    alembic = Config()
    alembic.set_main_option("script_location", str(Path(__file__).parent))
    alembic.attributes["database_url"] = settings.database_url.get_secret_value()
    command.upgrade(alembic, revision)


if __name__ == "__main__":
    with exit_if_refused():
        upgrade(load(DatabaseSettings))
