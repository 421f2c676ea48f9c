# Two commands: `make up` runs the fleet on this machine, `make test` tests it.
.DEFAULT_GOAL := help
.ONESHELL:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
FOLDER := $(or $(ARGOSY_RUN_DIR),.run)
WORKER := $(or $(S),ocr)
SEEDS ?= 20
EXAMPLES ?= 40
EVENTS ?= 100000
RELEASE := $(RUN) -m deploy.release
RELEASE_OPTIONS = $(if $(CONTEXT),--context "$(CONTEXT)") $(if $(FIRST),--first) $(if $(YES),--yes) $(if $(KILLED),--killed)
TESTS_AT_ONCE ?= 3

.PHONY: help images images-test cluster-test boards deploy rollback setup up down status scale logs monitor load boards-check keys worker worker-dev redis-start redis-stop test test-random unit fuzz chaos chaos-mail chaos-rollout chaos-events chaos-sync clients-check clients-table proxies-check check fmt times bench-jobs bench-queue bench-ocr bench-mail bench-analytics bench-sync bench-gateway bench-telemetry bench-peers libreoffice lock audit export bench-exports

help: ## Show this list
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## The fleet on this machine
setup: $(VENV)/installed ## Make the virtual environment and install the locked dependencies

$(VENV)/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Argosy needs Python 3.11 or newer; choose one: make PYTHON=python3.12 …"; exit 1; }
	test ! -L $(VENV) || { echo "$(VENV) is a link: what it leads to is left alone. Remove it, or choose another: make VENV=… …"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV) || { echo "Python cannot make virtual environments. On Debian: sudo apt-get install python3-venv"; exit 1; }
	echo "Installing the locked dependencies (about a minute) …"
	$(RUN) -m pip install --disable-pip-version-check --require-hashes --only-binary=:all: --no-binary=dkimpy --progress-bar on --no-input -q -r requirements.lock & pid=$$!
	while sleep 5; do kill -0 $$pid 2>/dev/null || break; printf '.'; done; echo
	wait $$pid
	touch $@

up: setup ## Run the whole fleet here, or bring it to the code and settings of now: LIMITS=api=off make up
	@$(RUN) -m deploy.local up

down: ## Stop the fleet; nothing is lost
	@test -x $(RUN) || { echo "The fleet is not running."; exit 0; }
	$(RUN) -m deploy.local down

status: ## Show what runs, which version, ports, queues; fails unless everything runs
	@test -x $(RUN) || { echo "The fleet is down: make up starts it."; exit 1; }
	$(RUN) -m deploy.local status

scale: ## Run N workers of a service: make scale S=ocr N=3
	@test -x $(RUN) || { echo "The fleet is not running: make up first."; exit 1; }
	$(RUN) -m deploy.local scale "$(S)" "$(N)"

logs: ## Follow the logs of everything, or of one program: make logs S=ocr
	@test -x $(RUN) || { echo "There are no logs yet: make up first."; exit 1; }
	$(RUN) -m deploy.local logs "$(S)"

monitor: ## Watch the fleet with Prometheus and Alertmanager, until Ctrl-C
	@test -x $(RUN) || { echo "The fleet is not running: make up first."; exit 1; }
	$(RUN) -m deploy.local monitor

load: ## Give the fleet work of all kinds, for 75 s or FOR=
	@test -x $(RUN) || { echo "The fleet is not running: make up first."; exit 1; }
	$(RUN) -m deploy.local load $(FOR)

boards-check: ## Watch the fleet at work: has every panel of the boards data? [PICTURES=folder draws them]
	@test -x $(RUN) || { echo "The fleet is not running: make up first."; exit 1; }
	$(RUN) -m deploy.local boards-check $(FOR) $(if $(PICTURES),--pictures "$(PICTURES)")

keys: ## List the API keys of the tenant dev, or make one: make keys NEW=name ROLE=member
	@test -x $(RUN) || { echo "The fleet is not running: make up first."; exit 1; }
	$(RUN) -m deploy.local keys "$(NEW)" "$(ROLE)"

export: ## Write a dataset to a file here: make export DATASET=jobs FORMAT=csv
	@test -x $(RUN) || { echo "The fleet is not running: make up first."; exit 1; }
	$(RUN) -m deploy.local export "$(or $(DATASET),jobs)" "$(or $(FORMAT),csv)"

worker: setup ## Run one more worker in the foreground: make worker S=ocr
	@test -f $(FOLDER)/$(WORKER).env || { echo "There is no $(FOLDER)/$(WORKER).env: make up first, and S= names a service."; exit 1; }
	. $(FOLDER)/$(WORKER).env && exec $(RUN) -m services.$(WORKER)

worker-dev: setup ## The same, started anew whenever the code changes
	@test -f $(FOLDER)/$(WORKER).env || { echo "There is no $(FOLDER)/$(WORKER).env: make up first, and S= names a service."; exit 1; }
	. $(FOLDER)/$(WORKER).env && exec $(VENV)/bin/watchfiles --filter python "$(RUN) -m services.$(WORKER)" services libs

redis-start: setup ## Start our Redis, alone if the fleet is down
	@$(RUN) -m deploy.local redis-start

redis-stop: ## Stop our Redis
	@$(RUN) -m deploy.local redis-stop

## Kubernetes
images: setup ## Build the images; push them too: make images PUSH=registry.example.com/argosy TAG=1.2
	@$(RUN) -m deploy.images --tag "$(or $(TAG),dev)" $(if $(PUSH),--push "$(PUSH)") $(if $(S),--only "$(S)") -- $(BUILD_OPTIONS)

images-test: images ## Build the images, and run them confined as in the manifests, against real servers
	@TAG="$(TAG)" $(RUN) -m pytest -n 0 tests/images/hardened.py $(PYTEST_ARGS)

cluster-test: images ## Make a node of Kubernetes here, and follow docs/deploy.md on it (root, Debian 12, an hour)
	@$(RUN) -m tests.cluster.prepare -- $(BUILD_OPTIONS)
	BUILD_OPTIONS="$(BUILD_OPTIONS)" unshare --mount --net --pid --fork --kill-child --mount-proc \
	  $(RUN) -m pytest -n 0 -s tests/cluster/on_a_node.py $(PYTEST_ARGS)

boards: setup ## Write the boards of Grafana, into a folder of yours or for Kubernetes: make boards [OUT=folder]
	@$(RUN) -m deploy.grafana $(if $(OUT),"$(OUT)")

deploy: setup boards ## Bring an environment to this commit: make deploy ENV=staging [CONTEXT=… FIRST=1 YES=1 KILLED=1]
	@$(RELEASE) deploy "$(ENV)" $(RELEASE_OPTIONS)

rollback: setup boards ## Bring out the release before, or another one: make rollback ENV=staging [TO=3]
	@$(RELEASE) rollback "$(ENV)" $(RELEASE_OPTIONS) $(if $(TO),--to "$(TO)")

## Tests
test: setup ## Everything CI does: lint, types, and all tests against real servers
	@$(RUN) -m deploy.local.install_tesseract
	$(MAKE) --no-print-directory check
	$(RUN) -m pytest -n $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-random: ## The same in random order; the seed is shown
	@$(MAKE) --no-print-directory test PYTEST_ARGS="-p randomly $(PYTEST_ARGS)"

unit: setup ## Tests that need no servers, in seconds
	@$(RUN) -m pytest -q -n 2 --dist loadfile --hypothesis-profile=unit tests/unit tests/test_architecture.py $(PYTEST_ARGS)

fuzz: setup ## Every operation of the API with EXAMPLES drawn requests, beside the boundary values: make fuzz EXAMPLES=40
	@TEST_EXAMPLES=$(EXAMPLES) $(RUN) -m pytest -n 0 tests/integration/services/gateway/http/test_openapi.py $(PYTEST_ARGS)

chaos: setup ## Every fault with SEEDS seeds on real processes: make chaos SEEDS=20
	@$(RUN) -m tests.chaos.matrix --seeds $(SEEDS)

chaos-mail: setup ## Mailers killed at every step of the dialogue: make chaos-mail SEEDS=20
	@$(RUN) -m tests.chaos.mail --seeds $(SEEDS)

chaos-rollout: setup ## Replace an older version by this one under load, and go back: make chaos-rollout FROM=commit
	@$(RUN) -m tests.chaos.rollout "$(FROM)"

chaos-events: setup ## Events sent while everything is killed in turn, and counted: make chaos-events EVENTS=100000
	@$(RUN) -m tests.chaos.events --events $(EVENTS)

chaos-sync: setup ## Sync workers killed at every point of a run, and its servers: make chaos-sync SEEDS=3
	@TEST_SEEDS=$(SEEDS) $(RUN) -m pytest -q -n 2 tests/integration/services/sync/test_handler.py \
	  tests/integration/services/sync/test_outages.py tests/integration/services/sync/test_search_letters.py \
	  tests/integration/services/sync/test_runs.py -k "whoever or killed_at_any_point" $(PYTEST_ARGS)

clients-check: setup ## Generate clients from /openapi.json and use them; needs PyPI, npm and Chromium
	@$(RUN) -m pytest -q -n 0 tests/clients/generators.py tests/clients/browser.py $(PYTEST_ARGS)

clients-table: setup ## What clients of many languages get; needs curl, Node, Go, Java, PHP, Ruby and Chromium
	@$(RUN) -m tests.clients.table

proxies-check: setup ## Uploads, streams and refusals through nginx, HAProxy, Caddy and Apache, as a table
	@$(RUN) -m tests.clients.proxies

libreoffice: setup ## Open exported workbooks in LibreOffice: apt-get install libreoffice-calc-nogui
	@command -v "$(or $(LIBREOFFICE),soffice)" > /dev/null || { echo "LibreOffice is not installed."; exit 1; }
	$(RUN) -m pytest -q -n 0 tests/integration/services/exporter/test_workbook.py $(PYTEST_ARGS)

## Code
check: setup ## Lint and strict types only
	@$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

fmt: setup ## Format the code
	@$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

times: setup ## Show the times that depend on each other, in code and manifests: make times ENV=staging
	@$(RUN) -m deploy.times "$(or $(ENV),production)"

lock: ## Choose versions anew (needs uv)
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet --upgrade -o requirements.lock

audit: setup ## Look for known vulnerabilities in the lock (needs uv); without network: make audit ADVISORIES=folder
	@if [ -n "$(ADVISORIES)" ]; then exec $(RUN) -m deploy.audit requirements.lock "$(ADVISORIES)"; fi
	uvx pip-audit==2.10.1 --requirement requirements.lock --require-hashes --disable-pip --strict

## Benchmarks
bench-jobs: setup ## 20,000 no-op jobs through the fleet's engine, beside bare nats-py
	@$(RUN) -m benchmarks.jobs

bench-queue: setup ## Waiting times, recovery, fairness, a million jobs
	@$(RUN) -m benchmarks.queue

bench-ocr: setup ## Scans, receipts and hard cases, beside tesseract and OCRmyPDF: PARTS="receipts speed" PAGES=30
	@$(RUN) -m deploy.local.install_tesseract
	$(RUN) -m benchmarks.ocr $(if $(PARTS),--parts $(PARTS)) $(if $(PAGES),--pages $(PAGES)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-mail: setup ## A letter to 10,000 through the fleet, beside bare aiosmtplib
	@$(RUN) -m benchmarks.mail

bench-analytics: setup ## Events counted, beside the plain insert; queries, reports
	@$(RUN) -m benchmarks.analytics
	$(RUN) -m benchmarks.analytics_http

bench-sync: setup ## Records written and searched, beside the plain statements and dlt; memory of a long run
	@$(RUN) -m benchmarks.sync.writing
	@$(RUN) -m benchmarks.sync.search
	@$(RUN) -m benchmarks.sync.memory

bench-exports: setup ## Files in every format, beside psql \copy, pyarrow and writers of XLSX; memory; accepting meanwhile
	@$(RUN) -m benchmarks.exports.speed
	$(RUN) -m benchmarks.exports.memory
	$(RUN) -m benchmarks.exports.accepting

bench-gateway: setup ## Requests a second through the front door, beside bare Starlette, FastAPI, Fastify
	@$(RUN) -m benchmarks.gateway
	$(RUN) -m benchmarks.gateway.outages

bench-telemetry: setup ## What traces, reports and scrapes cost: durable POSTs with and without them
	@$(RUN) -m benchmarks.gateway.telemetry

bench-peers: setup ## No-op jobs and killed workers, beside BullMQ, arq, Taskiq, Celery, Dramatiq, FastStream
	@$(RUN) -m benchmarks.peers
