"""Sockets in temporary folders, however long the path of these is.

The fork server is reached by a socket in such a folder. Its path may have 107 bytes on Linux (unix(7)), and
TMPDIR alone may have more: no worker would start.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_PATH_AT_MOST = 107
ADDED = 40
"""More than what multiprocessing adds to the folder: `/pymp-xxxxxxxx/listener-xxxxxxxx`."""
OPEN_FILES = Path("/proc/self/fd")


@contextmanager
def short_temporary_paths() -> Iterator[None]:
    """Let temporary folders and files that this process makes within the block have short paths.

    The folder for them is opened, and is named by that descriptor as long as the process lives.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) + ADDED <= SOCKET_PATH_AT_MOST or not OPEN_FILES.is_dir():
        yield
        return
    tempfile.tempdir = str(OPEN_FILES / str(os.open(folder, os.O_PATH | os.O_DIRECTORY)))
    try:
        yield
    finally:
        tempfile.tempdir = folder
