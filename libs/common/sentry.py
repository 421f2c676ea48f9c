"""Sends reports of bugs in Sentry's protocol. The only importer of its SDK, and loaded only if ERRORS_DSN is set.

What leaves the process: class and text of the error and of its causes, the lines of code it came through, the ids
of job, request and trace, and the release, environment, service and host. Never: values of variables, requests,
payloads, other lines of the log. Passwords, keys, secret settings and mail addresses are blotted out of all texts.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import sentry_sdk
from sentry_sdk.transport import HttpTransport
from sentry_sdk.utils import event_from_exception

from libs.common import metrics
from libs.common.redaction import BLOT, redacted
from libs.common.reporting import Report

TEXT_AT_MOST = 2_000
"""Characters of the text of an error."""
WAITING_AT_MOST = 20
"""Reports that wait for the server. More are dropped."""
ANSWERS_WITHIN_S = 5
"""How long the server may take to answer, in seconds."""

_MAIL_ADDRESS = re.compile(r"[^\s<>\"'(),:;=]+@[\w-]+(?:\.[\w-]+)+")


class Sentry:
    """Sends reports to the server that `dsn` names. `secrets` are blotted out of whatever is sent."""

    def __init__(self, dsn: str, *, release: str, environment: str, service: str, secrets: Iterable[str]) -> None:
        logging.getLogger("sentry_sdk.errors").setLevel(logging.CRITICAL)  # what is lost is counted
        self._service = service
        self._blotted = _pattern(secrets)
        self._client = sentry_sdk.Client(
            dsn=dsn,
            release=release,
            environment=environment,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            include_local_variables=False,
            max_breadcrumbs=0,
            send_client_reports=False,
            in_app_include=["libs", "services"],
            shutdown_timeout=0,
            transport=_Transport,
            transport_queue_size=WAITING_AT_MOST,
            before_send=lambda event, _hint: self._without_secrets(event),
        )

    def send(self, report: Report) -> None:
        """Send `report` from another thread, or drop it if the server is too slow."""
        event: Any
        event, hint = event_from_exception(report.error, self._client.options, {"type": "log", "handled": True})
        event["fingerprint"] = list(report.kind)
        event["logger"] = report.part
        event["transaction"] = report.event
        event["tags"] = {"service": self._service, "event": report.event, **report.facts}
        if {"trace_id", "request_id"} <= report.facts.keys():
            span_id = report.facts["request_id"].removeprefix("req_")
            event["contexts"] = {"trace": {"trace_id": report.facts["trace_id"], "span_id": span_id}}
        self._client.capture_event(event, hint)

    def close(self, within_s: float) -> None:
        """Wait for the server, for `within_s` seconds at most."""
        self._client.close(timeout=within_s)

    def _without_secrets(self, found: Any) -> Any:
        """`found` with all of its texts as they may leave the process."""
        if isinstance(found, str):
            text = redacted(self._blotted.sub(BLOT, found).encode(errors="replace")).decode()
            return _MAIL_ADDRESS.sub(BLOT, text)[:TEXT_AT_MOST]
        if isinstance(found, dict):
            return {key: self._without_secrets(value) for key, value in found.items()}
        if isinstance(found, list | tuple):
            return [self._without_secrets(value) for value in found]
        return found


class _Transport(HttpTransport):
    """Sentry's, but it gives up earlier, and what is lost is counted."""

    TIMEOUT = ANSWERS_WITHIN_S

    def _get_pool_options(self) -> dict[str, Any]:
        return super()._get_pool_options() | {"retries": False}

    def on_dropped_event(self, _reason: str) -> None:
        metrics.error_reports.labels("lost").inc()


def _pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    """Finds each secret as it is, and as in a URL, however often it was printed with quotes."""
    looks = {look for secret in secrets for look in (secret, quote(secret, safe="")) if look}
    longest_first = sorted(looks, key=len, reverse=True)
    return re.compile("|".join("".join(map(_as_printed, look)) for look in longest_first) or r"(?!)")


def _as_printed(character: str) -> str:
    """A quote may have backslashes before it, and a backslash may be several."""
    return r"\\+" if character == "\\" else rf"\\*{character}" if character in "'\"" else re.escape(character)
