"""What tells of the API itself: `/`, /openapi.json and /docs."""

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.json_io import json_response
from services.gateway.http.state import base_of, state_of

_KEPT = {"Cache-Control": "max-age=300"}


async def show_root(request: Request) -> Response:
    """The name and the version of what answers here, and where to read on."""
    base = base_of(request)
    links = {"docs": f"{base}/docs", "openapi": f"{base}/openapi.json", "ready": f"{base}/readyz"}
    return json_response({"name": "Argosy", "version": state_of(request).settings.argosy_version, "links": links})


async def show_openapi(request: Request) -> Response:
    """The API as an OpenAPI document."""
    return Response(state_of(request).openapi, media_type="application/json", headers=_KEPT)


async def show_docs(request: Request) -> Response:
    """The API as an HTML page."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    headers = {**_KEPT, "Content-Security-Policy": policy}
    return Response(state_of(request).docs, media_type="text/html", headers=headers)
