"""Stored templates, in versions. The texts are copied into a letter when its job first runs."""

from typing import Any

from libs.common.contracts.mail import Letter
from libs.common.db import Database
from services.mailer.refusals import TemplateMissing

_PUT = """
INSERT INTO mail.templates (tenant, name, version, subject, text, html)
SELECT $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5 FROM mail.templates WHERE tenant = $1 AND name = $2
ON CONFLICT DO NOTHING RETURNING version
"""
_GET = """
SELECT name, version, subject, text, html, created_at FROM mail.templates
WHERE tenant = $1 AND name = $2 AND ($3::int IS NULL OR version = $3) ORDER BY version DESC LIMIT 1
"""
_LIST = """
SELECT DISTINCT ON (name) name, version, subject, created_at FROM mail.templates
WHERE tenant = $1 AND name > $2 ORDER BY name, version DESC LIMIT $3
"""
_COLUMNS = ("name", "version", "subject", "text", "html", "created_at")
_LISTED_COLUMNS = ("name", "version", "subject", "created_at")


async def put(
    database: Database, tenant: str, name: str, *, subject: str, text: str | None, html: str | None
) -> int:
    """Store a new version of a template. Returns its number, from 1. Raises Unavailable."""
    while True:  # repeated if another request has taken the same number
        rows = await database.fetch(_PUT, tenant, name, subject, text, html, tenant=tenant)
        if rows:
            return int(rows[0][0])


async def get(database: Database, tenant: str, reference: str) -> dict[str, Any]:
    """Get a template. `reference`: `name` (the last version) or `name@3`. Raises TemplateMissing, Unavailable."""
    name, _, version = reference.partition("@")
    rows = await database.fetch(_GET, tenant, name, int(version) if version else None, tenant=tenant)
    if not rows:
        raise TemplateMissing(f"There is no template {reference}.")
    return dict(zip(_COLUMNS, rows[0], strict=True))


async def resolve(database: Database, tenant: str, letter: Letter) -> Letter:
    """Return the letter with the texts of the template it names, if any. Raises TemplateMissing, Unavailable."""
    if letter.template is None:
        return letter
    template = await get(database, tenant, letter.template)
    return letter.model_copy(update={name: template[name] for name in ("subject", "text", "html")})


async def page(database: Database, tenant: str, *, after: str, limit: int) -> list[dict[str, Any]]:
    """List the last versions without texts, by name, from the first after `after`. Raises Unavailable."""
    rows = await database.fetch(_LIST, tenant, after, limit, tenant=tenant)
    return [dict(zip(_LISTED_COLUMNS, row, strict=True)) for row in rows]
