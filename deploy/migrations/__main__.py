"""python -m deploy.migrations: migrate the database at DATABASE_URL to the newest revision."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from libs.common.config import DatabaseSettings, load


def upgrade(settings: DatabaseSettings) -> None:
    """Run every migration that the database lacks. It is safe to run it again, and concurrently."""
    alembic = Config()
    alembic.set_main_option("script_location", str(Path(__file__).parent))
    alembic.attributes["database_url"] = settings.database_url.get_secret_value()
    command.upgrade(alembic, "head")


if __name__ == "__main__":
    upgrade(load(DatabaseSettings))
