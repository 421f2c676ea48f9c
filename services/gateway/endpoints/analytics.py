"""/v1/analytics: questions about events, answered at once or by a job; and /v1/subjects, which forgets people."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.analytics import ErasePayload, Funnel, Query, ReportPayload, Retention
from libs.common.contracts.services import ANALYTICS
from services.gateway.endpoints.analytics_jobs import submit_analytics
from services.gateway.endpoints.service_client import call_service
from services.gateway.endpoints.submission import JobFields
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.problems import invalid_fields


class AnalyticsQuery(Query):
    """The body of POST /v1/analytics/query."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "measure": "count",
                    "event": "apply",
                    "from": "2026-11-01",
                    "to": "2026-12-01",
                    "by": "day",
                    "time_zone": "Europe/Berlin",
                    "breakdown": "page",
                    "top": 10,
                }
            ]
        }
    )


class FunnelSubmission(Funnel, JobFields):
    """A funnel, and the fields of its job."""


class RetentionSubmission(Retention, JobFields):
    """Retention, and the fields of its job."""


class ReportSubmission(
    RootModel[Annotated[FunnelSubmission | RetentionSubmission, Field(discriminator="report")]]
):
    """The body of POST /v1/analytics/reports."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "report": "funnel",
                    "steps": ["view", "click", "apply"],
                    "within_s": 604800,
                    "from": "2026-11-01",
                    "to": "2026-12-01",
                }
            ]
        }
    )


class ErasureQuery(BaseModel):
    """The query of DELETE /v1/subjects/{subject}."""

    model_config = ConfigDict(extra="forbid")

    rebuild: bool = False
    """Also take the subject's events out of the numbers, as far as events are kept."""


async def query_events(request: Request) -> Response:
    """Count events over time, add up their values, or count different subjects, at once.

    An event that nobody has sent has the number 0. `exact` says whether the numbers are exact; otherwise `error`
    is their standard error. A range of days is widened to whole buckets.
    """
    query = await read_json(request, AnalyticsQuery)
    arguments = query.model_dump(mode="json", by_alias=True)
    return json_response(await call_service(request, ANALYTICS.name, "query", arguments))


async def submit_report(request: Request) -> Response:
    """Compute a funnel or retention from the events themselves, in a job; with `csv`, also as a file."""
    submission = (await read_json(request, ReportSubmission)).root
    fields = JobFields(**submission.model_dump(include=set(JobFields.model_fields)))
    asked = submission.model_dump(mode="json", by_alias=True, exclude=set(JobFields.model_fields))
    payload = ReportPayload.model_validate({"request": asked})
    text = payload.model_dump_json(by_alias=True).encode()
    return await submit_analytics(
        request, fields, "report", text, submission.model_dump_json(by_alias=True).encode()
    )


async def erase_subject(request: Request) -> Response:
    """Erase all events of a person, in a job, and keep out copies of them that come later.

    Numbers stay as they are, because they name nobody; with `rebuild` they are counted anew without the person.
    """
    wanted = read_query(request, ErasureQuery)
    try:
        payload = ErasePayload(subject=request.path_params["subject"], rebuild=wanted.rebuild)
    except ValidationError as error:
        raise invalid_fields(error, within="path") from error
    text = payload.model_dump_json().encode()
    return await submit_analytics(request, JobFields(), "erase", text, text)
