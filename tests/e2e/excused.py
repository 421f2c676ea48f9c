"""Which commands and blocks of the documents are not pasted as they stand, and what tries them instead."""

ON_A_NODE = (
    "tests/e2e/test_deploy_page.py with a stand-in for Kubernetes; `make cluster-test` as it stands, on a node"
)
SECTIONS = {("docs/deploy.md", "From nothing to a first text"): ON_A_NODE}
"""Sections whose blocks are run elsewhere."""

HERE_ALREADY = "the checkout and the fleet are there already"
TAKES_LONG = "takes minutes or hours; a short form of it is in the suite"
NEEDS_A_CLUSTER = (
    "tests/integration/deploy/release runs it with a stand-in for Kubernetes, `make cluster-test` on a node"
)
NEEDS_THE_NETWORK = "asks servers of the world"
SETTINGS = "tests/e2e/test_daily_commands.py changes such settings, and docs/limits.md has one"
EXCUSED = {
    "git clone <this repository> argosy && cd argosy": HERE_ALREADY,
    "make test": "is what runs this test",
    "make test-random": "is what runs this test",
    "make unit": "runs tests of which this is one",
    "make check": "lint and types: `make test` begins with it",
    "git pull": NEEDS_THE_NETWORK,
    "docker buildx imagetools inspect …": NEEDS_THE_NETWORK,
    "skopeo inspect …": NEEDS_THE_NETWORK,
    "make audit": NEEDS_THE_NETWORK,
    "make audit ADVISORIES=folder": "tests/unit/deploy/test_audit.py runs it with advisories of its own",
    "ln -s /srv/argosy/provider.yaml …": "is for a machine with Grafana",
    "systemctl restart grafana-server": "is for a machine with Grafana",
    "python -m deploy.permissions postgres | psql …": "tests/integration/deploy/logins.py runs what it prints",
    "python -m deploy.migrations": "`make up` runs it, as the owner of the database",
    "make boards-check…": TAKES_LONG + ": tests/integration/deploy/local/test_boards_check.py",
    "make fuzz EXAMPLES=40": TAKES_LONG + ": tests/integration/services/gateway/http/test_openapi.py",
    "make clients-table": "takes seven languages and Chromium, and minutes",
    "make proxies-check": TAKES_LONG + ": tests/integration/services/gateway/http/test_public_url.py",
    "make chaos SEEDS=20": TAKES_LONG + ": tests/chaos/test_kill_matrix.py",
    "make chaos-mail SEEDS=20": TAKES_LONG + ": tests/chaos/test_mail.py",
    "make chaos-rollout FROM=commit": TAKES_LONG + ": tests/chaos/test_rollout.py",
    "make chaos-events EVENTS=100000": TAKES_LONG + ": tests/chaos/test_events.py",
    "make chaos-sync SEEDS=3": TAKES_LONG + ": the files that it names, with one seed",
    "make bench-…": "measures; it takes minutes and proves nothing here",
    "NAME= make up": "NAME stands for a setting: docs/limits.md has it with one",
    "LIMITS=api=off make up": SETTINGS,
    "OCR_CONCURRENCY=4 make up": SETTINGS,
    "ARGOSY_PORT=8081 make up": SETTINGS,
    "python -m services.gateway.…": "named only; docs/operate.md has it whole",
    "make times": "is `make times ENV=production`",
    "make times ENV=production": "as with ENV=staging",
    "make load FOR=600": "takes ten minutes; the page has `make load` too",
    "make images-test": "takes Docker or Podman, and minutes",
    "make images…": "builds images: `make images-test` and `make cluster-test` begin with it",
    "make cluster-test": "takes an hour, as root",
    "make deploy…": NEEDS_A_CLUSTER,
    "make rollback…": NEEDS_A_CLUSTER,
    "kubectl apply -k": NEEDS_A_CLUSTER,
    "kubectl create secret generic …": NEEDS_A_CLUSTER,
}
"""Commands that are not run, or their beginnings before a `…`, with the reason."""

UNTIL_IT_SAYS = {
    "make logs": "==> ",
    "make logs S=ocr": '"event"',
    "make monitor": "Ctrl-C",
    "make worker S=ocr": "worker.registered",
    "make worker-dev S=ocr": "worker.registered",
}
"""Commands that go on until Ctrl-C, which is pressed as soon as they have said this."""

OF_THE_MACHINE = ("/tmp/argosy-sources", "/srv/argosy")  # noqa: S108
"""Folders outside of the checkout, in place of which the test has folders of its own."""

LANGUAGES = {
    "mermaid": "a drawing",
    "html": "tests/clients/browser.py opens the pages in Chromium: `make clients-check`",
    "nginx": "tests/integration/services/gateway/http/test_public_url.py runs it",
    "haproxy": "tests/integration/services/gateway/http/test_public_url.py runs it",
    "caddyfile": "tests/integration/services/gateway/http/test_public_url.py runs it",
    "apache": "tests/integration/services/gateway/http/test_public_url.py runs it",
}
"""Languages of blocks that are not for a shell, and who tries them."""
