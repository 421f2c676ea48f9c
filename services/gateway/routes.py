"""All operations of the API: the scope each needs, its limits, its request and its responses."""

from libs.common.contracts.analytics import EventTypeAnswer, QueryAnswer
from libs.common.contracts.sync import SourceAnswer
from services.gateway.endpoints.analytics import (
    AnalyticsQuery,
    ErasureQuery,
    ReportSubmission,
    erase_subject,
    query_events,
    submit_report,
)
from services.gateway.endpoints.artifacts import download
from services.gateway.endpoints.documents import show_docs, show_openapi, show_root
from services.gateway.endpoints.event_bodies import CloudEvents, EventSubmission
from services.gateway.endpoints.event_types import (
    NewEventType,
    list_event_types,
    put_event_type,
    show_event_type,
)
from services.gateway.endpoints.events import (
    EventReplay,
    RejectedListQuery,
    list_rejected,
    replay_rejected,
    submit_events,
)
from services.gateway.endpoints.exports import ExportSubmission, list_datasets, submit_export
from services.gateway.endpoints.health import alive, ready
from services.gateway.endpoints.job_actions import (
    BulkCancel,
    BulkRetry,
    Retry,
    RetryQuery,
    cancel_job,
    cancel_jobs,
    cancel_replay,
    remove_job,
    retry_job,
    retry_jobs,
    show_replay,
)
from services.gateway.endpoints.job_events import follow_job
from services.gateway.endpoints.job_why import explain_job
from services.gateway.endpoints.jobs import JobListQuery, PageQuery, list_children, list_jobs, show_job
from services.gateway.endpoints.keys import (
    KeyListQuery,
    KeyRotation,
    NewKey,
    create_key,
    list_keys,
    revoke_key,
    rotate_key,
)
from services.gateway.endpoints.letters import MailSubmission
from services.gateway.endpoints.limits import (
    TenantLimitsUpdate,
    set_tenant_limits,
    show_limits,
    show_tenant_limits,
)
from services.gateway.endpoints.links import NewLink, create_link, download_by_link
from services.gateway.endpoints.mail import (
    RecipientListQuery,
    list_recipients,
    show_unsubscribe,
    submit_mail,
    unsubscribe,
)
from services.gateway.endpoints.mail_deadlines import (
    NewDeadline,
    list_deadlines,
    put_deadline,
    remove_deadline,
    show_deadline,
)
from services.gateway.endpoints.ocr import OcrSubmission, submit_ocr
from services.gateway.endpoints.opportunities import (
    ChangeListQuery,
    HistoryQuery,
    OpportunityMatch,
    OpportunityQuery,
    list_changes,
    list_history,
    match_opportunities,
    search_opportunities,
    show_opportunity,
)
from services.gateway.endpoints.queues import QueueCapsUpdate, cap_queue, list_queues, pause_queue, resume_queue
from services.gateway.endpoints.schedules import (
    NewSchedule,
    ScheduleListQuery,
    ScheduleUpdate,
    change_schedule,
    create_schedule,
    delete_schedule,
    list_schedules,
    run_schedule,
    show_schedule,
)
from services.gateway.endpoints.searches import (
    NewSearch,
    list_searches,
    put_search,
    remove_search,
    show_search,
)
from services.gateway.endpoints.service_client import NamePageQuery
from services.gateway.endpoints.sign_in import SignIn, sign_in
from services.gateway.endpoints.sources import (
    NewSource,
    RejectedReplay,
    SourcePreview,
    SourceRejectedQuery,
    delete_source,
    list_rejected_records,
    list_sources,
    preview_source,
    put_source,
    replay_rejected_records,
    show_source,
)
from services.gateway.endpoints.submission import JOINED
from services.gateway.endpoints.suppressions import (
    NewSuppressions,
    SuppressionListQuery,
    add_suppressions,
    list_suppressions,
    remove_suppression,
)
from services.gateway.endpoints.sync_runs import SyncSubmission, submit_run
from services.gateway.endpoints.templates import (
    NewTemplate,
    Preview,
    list_templates,
    preview_mail,
    put_template,
    show_template,
)
from services.gateway.http import analytics_schemas as a
from services.gateway.http import export_schemas as e
from services.gateway.http import opportunity_schemas as o
from services.gateway.http import schemas as d
from services.gateway.http import source_schemas as s
from services.gateway.http.admission import EVERY_REQUEST
from services.gateway.http.idempotency import MAX_AGE, REPLAYED
from services.gateway.http.load_shedding import Urgency
from services.gateway.http.operations import FILE, NO_CONTENT, PAGE, Answer, Operation
from services.gateway.identity.scopes import Scope as S
from services.gateway.problems import (
    Conflict,
    Gone,
    IdempotencyMismatch,
    NotFound,
    RangeNotSatisfiable,
    StorageUnavailable,
    TooManyKeys,
)

MADE = ("Location", REPLAYED, MAX_AGE)
"""Header fields of an answer with something that was made, now or before."""
SUBMIT = {status: Answer(d.Job, headers=(*MADE, JOINED, "Preference-Applied")) for status in (200, 202)}
SUBMIT_HEADERS = ("Idempotency-Key", "Prefer")
ONCE = ("Idempotency-Key",)
SUBMIT_WITHIN_S = 900.0
"""Seconds. An upload may be slow (see admission.py), and the caller may wait a minute for the job."""


def _op(method: str, path: str, endpoint: object, scope: S | None, **rest: object) -> Operation:
    return Operation(method=method, path=path, endpoint=endpoint, scope=scope, **rest)  # type: ignore[arg-type]


OPERATIONS = (
    _op("POST", "/v1/ocr", submit_ocr, S.OCR_WRITE, limits=("ocr", "uploads"), urgency=Urgency.SUBMIT,
        multipart=OcrSubmission, headers=SUBMIT_HEADERS, deadline_s=SUBMIT_WITHIN_S, answers=SUBMIT,
        problems=(Conflict, IdempotencyMismatch, StorageUnavailable)),
    _op("POST", "/v1/mail", submit_mail, S.MAIL_WRITE, urgency=Urgency.SUBMIT, body=MailSubmission,
        headers=SUBMIT_HEADERS, deadline_s=120.0, answers=SUBMIT,
        problems=(Conflict, IdempotencyMismatch, StorageUnavailable)),
    _op("POST", "/v1/mail/preview", preview_mail, S.MAIL_WRITE, body=Preview,
        answers={200: Answer(d.RenderedTemplate)}),
    _op("GET", "/v1/mail/{id}/recipients", list_recipients, S.MAIL_READ, query=RecipientListQuery,
        answers={200: Answer(d.RecipientPage)}, problems=(NotFound,)),
    _op("GET", "/v1/templates", list_templates, S.MAIL_READ, query=NamePageQuery,
        answers={200: Answer(d.TemplatePage)}),
    _op("GET", "/v1/templates/{name}", show_template, S.MAIL_READ, answers={200: Answer(d.Template)},
        problems=(NotFound,)),
    _op("PUT", "/v1/templates/{name}", put_template, S.MAIL_WRITE, body=NewTemplate,
        answers={200: Answer(d.Template)}, problems=(Conflict,)),
    _op("GET", "/v1/suppressions", list_suppressions, S.MAIL_READ, query=SuppressionListQuery,
        answers={200: Answer(d.SuppressionPage)}),
    _op("POST", "/v1/suppressions", add_suppressions, S.MAIL_WRITE, body=NewSuppressions,
        answers={200: Answer(d.SuppressionsAdded)}),
    _op("DELETE", "/v1/suppressions/{address}", remove_suppression, S.MAIL_WRITE, answers={204: NO_CONTENT},
        problems=(NotFound,)),
    _op("GET", "/v1/deadlines", list_deadlines, S.MAIL_READ, query=NamePageQuery,
        answers={200: Answer(d.DeadlinePage)}),
    _op("GET", "/v1/deadlines/{name}", show_deadline, S.MAIL_READ, answers={200: Answer(d.Deadline)},
        problems=(NotFound,)),
    _op("PUT", "/v1/deadlines/{name}", put_deadline, S.MAIL_WRITE, body=NewDeadline,
        answers={200: Answer(d.Deadline)}, problems=(NotFound, Conflict)),
    _op("DELETE", "/v1/deadlines/{name}", remove_deadline, S.MAIL_WRITE, answers={204: NO_CONTENT},
        problems=(NotFound,)),
    _op("GET", "/v1/unsubscribe/{token}", show_unsubscribe, None, limits=EVERY_REQUEST,
        answers={200: PAGE}, problems=(NotFound,)),
    _op("POST", "/v1/unsubscribe/{token}", unsubscribe, None, limits=EVERY_REQUEST,
        answers={200: PAGE}, problems=(NotFound,)),
    _op("POST", "/v1/events", submit_events, S.EVENTS_WRITE, limits=("events",),
        public_limits=("events-ip", "events-tenant"), urgency=Urgency.SUBMIT, body=EventSubmission,
        other_bodies={"application/x-ndjson": None, "application/cloudevents-batch+json": CloudEvents},
        answers={202: Answer(a.EventsAccepted, headers=("Location",))}),
    _op("GET", "/v1/events/rejected", list_rejected, S.EVENTS_READ, query=RejectedListQuery,
        answers={200: Answer(a.RejectedEvents)}),
    _op("POST", "/v1/events/rejected/replay", replay_rejected, S.EVENTS_MANAGE, urgency=Urgency.SUBMIT,
        body=EventReplay, headers=SUBMIT_HEADERS, deadline_s=75.0, answers=SUBMIT,
        problems=(Conflict, IdempotencyMismatch)),
    _op("GET", "/v1/event-types", list_event_types, S.EVENTS_READ, query=NamePageQuery,
        answers={200: Answer(a.EventTypePage)}),
    _op("GET", "/v1/event-types/{name}", show_event_type, S.EVENTS_READ, answers={200: Answer(EventTypeAnswer)},
        problems=(NotFound,)),
    _op("PUT", "/v1/event-types/{name}", put_event_type, S.EVENTS_MANAGE, body=NewEventType,
        answers={200: Answer(EventTypeAnswer, headers=("Location",))}),
    _op("POST", "/v1/analytics/query", query_events, S.EVENTS_READ, limits=("search",), body=AnalyticsQuery,
        answers={200: Answer(QueryAnswer)}),
    _op("POST", "/v1/analytics/reports", submit_report, S.EVENTS_READ, limits=("search",), urgency=Urgency.SUBMIT,
        body=ReportSubmission, headers=SUBMIT_HEADERS, deadline_s=75.0, answers=SUBMIT,
        problems=(Conflict, IdempotencyMismatch)),
    _op("DELETE", "/v1/subjects/{subject}", erase_subject, S.EVENTS_MANAGE, urgency=Urgency.SUBMIT,
        query=ErasureQuery, headers=SUBMIT_HEADERS, deadline_s=75.0, answers=SUBMIT,
        problems=(Conflict, IdempotencyMismatch)),
    _op("GET", "/v1/sources", list_sources, S.SYNC_READ, query=NamePageQuery, answers={200: Answer(s.SourcePage)}),
    _op("GET", "/v1/sources/{name}", show_source, S.SYNC_READ, answers={200: Answer(SourceAnswer)},
        problems=(NotFound,)),
    _op("PUT", "/v1/sources/{name}", put_source, S.SYNC_WRITE, body=NewSource,
        answers={200: Answer(SourceAnswer, headers=("Location",))}, problems=(Conflict,)),
    _op("DELETE", "/v1/sources/{name}", delete_source, S.SYNC_WRITE, answers={204: NO_CONTENT},
        problems=(NotFound, Conflict)),
    _op("POST", "/v1/sources/{name}/preview", preview_source, S.SYNC_WRITE, limits=("ai",),
        urgency=Urgency.SUBMIT, body=SourcePreview, headers=SUBMIT_HEADERS, deadline_s=75.0, answers=SUBMIT,
        problems=(NotFound, Conflict, IdempotencyMismatch)),
    _op("GET", "/v1/sources/{name}/rejected", list_rejected_records, S.SYNC_READ, query=SourceRejectedQuery,
        answers={200: Answer(s.RejectedRecords)}, problems=(NotFound,)),
    _op("POST", "/v1/sources/{name}/rejected/replay", replay_rejected_records, S.SYNC_WRITE,
        urgency=Urgency.SUBMIT, body=RejectedReplay, headers=SUBMIT_HEADERS, deadline_s=75.0, answers=SUBMIT,
        problems=(NotFound, Conflict, IdempotencyMismatch)),
    _op("POST", "/v1/sync", submit_run, S.SYNC_WRITE, urgency=Urgency.SUBMIT, body=SyncSubmission,
        headers=SUBMIT_HEADERS, deadline_s=75.0, answers=SUBMIT, problems=(Conflict, IdempotencyMismatch)),
    _op("GET", "/v1/opportunities", search_opportunities, S.SYNC_READ, limits=("search",), query=OpportunityQuery,
        answers={200: Answer(o.OpportunityPage)}),
    _op("POST", "/v1/opportunities/match", match_opportunities, S.SYNC_READ, limits=("ai",), body=OpportunityMatch,
        answers={200: Answer(o.Matches)}),
    _op("GET", "/v1/changes", list_changes, S.SYNC_READ, limits=("search",), query=ChangeListQuery,
        deadline_s=45.0, answers={200: Answer(o.ChangePage)}, problems=(Gone,)),
    _op("GET", "/v1/opportunities/{id}", show_opportunity, S.SYNC_READ, limits=("search",),
        answers={200: Answer(o.OpportunityWithRaw)}, problems=(NotFound,)),
    _op("GET", "/v1/opportunities/{id}/history", list_history, S.SYNC_READ, limits=("search",),
        query=HistoryQuery, answers={200: Answer(o.History)}, problems=(NotFound,)),
    _op("GET", "/v1/searches", list_searches, S.SYNC_READ, query=NamePageQuery,
        answers={200: Answer(o.SavedSearches)}),
    _op("GET", "/v1/searches/{name}", show_search, S.SYNC_READ, answers={200: Answer(o.SavedSearch)},
        problems=(NotFound,)),
    _op("PUT", "/v1/searches/{name}", put_search, S.SYNC_WRITE, body=NewSearch,
        answers={200: Answer(o.SavedSearch)}, problems=(Conflict,)),
    _op("DELETE", "/v1/searches/{name}", remove_search, S.SYNC_WRITE, answers={204: NO_CONTENT},
        problems=(NotFound,)),
    _op("GET", "/v1/datasets", list_datasets, S.EXPORTS_WRITE, answers={200: Answer(e.DatasetList)}),
    _op("POST", "/v1/exports", submit_export, S.EXPORTS_WRITE, limits=("exports",), urgency=Urgency.SUBMIT,
        body=ExportSubmission, headers=SUBMIT_HEADERS, deadline_s=75.0, answers=SUBMIT,
        problems=(Conflict, IdempotencyMismatch)),
    _op("GET", "/v1/download/{token}", download_by_link, None, limits=EVERY_REQUEST, deadline_s=None,
        answers=FILE,
        problems=(NotFound, RangeNotSatisfiable, StorageUnavailable)),
    _op("GET", "/v1/jobs", list_jobs, S.JOBS_READ, limits=("search",), query=JobListQuery,
        answers={200: Answer(d.JobPage)}),
    _op("POST", "/v1/jobs/cancel", cancel_jobs, S.JOBS_WRITE, body=BulkCancel, deadline_s=60.0,
        answers={200: Answer(d.MatchCount | d.CancelResult), 202: Answer(d.CancelResult)}),
    _op("POST", "/v1/jobs/retry", retry_jobs, S.JOBS_WRITE, body=BulkRetry, headers=ONCE,
        answers={200: Answer(d.MatchCount | d.NothingToRetry), 202: Answer(d.Replay, headers=MADE)},
        problems=(Conflict, IdempotencyMismatch)),
    _op("GET", "/v1/jobs/{id}", show_job, S.JOBS_READ, urgency=Urgency.STATUS,
        answers={200: Answer(d.JobWithErrors, headers=("ETag",)), 304: NO_CONTENT}, problems=(NotFound,)),
    _op("DELETE", "/v1/jobs/{id}", remove_job, S.JOBS_WRITE, deadline_s=75.0, answers={204: NO_CONTENT},
        problems=(NotFound, Conflict)),
    _op("GET", "/v1/jobs/{id}/artifacts/{name}", download, S.JOBS_READ, deadline_s=None,
        answers=FILE,
        problems=(NotFound, RangeNotSatisfiable, StorageUnavailable)),
    _op("POST", "/v1/jobs/{id}/artifacts/{name}/link", create_link, S.JOBS_READ, body=NewLink,
        answers={201: Answer(e.FileLink)}, problems=(NotFound,)),
    _op("POST", "/v1/jobs/{id}/cancel", cancel_job, S.JOBS_WRITE, urgency=Urgency.STATUS,
        answers={200: Answer(d.Job), 202: Answer(d.Job)}, problems=(NotFound, Conflict)),
    _op("GET", "/v1/jobs/{id}/children", list_children, S.JOBS_READ, query=PageQuery,
        answers={200: Answer(d.JobPage)}, problems=(NotFound,)),
    _op("GET", "/v1/jobs/{id}/events", follow_job, S.JOBS_READ, limits=("api", "streams"),
        reconnect_limits=("reconnects", "streams"), urgency=Urgency.STATUS, headers=("Last-Event-ID",),
        deadline_s=None, answers={200: Answer(media_types=("text/event-stream",)), 204: NO_CONTENT},
        problems=(NotFound,)),
    _op("POST", "/v1/jobs/{id}/retry", retry_job, S.JOBS_WRITE, query=RetryQuery, body=Retry, body_required=False,
        answers={202: Answer(d.Job)}, problems=(NotFound, Conflict)),
    _op("GET", "/v1/jobs/{id}/why", explain_job, S.JOBS_READ, urgency=Urgency.STATUS,
        answers={200: Answer(d.Explanation)}, problems=(NotFound,)),
    _op("GET", "/v1/replays/{id}", show_replay, S.JOBS_READ, answers={200: Answer(d.Replay)},
        problems=(NotFound,)),
    _op("POST", "/v1/replays/{id}/cancel", cancel_replay, S.JOBS_WRITE, answers={200: Answer(d.Replay)},
        problems=(NotFound, Conflict)),
    _op("GET", "/v1/schedules", list_schedules, S.SCHEDULES_READ, query=ScheduleListQuery,
        answers={200: Answer(d.SchedulePage)}),
    _op("POST", "/v1/schedules", create_schedule, S.SCHEDULES_WRITE, body=NewSchedule, headers=ONCE,
        deadline_s=60.0, answers={201: Answer(d.Schedule, headers=MADE)},
        problems=(Conflict, IdempotencyMismatch, StorageUnavailable)),
    _op("GET", "/v1/schedules/{id}", show_schedule, S.SCHEDULES_READ, answers={200: Answer(d.Schedule)},
        problems=(NotFound,)),
    _op("PATCH", "/v1/schedules/{id}", change_schedule, S.SCHEDULES_WRITE, body=ScheduleUpdate,
        answers={200: Answer(d.Schedule)}, problems=(NotFound,)),
    _op("DELETE", "/v1/schedules/{id}", delete_schedule, S.SCHEDULES_WRITE, answers={204: NO_CONTENT},
        problems=(NotFound,)),
    _op("POST", "/v1/schedules/{id}/run", run_schedule, S.SCHEDULES_WRITE, urgency=Urgency.SUBMIT,
        headers=SUBMIT_HEADERS, deadline_s=75.0, answers=SUBMIT,
        problems=(NotFound, Conflict, IdempotencyMismatch)),
    _op("GET", "/v1/limits", show_limits, S.LIMITS_READ, limits=(), urgency=Urgency.STATUS,
        answers={200: Answer(d.LimitList)}),
    _op("POST", "/v1/auth/token", sign_in, None, limits=EVERY_REQUEST, body=SignIn, answers={200: Answer(d.Token)},
        problems=(NotFound,)),
    _op("GET", "/v1/keys", list_keys, S.KEYS_READ, query=KeyListQuery, answers={200: Answer(d.KeyPage)}),
    _op("POST", "/v1/keys", create_key, S.KEYS_WRITE, body=NewKey, headers=ONCE,
        answers={201: Answer(d.IssuedKey, headers=MADE)},
        problems=(Conflict, TooManyKeys, IdempotencyMismatch)),
    _op("DELETE", "/v1/keys/{id}", revoke_key, S.KEYS_WRITE, answers={204: NO_CONTENT}, problems=(NotFound,)),
    _op("POST", "/v1/keys/{id}/rotate", rotate_key, S.KEYS_WRITE, body=KeyRotation, headers=ONCE,
        answers={201: Answer(d.IssuedKey, headers=MADE)},
        problems=(NotFound, Conflict, TooManyKeys, IdempotencyMismatch)),
    _op("GET", "/v1/queues", list_queues, S.QUEUES_READ, answers={200: Answer(d.QueueList)}),
    _op("PATCH", "/v1/queues/{name}", cap_queue, S.QUEUES_WRITE, body=QueueCapsUpdate,
        answers={200: Answer(d.Queue)}, problems=(NotFound,)),
    _op("POST", "/v1/queues/{name}/pause", pause_queue, S.QUEUES_WRITE, answers={200: Answer(d.Queue)},
        problems=(NotFound,)),
    _op("POST", "/v1/queues/{name}/resume", resume_queue, S.QUEUES_WRITE, answers={200: Answer(d.Queue)},
        problems=(NotFound,)),
    _op("GET", "/v1/tenants/{id}/limits", show_tenant_limits, S.TENANTS_READ,
        answers={200: Answer(d.TenantLimits)}, problems=(NotFound,)),
    _op("PUT", "/v1/tenants/{id}/limits", set_tenant_limits, S.TENANTS_WRITE, body=TenantLimitsUpdate,
        answers={200: Answer(d.TenantLimits)}, problems=(NotFound,)),
)  # fmt: skip

PUBLIC_OPERATIONS = (
    _op("GET", "/livez", alive, None, limits=("probes",), urgency=None),
    _op("GET", "/readyz", ready, None, limits=("probes",), urgency=None),
    _op("GET", "/", show_root, None, limits=EVERY_REQUEST),
    _op("GET", "/openapi.json", show_openapi, None, limits=EVERY_REQUEST),
    _op("GET", "/docs", show_docs, None, limits=EVERY_REQUEST),
)
"""Open to everybody, without data of a tenant, and not in /openapi.json. Probes have a limit of their own: a load
balancer must not take a gateway for dead because it is busy, or because other calls are used up."""
