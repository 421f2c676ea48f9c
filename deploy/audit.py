"""Checks locked versions against a local copy of an advisory database: `python -m deploy.audit LOCK ADVISORIES`.

`make audit` runs pip-audit, which asks a database on the network. Where there is none, this reads ADVISORIES: a
folder of JSON files in the OSV format, or OSV's export of PyPI, `all.zip`. It ends with 0 if no locked version is
known to be vulnerable, with 1 and a line for each that is, and with 2 if that cannot be said.
"""

import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.M)
"""A line of a requirements file with an exact version."""
REQUIREMENT = re.compile(r"^(?![#\s-])\S", re.M)
"""A line of a requirements file that names a package, however."""

Advisory = Mapping[str, Any]


class CannotAudit(Exception):
    """The lock or the advisories cannot be read, so nothing is known."""


class Finding(NamedTuple):
    """A locked version with a known vulnerability."""

    package: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    fixed: tuple[str, ...]
    """The versions that mend it, one for each line of releases; none: there is no such version yet."""

    def __str__(self) -> str:
        names = f"{self.advisory} ({', '.join(self.aliases)})" if self.aliases else self.advisory
        remedy = f"fixed in {', '.join(self.fixed)}" if self.fixed else "there is no fixed version"
        return f"{self.package} {self.version}: {names}, {remedy}"


Pins = Mapping[str, Sequence[str]]
"""Versions by canonical name. There are several where that of an old Python is another."""


def pins_of(lock: str) -> Pins:
    """The versions in the text of a lock. Raises CannotAudit."""
    found = PIN.findall(lock)
    if not found or len(found) != len(REQUIREMENT.findall(lock)):
        raise CannotAudit("the lock has no versions, or lines without an exact version")
    pins: dict[str, list[str]] = {}
    for name, version in found:
        pins.setdefault(canonicalize_name(name), []).append(version)
    return pins


def read_advisories(place: Path) -> list[Advisory]:
    """Every advisory in a folder or a zip file. Raises CannotAudit if there is none, or one cannot be read."""
    try:
        advisories = [_parsed(name, text) for name, text in _texts(place)]
    except (OSError, zipfile.BadZipFile) as error:
        raise CannotAudit(f"{place} cannot be read: {error}") from error
    if not advisories:
        raise CannotAudit(f"there are no advisories (*.json) in {place}")
    return advisories


def _texts(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        yield from ((str(path), path.read_bytes()) for path in sorted(place.rglob("*.json")))
        return
    with zipfile.ZipFile(place) as archive:
        yield from ((name, archive.read(name)) for name in archive.namelist() if name.endswith(".json"))


def _parsed(name: str, text: bytes) -> Advisory:
    try:
        advisory = json.loads(text)
        if isinstance(advisory["id"], str) and advisory.get("schema_version", "1").startswith("1"):
            return dict(advisory)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise CannotAudit(f"{name} is not an advisory in the OSV format, version 1")


def findings(pins: Pins, advisories: Iterable[Advisory]) -> list[Finding]:
    """Whatever is known of these versions. Withdrawn advisories do not count. Raises CannotAudit."""
    found: list[Finding] = []
    for advisory in advisories:
        if advisory.get("withdrawn"):
            continue
        try:
            found += _of_one(pins, advisory)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CannotAudit(f"{advisory['id']} cannot be understood: {type(error).__name__}: {error}") from error
    return sorted(set(found))


def _of_one(pins: Pins, advisory: Advisory) -> Iterator[Finding]:
    for affected in advisory.get("affected", []):
        name = canonicalize_name(affected.get("package", {}).get("name", ""))
        if affected.get("package", {}).get("ecosystem") != "PyPI" or name not in pins:
            continue
        ranges = [part["events"] for part in affected.get("ranges", []) if part["type"] == "ECOSYSTEM"]
        named, fixed = affected.get("versions", []), _fixed(ranges)
        for pin in pins[name]:
            version = Version(pin)
            if _is_named(version, named) or any(_is_within(version, part) for part in ranges):
                later = sorted((each for each in fixed if Version(each) > version), key=Version)
                yield Finding(name, pin, advisory["id"], tuple(advisory.get("aliases", ())), tuple(later))


def _fixed(ranges: Iterable[Iterable[Mapping[str, str]]]) -> set[str]:
    return {event["fixed"] for events in ranges for event in events if "fixed" in event}


def _is_named(version: Version, names: Iterable[str]) -> bool:
    """Whether it is in a list of versions, some of which may be older than the rules for versions."""
    for name in names:
        try:
            if Version(name) == version:
                return True
        except InvalidVersion:
            continue
    return False


def _is_within(version: Version, events: Iterable[Mapping[str, str]]) -> bool:
    """Whether a version is vulnerable by the events of a range, in their order, as OSV's specification has it."""
    vulnerable = False
    for at, kind in sorted(map(_event, events)):
        if kind == "last_affected":
            vulnerable = vulnerable and version <= at
        elif version >= at:
            vulnerable = kind == "introduced"
    return vulnerable


def _event(event: Mapping[str, str]) -> tuple[Version, str]:
    ((kind, at),) = event.items()
    if kind not in ("introduced", "fixed", "last_affected"):
        raise ValueError(f"an event of the kind {kind}")
    return Version(at), kind


def main() -> int:
    """Print what is known of the versions in a lock."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    lock, advisories = map(Path, sys.argv[1:])
    try:
        pins = pins_of(lock.read_text(encoding="utf-8"))
        found = findings(pins, read_advisories(advisories))
    except (CannotAudit, OSError) as error:
        print(f"The audit could not be made: {error}", file=sys.stderr)
        return 2
    for finding in found:
        print(finding)
    print(f"{sum(map(len, pins.values()))} locked versions, {len(found)} known vulnerabilities.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
