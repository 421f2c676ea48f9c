"""What the fields, parameters and header fields of the API mean, in words, for /openapi.json.

The docstring of a field tells best, because it stands beside it. Where there is none, a name has one meaning in
the whole API, which is in FIELDS; `Limit.limit` is that of one schema. Times are RFC 3339 in UTC.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from inspect import cleandoc, getsource
from typing import Any

FIELDS = {
    "Artifact.media_type": "Its media type, with the charset of a text.",
    "BulkCancel.dry_run": "Only count the jobs that match; nothing is changed.",
    "BulkCancel.filter": "Which jobs.",
    "BulkRetry.dry_run": "Only count the jobs that match; nothing is changed.",
    "BulkRetry.filter": "Which jobs.",
    "ChangeOfOne.opportunity": "The id of the opportunity that it is of.",
    "Deadline.opportunity": "The id of the opportunity that it follows; null if it has a date of its own.",
    "Deadline.variables": "Variables for the templates of its reminders.",
    "DeadlineSummary.followers": "How many are reminded.",
    "DeadlineSummary.opportunity": "The id of the opportunity that it follows; null if it has a date of its own.",
    "Explanation.code": "The reason, for programs.",
    "Explanation.sentence": "The reason, for people.",
    "Explanation.facts": "What the reason follows from; which facts there are depends on the code.",
    "EventTypeAnswer.value": "The property that is added up; null: none.",
    "InvalidField.code": "What is wrong with it, for programs; docs/errors.md lists the codes.",
    "InvalidField.message": "What is wrong with it, and what it may be, for people.",
    "IssuedKey.key": "The key itself, which is shown only here.",
    "JobFailure.code": "What went wrong, for programs; docs/errors.md lists all codes.",
    "JobFailure.message": "What went wrong, for people.",
    "JobFailure.retryable": "Whether the job was to be tried again after it.",
    "JobFailure.type": "The class of the error in the code.",
    "JobFailure.at": "When the attempt failed.",
    "JobFilter.state": "Only jobs in this state.",
    "JobFilter.tag": "Only jobs with this tag.",
    "JobFilter.queue": "Only jobs of this queue.",
    "JobFilter.kind": "Only jobs of this kind.",
    "JobListQuery.queue": "Only jobs of this queue.",
    "JobListQuery.state": "Only jobs in this state.",
    "JobListQuery.tag": "Only jobs with this tag.",
    "JsonLinkPaging.link": "JMESPath, within the answer: the address of the next page.",
    "Key.name": "What its owner calls it.",
    "Limit.limit": "How many there may be in the window, or at the same time.",
    "LimitList.limits": "The caller's limits.",
    "LimitList.mode": "Who decides: Redis (shared), this gateway by its share (alone), or both (returning).",
    "ListedDataset.since": "Whether an export can have only what an earlier one may lack.",
    "ListedDataset.scope": "The scope that exporting it needs, beside that of exports.",
    "ListedDataset.filters": "By what its rows can be selected.",
    "MatchCount.oldest": "When the oldest of them was created.",
    "MatchCount.newest": "When the newest of them was created.",
    "NewDeadline.followers": "All who are reminded; whoever is not among them is reminded no more.",
    "NewDeadline.add_followers": "Who is reminded from now on, beside those who are already.",
    "NewSchedule.payload": "What a submission to this queue takes, without the fields of a job.",
    "NewSuppressions.reason": "Why they get no mail.",
    "NewSuppressions.expires_at": "Until when they get none; null: for ever.",
    "QueueDepth.queued": "Jobs that are due and wait for a worker.",
    "QueueDepth.running": "Jobs that run.",
    "QueueDepth.scheduled": "Jobs that are not due yet.",
    "QueueDepth.waiting": "Jobs that wait for their children.",
    "RecipientListQuery.state": "Only recipients in this state.",
    "RecipientStatus.code": "The code of the relay's last reply (RFC 5321); null before the first.",
    "RecipientStatus.number": "Its place in the letter, from 0.",
    "RecipientStatus.state": "What has become of the message to it; docs/mail.md lists the states.",
    "RejectedListQuery.reason": "Only events that were rejected for this reason.",
    "RejectedEvent.number": "Its place among the rejected events of the tenant.",
    "RejectedEvent.reason": "Why it does not count.",
    "RejectedRecord.number": "Its place among the rejected records of the source.",
    "RejectedRecord.reason": "Why it did not pass.",
    "RejectedRecord.field": "The field that was wrong; null: the record as a whole.",
    "RenderedTemplate.problem": "Why it cannot be rendered; null if it could.",
    "Replay.filter": "Which jobs it retries.",
    "Replay.jobs": "How many of the released jobs are in each state.",
    "Replay.matched": "How many jobs match its filter.",
    "Replay.reason": "Why it was stopped; null if it was not.",
    "Replay.state": "Whether it still releases jobs, and otherwise why not.",
    "Schedule.payload": "The payload of its jobs.",
    "ScheduleUpdate.paused": "Whether it makes no jobs for now.",
    "Suppression.number": "Its place among the suppressions of the tenant.",
    "Suppression.reason": "Why it gets no mail.",
    "Suppression.expires_at": "Until when it gets none; null: for ever.",
    "SuppressionListQuery.address": "Only this address.",
    "SuppressionsAdded.added": "How many of the addresses were not suppressed before.",
    "TenantLimits.limits": "The tenant's own limits as text, such as `600/min`, by policy.",
    "TenantLimitsUpdate.limits": "All own limits of the tenant as text, such as `600/min`, by policy.",
    "Token.expires_in": "Seconds for which the token can be used.",
    "Named.type": "The type of its values.",
    "Change.fields": "The new values of the fields that changed.",
    "ChangeOfOne.fields": "The new values of the fields that changed.",
    "OpportunityPage.facets": "The number of hits by value, for each facet that was asked for.",
    "RecordMapping.status": "JMESPath, within a record: what the source says of its state.",
    "Series.points": "The begin of each bucket, and its number.",
    "accepted": "How many events were stored.",
    "access_token": "The token, which is sent like an API key.",
    "address": "An email address.",
    "addresses": "Email addresses.",
    "agency": "Who offers it.",
    "amount": "What may be given.",
    "amount_max": "JMESPath, within a record: the most that may be given.",
    "amount_min": "JMESPath, within a record: the least that may be given.",
    "artifacts": "The files that it has made.",
    "as_of": "Until when events have been counted.",
    "at": "When it happened.",
    "attachments": "Files that go with the letter, 20 at most.",
    "attempt": "The number of the present or last attempt, from 1; 0 before the first.",
    "back": "The event by which a subject has come back.",
    "bcc": "Addresses that get the message and are not shown in it.",
    "begin": "From this time of day, HH:MM.",
    "breakdown": "A dimension of the event type; each of its values has a series.",
    "by": "The length of a bucket.",
    "cancel_requested_at": "When it was told to stop; null if it was not.",
    "cancelled": "How many were waiting and are cancelled.",
    "cancelling": "How many run and were told to stop.",
    "catch_up": "What becomes of runs that were missed: none, the last one, or all.",
    "cc": "Addresses that get the message, too, and are shown in it.",
    "changed_after": "Only what has changed after this.",
    "changed_at": "When it last changed.",
    "changes": "What has changed, in order.",
    "children": "How many jobs it has made, such as one for each page.",
    "closes_after": "Only what closes after this.",
    "closes_at": "When it closes; null if that is not known.",
    "closes_before": "Only what closes before this.",
    "closes_on": "The day on which it closes, YYYY-MM-DD, where the source gave no time.",
    "code": "What went wrong, for programs.",
    "columns": "The columns.",
    "compression": "How the file is compressed.",
    "content": "The content in base64.",
    "counts": "How many recipients are in each state.",
    "created_after": "Only jobs that were accepted after this.",
    "created_at": "When it was made.",
    "created_before": "Only jobs that were accepted before this.",
    "cron": "When it runs: minute, hour, day of month, month and day of week.",
    "csv": "Also write the result as an artifact report.csv.",
    "currency": "The currency, as ISO 4217 has it.",
    "cursor": "Only what comes after this: `next_cursor` of the page before.",
    "dataset": "What is exported; GET /v1/datasets lists what can be.",
    "datasets": "What can be exported.",
    "deadlines": "Deadlines by name.",
    "depth": "How many unfinished jobs it has, by state.",
    "detail": "What is wrong with it, for people.",
    "dimensions": "Properties by which counts can be broken down, 5 at most.",
    "done": "How much is done, in the unit of `total`.",
    "due_at": "When it is due.",
    "email": "The email address of the account.",
    "end": "Up to this time of day, HH:MM.",
    "ended_at": "When it ended; null while it goes on.",
    "ended_last_minute": "How many jobs ended in the last 60 seconds.",
    "enhanced_code": "The enhanced status code of the relay's last reply (RFC 3463).",
    "error": "Why the last attempt failed; null if none has.",
    "error_code": "Only jobs whose last failure has this code.",
    "errors": "All failures so far, oldest first.",
    "event": "The name of the event.",
    "events": "The events, 1,000 at most.",
    "exact": "Whether the numbers are exact.",
    "expires_at": "Until when it can be used; null: for ever.",
    "expires_in_s": "Seconds for which the link leads to the file.",
    "extra": "Further fields, by name.",
    "facets": "By what the hits are counted.",
    "failures": "How often it has failed in a row.",
    "fetched_at": "When it was last fetched; null: never.",
    "field": "Where it is, such as `body.recipients.3.to`.",
    "fields": "Which fields.",
    "filename": "The name under which it is saved.",
    "filter": "Which ones.",
    "finished_at": "When it ended; null before.",
    "first": "The number of the first page, 0 or 1.",
    "followers": "Who is reminded.",
    "format": "The format.",
    "formats": "The formats that a file can have.",
    "from": "The beginning: a time, or a day, which is its midnight in the time zone.",
    "gone_at": "When it was found to be gone; null if it is not.",
    "headers": "Header fields by name.",
    "html": "The text as HTML.",
    "id": "Its id.",
    "in": "Where the parameter goes.",
    "incremental": "How to ask only for what has changed; null: everything is asked for each time.",
    "job": "The id of the job.",
    "jobs": "The jobs.",
    "key": "The key by which it is known.",
    "keys": "The keys.",
    "kind": "What kind it is.",
    "last_at": "When it last ran; null: never.",
    "letter": "The letter.",
    "limit": "How many a page has, at most.",
    "mapping": "Where the fields of an opportunity are in a record.",
    "matched": "How many match.",
    "max": "The most that may be given; null if that is not known.",
    "max_attempts": "How often it is tried before it has failed.",
    "max_running": "How many jobs of the queue run at once, at most; null: as many as there are slots.",
    "max_running_per_tenant": "The same for each tenant.",
    "measure": "What is measured.",
    "media_type": "Its media type.",
    "message": "What went wrong, for people.",
    "method": "The method.",
    "min": "The least that may be given; null if that is not known.",
    "missed": "How many runs were left out.",
    "name": "Its name.",
    "names_people": "Whether it has names or addresses of people.",
    "next": "The next times at which it runs.",
    "next_cursor": "What `cursor` takes for the next page; null on the last one.",
    "not_kept": "How many more were only counted.",
    "note": "What is being done, for people.",
    "number": "Its number.",
    "oldest_waiting_at": "Since when the job that has waited longest is due; null if none waits.",
    "opens_at": "When it opens; null if that is not known.",
    "opportunities": "The opportunities.",
    "options": "How it is written.",
    "order": "What comes first.",
    "paging": "How the pages of a longer answer are asked for.",
    "parameter": "The name of the parameter.",
    "parent": "The job that has made it; null if a caller has.",
    "password": "The password of the account.",
    "paused": "Whether it is paused.",
    "paused_at": "Since when it is paused; null if it is not.",
    "payload": "What its jobs are to do.",
    "per": "Whom it counts.",
    "pointer": "Where it is in the JSON document, as a JSON Pointer (RFC 6901); not for what is elsewhere.",
    "policy": "The name of the limit.",
    "position": "Where it stands among all changes.",
    "possible_duplicates": "How often it was sent again while it was unknown whether it had arrived.",
    "priority": "Which of the tenant's waiting jobs begin first.",
    "progress": "How far it is.",
    "queue": "The queue, which has the name of its service.",
    "queues": "All queues.",
    "quiet_hours": "When no mail is sent, in the recipient's time zone; null: there is no such time.",
    "rate": "How many jobs are released per second; null: all at once.",
    "raw": "The record as the source gave it.",
    "reason": "The reason.",
    "rebuilt": "Whether earlier days are counted by this version.",
    "recipients": "Who gets the letter, 10,000 at most.",
    "rejected": "What was rejected.",
    "released": "How many jobs have been released so far.",
    "remaining": "How many are left.",
    "reminded_days": "How many days before the date the last reminder was sent; null: none was.",
    "replay": "The bulk retry by which it was last retried; null: none.",
    "reply": "The relay's last reply; null before the first.",
    "reply_to": "Where replies go; null: to the sender.",
    "report": "Which report.",
    "resets_in_s": "Seconds until all of it is there again; null for a limit of what goes on at once.",
    "result": "What has come of it; null before it has succeeded.",
    "retryable": "Whether it is tried again by itself.",
    "revision": "Grows by one with each change.",
    "revoked_at": "When it was revoked; null if it was not.",
    "role": "The role, which says which scopes there can be.",
    "run": "The job of the run.",
    "run_at": "When it is due; null: at once.",
    "schedule": "The schedule that has made it; null: none has.",
    "schedules": "The schedules.",
    "schema": "The JSON Schema (2020-12) of the properties; null: any are taken.",
    "scopes": "What it may be used for; null: all that its role may.",
    "searches": "Saved searches by name.",
    "seconds_left": "Seconds that it may still take; null if that cannot be told.",
    "sent_at": "When the relay took it; null before.",
    "series": "The numbers: one series, or one for each value of the breakdown.",
    "sha256": "The SHA-256 of its content, in hexadecimal digits.",
    "shadow": "Whether it is only counted, and nothing is refused.",
    "size": "Its size in bytes.",
    "slots": "How many jobs its workers can run at once.",
    "source": "The name of the source.",
    "sources": "Sources by name.",
    "spec": "Where it is and how it is read.",
    "start": "The event with which a subject begins.",
    "started_at": "When the present or last attempt began; null before the first.",
    "state": "Its state.",
    "status": "Whether it is forecasted, open, closed or gone.",
    "status_said": "What the source says of its state.",
    "steps": "The events in their order, 2 to 10.",
    "stop_after": "It stops if this many jobs fail again before the first one has succeeded; null: it does not.",
    "subject": "The subject line.",
    "succeeded_at": "When it was last fetched without a failure; null: never.",
    "summary": "What it is about, in short.",
    "suppressions": "The addresses.",
    "tags": "Words of the caller's by which jobs are found again, 20 at most.",
    "template": "The stored template, `name` or `name@version`; null: none.",
    "templates": "Templates by name, each in its last version.",
    "tenant": "The tenant.",
    "text": "The text.",
    "time_zone": "The time zone, as in `Europe/Berlin`.",
    "timeout_s": "Seconds that an attempt may take.",
    "timezone": "The time zone, as in `Europe/Berlin`.",
    "title": "Its title.",
    "to": "The email address that it goes to.",
    "token_type": "How the token is sent.",
    "told_at": "When it last ran; null: never.",
    "total": "How much there is to do; null if that is not known.",
    "traceback": "Where it failed in the code. Only admins see it.",
    "traceparent": "Its place in the caller's trace (W3C Trace Context).",
    "tries": "How often it was sent.",
    "types": "Event types by name.",
    "unique_for": "At most one unfinished job of the tenant in the queue has this key; null: it has none.",
    "updated_at": "When it last changed.",
    "url": "Its address.",
    "value": "The value.",
    "variables": "Values for what stands in `{{ }}` in the template.",
    "version": "Grows by one each time it is put.",
    "what": "What happened to it.",
    "window_s": "Seconds in which it counts; null for a limit of what goes on at once.",
    "within_s": "Seconds within which all steps must be done.",
    "worker_seen_at": "When a worker of it was last heard of; null: never.",
    "workers": "How many workers it has.",
    "words": "The words by which it was found, as they are indexed.",
}
PATHS = {
    "address": "An email address, percent-encoded where it must be.",
    "id": "The id, as other answers show it.",
    "name": "The name.",
    "subject": "Who or what the events are about, percent-encoded where it must be.",
    "token": "The end of a link, as it was given out.",
    "tenant": "The name of the tenant.",
}
HEADERS: dict[str, dict[str, Any]] = {
    "Accept-Ranges": {"description": "`bytes`: a part can be asked for with Range."},
    "Content-Disposition": {"description": "The name under which the file is saved (RFC 6266)."},
    "Content-Range": {"description": "Which bytes these are, and the size of the file: `bytes 0-3/10`."},
    "ETag": {"description": "The version of the answer, for If-None-Match and If-Range."},
    "Idempotency-Max-Age": {
        "description": "Seconds for which the Idempotency-Key is remembered.",
        "type": "integer",
    },
    "Idempotency-Replayed": {"description": "`true`: this is the job that an earlier request has made."},
    "Location": {"description": "Where what was made can be found.", "format": "uri-reference"},
    "Preference-Applied": {"description": "What of Prefer was kept, with the seconds that count: `wait=45`."},
    "RateLimit": {
        "description": "What is left of the limits, and the seconds until they begin anew (IETF draft)."
    },
    "RateLimit-Policy": {"description": "The limits that count this request (IETF draft)."},
    "Retry-After": {"description": "Seconds after which to try again.", "type": "integer"},
    "Unique-For-Joined": {"description": "`true`: an unfinished job with the same `unique_for` is the answer."},
    "WWW-Authenticate": {"description": "How to authenticate: `Bearer`."},
    "X-Request-Id": {"description": "The id of this request in the logs, for questions about it."},
}
_DESCRIBED_IN = ("libs.common.contracts.", "services.gateway.")


def header(name: str) -> dict[str, Any]:
    """A header field of an answer, as a component of OpenAPI."""
    words = dict(HEADERS[name])
    return {"description": words.pop("description"), "schema": {"type": "string", **words}}


def describe(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """The properties of the schema `name`, each with a description if there are any words for it."""
    documented = _docstrings().get(name, {})
    return {
        field: _described(schema, FIELDS.get(f"{name}.{field}") or documented.get(field) or FIELDS.get(field))
        for field, schema in properties.items()
    }


def _described(schema: dict[str, Any], words: str | None) -> dict[str, Any]:
    return {"description": words, **schema} if words else schema


@cache
def _docstrings() -> dict[str, dict[str, str]]:
    """By class and field, the docstrings of all fields that the loaded modules declare, with those of bases."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith(_DESCRIBED_IN)]
    classes = [
        node for module in modules for node in ast.parse(getsource(module)).body if isinstance(node, ast.ClassDef)
    ]
    own: dict[str, dict[str, str]] = {}
    bases: dict[str, list[str]] = {}
    for one in classes:
        own.setdefault(one.name, {}).update(_fields_of(one))
        bases.setdefault(one.name, []).extend(base.id for base in one.bases if isinstance(base, ast.Name))

    def whole(name: str) -> dict[str, str]:
        inherited = [whole(base) for base in reversed(bases.get(name, []))]
        return {field: words for fields in (*inherited, own.get(name, {})) for field, words in fields.items()}

    return {name: whole(name) for name in own}


def _fields_of(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """The fields of a class that have docstrings. An alias stands for the name of a field."""
    for field, words in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(words, ast.Expr)):
            continue
        if isinstance(words.value, ast.Constant) and isinstance(words.value.value, str):
            text = cleandoc(words.value.value).replace("\n", " ")
            yield _alias(field) or ast.unparse(field.target), text


def _alias(field: ast.AnnAssign) -> str | None:
    aliases = [
        word for word in ast.walk(field.annotation) if isinstance(word, ast.keyword) and word.arg == "alias"
    ]
    return str(ast.literal_eval(aliases[0].value)) if aliases else None
