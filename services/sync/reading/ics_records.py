"""Records of iCalendar: events and to-dos, each parsed by itself, so that a bad one costs no other.

Time zones are parsed first: icalendar remembers them by their names.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

from icalendar import Component, Event, Timezone, Todo, vBroken

from libs.common.contracts.sync import SourceSpec
from services.sync.reading.answers import About, Found, text_of, unreadable
from services.sync.reading.mapping import Unreadable

WANTED = {"VEVENT": Event, "VTODO": Todo}
_FOLD = re.compile(r"\r?\n[ \t]")
_LINE_END = re.compile(r"\r\n|\n|\r")
TEXTS = ("summary", "description", "location", "status", "url", "organizer", "contact", "class")
_MAILTO = re.compile(r"^mailto:", re.IGNORECASE)


def ics_records(body: bytes, spec: SourceSpec, about: About) -> Found:
    """The events and to-dos of a calendar. Raises UnreadableBody."""
    text = text_of(body, about)
    if not re.search(r"^BEGIN:V(CALENDAR|EVENT|TODO|JOURNAL|TIMEZONE|FREEBUSY)\b", text, re.I | re.M):
        raise unreadable(body, "This is not a calendar.")
    lines = _LINE_END.split(_FOLD.sub("", text))
    for block in _blocks(lines, {"VTIMEZONE": Timezone}):
        _component(*block)
    return Found(_record(*block) for block in _blocks(lines, WANTED))


Block = tuple[type[Component], list[str]]


def _blocks(lines: list[str], wanted: dict[str, type[Component]]) -> Iterator[Block]:
    """The lines of each component of these names, with all that is in it."""
    block, depth = list[str](), 0
    kind: type[Component] = Event
    for line in lines:
        word, _, name = line.strip().upper().partition(":")
        if not block:
            if word == "BEGIN" and name in wanted:
                kind, block, depth = wanted[name], [line], 1
            continue
        if word == "BEGIN" and name in wanted:  # the one before it has no end
            yield kind, block
            kind, block, depth = wanted[name], [line], 1
            continue
        block.append(line)
        depth += 1 if word == "BEGIN" else -1 if word == "END" else 0
        if depth == 0:
            yield kind, block
            block = []
    if block:
        yield kind, block


def _component(kind: type[Component], lines: list[str]) -> Component | None:
    """What the lines say. Properties that cannot be read are left out. None: it cannot be read at all."""
    try:
        found = kind.from_ical("\r\n".join((*lines, "")))
    except Exception:
        return None
    return found if isinstance(found, kind) else None


def _record(kind: type[Component], lines: list[str]) -> Any:
    component = _component(kind, lines)
    if component is None:
        return Unreadable("\n".join(lines))
    try:
        return _described(component)
    except Exception:
        return Unreadable("\n".join(lines))


def _described(component: Component) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name in TEXTS:
        if (value := _first(component.get(name))) is not None:
            record[name] = _MAILTO.sub("", str(value))
    organizer = _first(component.get("organizer"))
    if organizer is not None and getattr(organizer, "params", {}).get("CN"):
        record["organizer"] = str(organizer.params["CN"])
    if categories := _categories(component):
        record["categories"] = categories
    if rule := component.get("rrule"):
        record["rrule"] = rule.to_ical().decode(errors="replace") if not isinstance(rule, list) else str(rule)
    record |= _dates(component)
    uid, of_one = _first(component.get("uid")), record.get("recurrence_id")
    if uid is not None:
        record["uid"] = str(uid)
        record["id"] = f"{uid}/{of_one}" if of_one else str(uid)
    return record


def _dates(component: Component) -> dict[str, str]:
    """As ISO 8601; what cannot be read, as it is. `end` of days is the last one: in a calendar, the day after."""
    names = {"start": "dtstart", "due": "due", "created": "created", "last_modified": "last-modified"}
    found = {name: _date(component, its) for name, its in (names | {"recurrence_id": "recurrence-id"}).items()}
    with suppress(OverflowError):  # a duration of thousands of years
        found["end"] = _end(component, found["start"])
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in found.items()
        if value is not None
    }


def _end(component: Component, start: date | str | None) -> date | str | None:
    end = _date(component, "dtend")
    if end is None and isinstance(start, date):
        duration = _value(component, "duration")
        end = start + duration if isinstance(duration, timedelta) else None
    if not isinstance(end, date) or isinstance(end, datetime):
        return end
    last = end - timedelta(days=1)
    return last if not isinstance(start, date) or isinstance(start, datetime) else max(last, start)


def _date(component: Component, name: str) -> date | str | None:
    found = _value(component, name)
    return found if found is None or isinstance(found, date) else str(found)


def _value(component: Component, name: str) -> Any:
    """Of a property with a date, a time or a duration; if it cannot be read, its text."""
    found = _first(component.get(name))
    return str(found) if isinstance(found, vBroken) else getattr(found, "dt", None)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _categories(component: Component) -> list[str]:
    found = component.get("categories")
    groups = found if isinstance(found, list) else [found]
    return [str(one) for group in groups for one in getattr(group, "cats", ())]
