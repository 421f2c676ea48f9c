"""What each service is given: the settings of the fleet, where they come from, and whether they are right.

Which services there are, the table of services says. This module imports little, so that a mistake is
told before what takes a second to import is imported, and before anything is started.

A variable that `make up` is given stays until another `make up` is given another value, like the port and the
scale: an upgrade from another shell must not turn off what was turned on. `NAME= make up` sets it back.
"""

import importlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from itertools import chain
from typing import NamedTuple
from urllib.parse import urlsplit

from deploy.local.errors import CannotRun
from deploy.local.passwords import password_of
from deploy.local.ports import answers
from deploy.local.state import DEFAULT_GATEWAY_PORT, RUN, State
from libs.common.config import HARMLESS, Environment, is_service_link, load
from libs.common.contracts import services
from libs.common.contracts.services import QUEUES, Need, login_of
from libs.common.db_opening import urls_of

GATEWAY = services.GATEWAY.name
WORKERS = QUEUES
SERVICES = tuple(service.name for service in services.SERVICES)
NEED_REDIS = frozenset(service.name for service in services.SERVICES if Need.REDIS in service.needs)
EXTERNAL = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "nats": "NATS_URL"}
"""The variable that names a server of the user's own, to be used instead of ours."""
EXAMPLES = {
    "DATABASE_URL": "postgresql://user:password@host:5432/name",
    "REDIS_URL": "redis://user:password@host:6379/0",
    "NATS_URL": "nats://user:password@host:4222",
}
PORT = "ARGOSY_PORT"
OURS = frozenset((PORT, "ARGOSY_RUN_DIR", "ARGOSY_VERSION", "ARGOSY_URL", "ARGOSY_KEY", "ARGOSY_METRICS_URL"))
WITHOUT_EFFECT = {
    "GATEWAY_PORT": f"set {PORT} instead",
    "PROBES_PORT": "each process has a port of its own here; `make status` shows the gateway's",
} | dict.fromkeys(
    ("REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB"), "set REDIS_URL instead"
)
"""Settings that are decided here, and what to do instead."""
ALSO = ("TESSDATA_PREFIX",)
"""Variables of libraries that a change of makes a difference."""
OF_CLOUDS = ("AWS_", "GOOGLE_", "AZURE_")
"""Beginnings of the variables that the client of a blob store reads."""
RESEMBLES = 0.84
"""How alike two names are that are taken for the same, misspelt (difflib's ratio)."""


class Choice(NamedTuple):
    """What the next start goes by."""

    state: State
    notes: list[str]
    """What the user should know of it."""


@cache
def settings_of(service: str) -> type[Environment]:
    """The Settings of a service."""
    found: type[Environment] = importlib.import_module(f"services.{service}.config").Settings
    return found


@cache
def variables_of(service: str) -> frozenset[str]:
    """The environment variables that a service reads."""
    return frozenset(name.upper() for name in settings_of(service).model_fields) - OURS


@cache
def known() -> frozenset[str]:
    """Every setting of every service."""
    return frozenset(chain.from_iterable(map(variables_of, SERVICES)))


def choose(remembered: State, environ: Mapping[str, str]) -> Choice:
    """What was remembered, changed as `environ` says. Changes nothing. Raises CannotRun with every mistake."""
    blobs = environ.get("BLOB_URL", remembered.settings.get("BLOB_URL", ""))
    own = _own_values(remembered)
    given = {
        name.upper(): "" if value in own.get(name.upper(), ()) else value
        for name, value in environ.items()
        if _is_setting(name.upper(), blobs)
    }
    notes = [
        f"{name} has no effect here: {instead}." for name, instead in WITHOUT_EFFECT.items() if given.pop(name, "")
    ]
    notes += [f"Warning: {name} is no setting of any service{hint}" for name, hint in misspelt(environ)]
    kept = {name: value for name, value in remembered.settings.items() if name not in given}
    lost = {name for name in kept if not _is_setting(name, blobs)}
    notes += [f"{name} is forgotten: no service has such a setting any more." for name in sorted(lost)]
    if staying := sorted(kept.keys() - lost):
        notes.append(f"Kept from an earlier `make up`: {', '.join(staying)}. `NAME= make up` sets one back.")
    settings = {name: value for name, value in (kept | given).items() if value and name not in lost}
    port, mistakes = _port(remembered.gateway_port, environ.get(PORT))
    state = replace(remembered, settings=settings, gateway_port=port)
    mistakes += _mistakes(state)
    if mistakes:
        raise CannotRun("\n".join([*notes, *mistakes, "Nothing was started or changed."]))
    return Choice(state, notes)


def _is_setting(name: str, blobs: str) -> bool:
    """Whether a service reads it. A cloud's variables are read if files are kept there (`blobs`: where)."""
    in_a_cloud = bool(blobs) and not blobs.startswith("file:")
    return name in known() or name in ALSO or (in_a_cloud and name.startswith(OF_CLOUDS))


def _own_values(remembered: State) -> dict[str, set[str]]:
    """What the fleet gives by itself: a shell that has read .run/ocr.env has these, and means nothing else."""
    values: dict[str, set[str]] = {}
    for service in SERVICES:
        for name, value in environment_of(service, replace(remembered, settings={})).items():
            values.setdefault(name, set()).add(value)
    return values


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names in `environ` that look like settings and are none, and what may have been meant."""
    first_words = [name.partition("_")[0] for name in known()]
    groups = tuple(f"{word}_" for word in {*first_words, "ARGOSY"} if first_words.count(word) != 1)
    right = known() | OURS
    for name in sorted(environ.keys() - right - HARMLESS - {*ALSO}):
        close = get_close_matches(name.upper(), right, n=1, cutoff=RESEMBLES)
        if name.upper() not in right and (close or name.startswith(groups)):
            yield name, f"; is {close[0]} meant?" if close else ", and has no effect."


def _port(remembered: int, given: str | None) -> tuple[int, list[str]]:
    if given is None or is_service_link(PORT, given):
        return remembered, []
    if given == "":
        return DEFAULT_GATEWAY_PORT, []
    if given.isascii() and given.isdigit() and 1 <= int(given) <= 65535:
        return int(given), []
    return remembered, [f"{PORT}: should be a port, a number from 1 to 65535"]


def _mistakes(state: State) -> list[str]:
    """What the services would say of the environment they are to be given, and what is wrong with addresses."""
    found = [
        mistake for name in EXTERNAL.values() if (mistake := _address_mistake(name, state.settings.get(name)))
    ]
    for service in SERVICES:
        with _process_environment(environment_of(service, state)), redirect_stderr(io.StringIO()) as told:
            try:
                load(settings_of(service))
            except SystemExit:
                found += told.getvalue().splitlines()
    return list(dict.fromkeys(found))


def _address_mistake(name: str, addresses: str | None) -> str | None:
    """What is wrong with the addresses of a server. They are not repeated: a password is in them."""
    if not addresses:
        return None
    each = [address.strip() for address in addresses.split(",")] if name == "NATS_URL" else urls_of(addresses)
    if not all(map(_is_address, each)):
        return f"{name}: should be an address such as {EXAMPLES[name]}"
    return None if any(map(_reaches, each)) else f"{name}: nothing answers there"


def _is_address(address: str) -> bool:
    try:
        return bool(urlsplit(address).scheme) and (urlsplit(address).port or 1) > 0
    except ValueError:
        return False


def _reaches(address: str) -> bool:
    """An address without a host is a socket's, and left to whoever opens it."""
    return not urlsplit(address).hostname or answers(address)


@contextmanager
def _process_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Be a process with that environment while the block runs."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def baseline(environ: Mapping[str, str]) -> dict[str, str]:
    """What every process is given of the shell's environment: all that is no setting of anybody's."""
    ours = known() | OURS | {*ALSO}
    return {
        name: value
        for name, value in environ.items()
        if name.upper() not in ours and not name.startswith(("MAKE", "MFLAGS", *OF_CLOUDS))
    }


def gateway_url(state: State) -> str:
    """Where callers on this machine reach the gateway."""
    host = state.settings.get("GATEWAY_HOST", "127.0.0.1")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{state.gateway_port}"  # noqa: S104


def addresses_of(state: State) -> dict[str, str]:
    """The three servers, as whoever may do everything reaches them."""
    password = state.password
    ours = {
        "postgres": f"postgresql://argosy:{password}@127.0.0.1:{state.postgres_port}/postgres",
        "redis": f"redis://:{password_of('redis', password)}@127.0.0.1:{state.redis_port}/0",
        "nats": f"nats://argosy:{password}@127.0.0.1:{state.nats_port}",
    }
    return ours | external(state)


def external(state: State) -> dict[str, str]:
    """The servers that are not ours, and where they are."""
    return {name: state.settings[variable] for name, variable in EXTERNAL.items() if variable in state.settings}


def catches_mail(state: State) -> bool:
    """Mail is caught here, unless it is said where to send it."""
    return "MAIL_RELAYS" not in state.settings


def environment_of(service: str, state: State) -> dict[str, str]:
    """What a service is given; in our own servers it is a user who may do its work and nothing else."""
    password = password_of(service, state.password)
    redis_url = f"redis://{service}:{password}@127.0.0.1:{state.redis_port}/0"
    redis = {"REDIS_URL": redis_url} if service in NEED_REDIS else {}
    own = {
        GATEWAY: {
            "GATEWAY_PORT": str(state.gateway_port),
            "PROBES_PORT": str(state.metrics_port),
            "LINK_SECRET": state.link_secret,
            "KEY_SECRET": state.key_secret,
            "OCR_SECRET": state.ocr_secret,
        },
        services.OCR.name: {"OCR_SECRET": state.ocr_secret},
        services.MAILER.name: {
            "MAIL_RELAYS": f"smtp://127.0.0.1:{state.smtp_port}?tls=off",
            "MAIL_SECRET": state.mail_secret,
            "PUBLIC_URL": gateway_url(state),
        },
        services.ANALYTICS.name: {"ANALYTICS_SECRET": state.analytics_secret},
        services.SYNC.name: {"SYNC_SECRET": state.sync_secret},
        services.EXPORTER.name: {
            "LINK_SECRET": state.link_secret,
            "PUBLIC_URL": gateway_url(state),
        },
    }
    confinement = {"SANDBOX_CONFINEMENT": "if-available"} if "SANDBOX_CONFINEMENT" in variables_of(service) else {}
    ours = {
        "DATABASE_URL": f"postgresql://{login_of(service)}:{password}@127.0.0.1:{state.postgres_port}/postgres",
        "NATS_URL": f"nats://{service}:{password}@127.0.0.1:{state.nats_port}",
        "BLOB_URL": (RUN / "blobs").as_uri(),
        "PROBES_PORT": "0",
        **confinement,
        **redis,
        **own.get(service, {}),
    }
    return ours | given_to(service, state)


def given_to(service: str, state: State) -> dict[str, str]:
    """Those of the settings given to the fleet that are this service's."""
    mine = variables_of(service) | {*ALSO}
    return {
        name: value
        for name, value in state.settings.items()
        if name in mine or (name not in known() and name not in ALSO)
    }
