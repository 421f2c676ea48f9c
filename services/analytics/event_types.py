"""Event types: a JSON Schema that events must fit, dimensions to break down by, and a value to add up.

A schema comes from a tenant and runs in the worker. So it may hold nothing that takes longer than the schema and
the event are long: no regular expressions, and no references, with which a short schema can ask for endless
work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from pydantic_core import from_json, to_json
from referencing import Registry

from libs.common.contracts.analytics import EventTypeAnswer, EventTypeChange
from libs.common.db import Connection, Database, fetch_within
from services.analytics import locks
from services.analytics.refusals import NotFound, SchemaInvalid
from services.analytics.schema_mistakes import told

SCHEMA_BYTES_AT_MOST = 16 * 1024
FORBIDDEN = frozenset({"$ref", "$dynamicRef", "$recursiveRef", "pattern", "patternProperties", "$schema", "$id"})
"""Keywords that a schema must not have."""
_SUBSCHEMA = frozenset({"items", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "not"})
_SUBSCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED_SUBSCHEMAS = frozenset({"properties", "dependentSchemas", "$defs"})
_UNTYPED: Registry[Any] = Registry()

_COLUMNS = "name, version, schema, dimensions, value, rebuilt = version, created_at"
_PAGE = f"""
SELECT {_COLUMNS} FROM analytics.types WHERE tenant = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3
"""  # noqa: S608 - made of constants
_GET = f"SELECT {_COLUMNS} FROM analytics.types WHERE tenant = $1 AND name = $2"  # noqa: S608
# A schema concerns only events to come; dimensions and value concern what has been counted.
_PUT = f"""
INSERT INTO analytics.types AS t (tenant, name, version, rebuilt, schema, dimensions, value)
VALUES ($1, $2, 1, CASE WHEN $6 THEN 0 ELSE 1 END, $3::text::jsonb, $4, $5)
ON CONFLICT (tenant, name) DO UPDATE SET
  schema = excluded.schema, dimensions = excluded.dimensions, value = excluded.value, version = t.version + 1,
  rebuilt = CASE WHEN t.rebuilt = t.version AND t.dimensions = excluded.dimensions
    AND t.value IS NOT DISTINCT FROM excluded.value THEN t.version + 1 ELSE t.rebuilt END, created_at = now()
  WHERE (t.schema, t.dimensions, t.value) IS DISTINCT FROM (excluded.schema, excluded.dimensions, excluded.value)
RETURNING {_COLUMNS}
"""  # noqa: S608
_COUNTED = "SELECT EXISTS (SELECT FROM analytics.rollups WHERE tenant = $1 AND name = $2)"
_KNOWN = "SELECT name, version, schema FROM analytics.types WHERE tenant = $1 AND name = ANY($2::text[])"


@dataclass(frozen=True, slots=True)
class EventType:
    """What an event must be to count. `schema` is JSON text."""

    version: int
    schema: str | None


async def known_within(connection: Connection, tenant: str, names: Sequence[str]) -> dict[str, EventType]:
    """The types that there are among `names`."""
    return _types(await fetch_within(connection, _KNOWN, tenant, names))


async def known(database: Database, tenant: str, names: Sequence[str]) -> dict[str, EventType]:
    """The types that there are among `names`. Raises Unavailable."""
    return _types(await database.fetch(_KNOWN, tenant, names, tenant=tenant))


def _types(rows: Sequence[Any]) -> dict[str, EventType]:
    return {row[0]: EventType(row[1], None if row[2] is None else _text(row[2])) for row in rows}


def _text(document: Any) -> str:
    return document if isinstance(document, str) else to_json(document).decode()


def violation(schema: str, properties: str) -> str | None:
    """What is wrong with `properties` by `schema`, both JSON text; None: nothing."""
    error = next(iter(_validator(schema).iter_errors(from_json(properties))), None)
    return None if error is None else told(error)


@lru_cache(maxsize=1000)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(from_json(schema), registry=_UNTYPED)


def check_schema(schema: dict[str, Any]) -> None:
    """Raises SchemaInvalid."""
    if len(to_json(schema)) > SCHEMA_BYTES_AT_MOST:
        raise SchemaInvalid(f"The schema has more than {SCHEMA_BYTES_AT_MOST} bytes.")
    _refuse_keywords(schema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SchemaInvalid(told(error)) from error
    except RecursionError as error:
        raise SchemaInvalid("The schema is nested too deeply.") from error


def _refuse_keywords(schema: Any) -> None:
    """A name is a keyword only where a schema is: properties may have any name."""
    if not isinstance(schema, dict):
        return
    if forbidden := FORBIDDEN & schema.keys():
        raise SchemaInvalid(f"{', '.join(sorted(forbidden))} cannot be used here.")
    for name, value in schema.items():
        if name in _SUBSCHEMA or name.startswith("unevaluated"):
            _refuse_keywords(value)
        elif name in _SUBSCHEMAS and isinstance(value, list):
            for each in value:
                _refuse_keywords(each)
        elif name in _NAMED_SUBSCHEMAS and isinstance(value, dict):
            for each in value.values():
                _refuse_keywords(each)


async def put(database: Database, tenant: str, change: EventTypeChange) -> EventTypeAnswer:
    """Store a type, as a new version if it differs. Raises SchemaInvalid, Unavailable.

    It waits until no job counts events of the tenant, so that each counts all of its events by one version.
    """
    if change.schema_ is not None:
        check_schema(change.schema_)
    schema = None if change.schema_ is None else to_json(change.schema_).decode()
    dimensions = list(dict.fromkeys(change.dimensions))
    async with database.begin(tenant=tenant) as connection:
        await locks.keep_out_all(connection, tenant)
        ((counted,),) = await fetch_within(connection, _COUNTED, tenant, change.name)
        recount = counted and bool(dimensions or change.value)
        rows = await fetch_within(
            connection, _PUT, tenant, change.name, schema, dimensions, change.value, recount
        ) or await fetch_within(connection, _GET, tenant, change.name)
    return _answer(rows[0])


async def get(database: Database, tenant: str, name: str) -> EventTypeAnswer:
    """Return a type. Raises NotFound, Unavailable."""
    rows = await database.fetch(_GET, tenant, name, tenant=tenant)
    if not rows:
        raise NotFound
    return _answer(rows[0])


async def page(database: Database, tenant: str, *, after: str | None, limit: int) -> list[EventTypeAnswer]:
    """Types in the order of their names, from the first after `after`. Raises Unavailable."""
    return [_answer(row) for row in await database.fetch(_PAGE, tenant, after, limit, tenant=tenant)]


def _answer(row: Any) -> EventTypeAnswer:
    name, version, schema, dimensions, value, rebuilt, created_at = row
    return EventTypeAnswer(
        name=name,
        version=version,
        schema_=from_json(schema) if isinstance(schema, str) else schema,
        dimensions=dimensions,
        value=value,
        rebuilt=rebuilt,
        created_at=created_at,
    )
