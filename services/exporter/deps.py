"""What the exporter's jobs need."""

import asyncio
from dataclasses import dataclass

from libs.common.blobs import Blobs
from libs.common.db import Database
from services.exporter.config import Settings
from services.exporter.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class Deps:
    """The handler's dependencies."""

    settings: Settings
    database: Database
    blobs: Blobs
    snapshots: Snapshots
    places: asyncio.Semaphore  # one for each file that may be written at once in this process
