"""What `make up` says at the end: where everything is, and what to type next."""

from deploy.local import settings, state
from deploy.local.state import LOGS, RUN, State, shown


def metrics_url(fleet: State) -> str:
    """Where the gateway's metrics are."""
    host = fleet.settings.get("PROBES_HOST", "127.0.0.1")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{fleet.metrics_port}/metrics"  # noqa: S104


def mail_page(fleet: State) -> str:
    """Where mail goes."""
    if not settings.catches_mail(fleet):
        return "sent to MAIL_RELAYS"
    return f"caught, not sent: http://127.0.0.1:{fleet.mail_page_port}, {shown(RUN / 'mail')}/*.eml"


def welcome(fleet: State, seconds: float) -> None:
    """Write .run/dev.env, and say how to begin."""
    url = settings.gateway_url(fleet)
    variables = {"ARGOSY_URL": url, "ARGOSY_KEY": fleet.key or "", "ARGOSY_METRICS_URL": metrics_url(fleet)}
    state.write_environment("dev.env", variables)
    print(
        f"""
Argosy is up at {url}  ({seconds:.1f} s)

    . {shown(RUN / "dev.env")}                                 # ARGOSY_URL and ARGOSY_KEY
    curl -s -H "Authorization: Bearer $ARGOSY_KEY" $ARGOSY_URL/v1/ocr -F file=@examples/scan.pdf

or, as it stands:

    curl -s -H "Authorization: Bearer {fleet.key}" {url}/v1/jobs

logs: {shown(LOGS)}/ (`make logs`)     metrics: {metrics_url(fleet)}     all of it: `make status`
mail: {mail_page(fleet)}
""".rstrip()
    )
