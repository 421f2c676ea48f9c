"""The rules of the house, as code. Standard library only."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for part in ("services", "libs", "deploy")
    for path in (ROOT / part).rglob("*.py")
    if "versions" not in path.parts
)
WORKERS = sorted(folder.name for folder in (ROOT / "services").iterdir() if (folder / "handler.py").exists())
LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "libs.common": (
        (
            "errors",
            "contracts",
            "unnest",
            "clock_offset",
            "gc_tuning",
            "metrics",
            "server_addresses",
            "redaction",
            "children",
        ),
        ("reporting", "tracing"),
        ("log", "backoff", "config", "batching", "links", "sealing", "sentry", "otlp"),
        ("background", "redis_health", "sandbox", "telemetry"),
        ("blobs", "db_opening", "parallel"),
        ("db_pool", "db_copy"),
        ("bus", "db", "probes"),
        ("rpc", "ledger"),
        ("worker",),
        ("handler_testkit",),
    ),
    "services.gateway": (
        ("field_errors",),
        ("problems", "limits"),
        ("config",),
        ("identity",),
        ("engine",),
        ("http",),
        ("endpoints", "router"),
        ("routes",),
        ("app",),
        ("__main__", "keys", "accounts"),
    ),
    "services.mailer": (
        ("refusals", "tables", "delivery_hours", "bounce_brake"),
        ("smtp", "compose", "recipient_tokens", "templates", "preview_slots", "lmtp"),
        ("suppressions",),
        ("config", "letters"),
        ("sending", "bounces", "deadline_reminders", "composing"),
        ("handler",),
        ("rpc_handlers",),
        ("__main__",),
    ),
    "services.analytics": (
        (
            "refusals",
            "tables",
            "config",
            "buckets",
            "histories",
            "incoming",
            "schema_mistakes",
            "locks",
            "sketches",
            "rollups",
            "partitions",
        ),
        ("runs",),
        ("event_types", "rejected", "recount"),
        ("counting", "queries", "reports", "rebuilding"),
        ("erasure", "replaying", "housekeeping"),
        ("handler",),
        ("rpc_handlers",),
        ("__main__",),
    ),
    "services.sync": (
        ("refusals", "tables", "config", "page", "repeats", "slices", "success_age"),
        ("addresses", "cursors", "freshness", "opportunities", "reading", "sealing"),
        ("changes", "hosts", "outgoing", "rejected", "runs", "searches", "searching", "spec_checks", "writing"),
        ("followers", "following", "matching", "paging", "search_letters", "tombstones"),
        ("removing", "robots"),
        ("fetching", "housekeeping", "page_writing", "sources"),
        ("previewing", "remapping"),
        ("running",),
        ("handler",),
        ("search_handlers",),
        ("rpc_handlers",),
        ("__main__",),
    ),
    "services.exporter": (
        (
            "refusals",
            "tables",
            "config",
            "counting",
            "snapshots",
            "values",
            "selection",
            "workbook",
            "manifest",
            "parquet",
            "parquet_child",
        ),
        ("sheet_rows", "letters", "deps"),
        ("formats",),
        ("file_writing",),
        ("files",),
        ("handler",),
        ("__main__",),
    ),
    "services.ocr": (
        (
            *("refusals", "tables", "output_formats", "rotation", "scratch_folder", "warnings"),
            *("plausibility", "print_marks", "invisible_text", "page_selection", "passwords"),
            "flattening",
        ),
        ("source_cache", "page_cache", "page_tree", "tesseract_library", "pictures", "rules"),
        ("lighting", "tesseract", "documents", "picture_pdf"),
        ("config", "text_layer", "recognition", "merging", "comparison", "pdf_page", "print_cover"),
        ("page_judgement", "looking"),
        ("page_reading",),
        ("searchable_pdf",),
        ("assembly",),
        ("handler",),
        ("__main__",),
    ),
}
"""The parts of each package from the bottom to the top: each imports only those in lines above its own."""
FORBIDDEN_NAMES = {"utils", "util", "helpers", "base", "constants", "types", "misc", "common_utils"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def imports(tree: ast.Module) -> tuple[str, ...]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(names)


def owner(dotted: str) -> str:
    return ".".join(dotted.split(".")[:2])


@cache
def functions(tree: ast.Module) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...]:
    return tuple(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
class TestEveryModule:
    """What holds for each file on its own."""

    def test_says_why_it_exists(self, path: Path) -> None:
        assert ast.get_docstring(parse(path)), "a module docstring"

    def test_public_names_are_documented(self, path: Path) -> None:
        bare = [
            node.name
            for node in ast.walk(parse(path))
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and not node.name.startswith("_")
            and node.name != "do_GET"
            and not ast.get_docstring(node)
            and node not in _nested_definitions(parse(path))
        ]
        assert not bare

    def test_stays_small(self, path: Path) -> None:
        tree = parse(path)
        assert len(path.read_text().splitlines()) <= 400
        long = [f.name for f in functions(tree) if (f.end_lineno or 0) - f.lineno > 60]
        assert not long

    def test_imports_at_the_top_only(self, path: Path) -> None:
        hidden = [
            f.name
            for f in functions(parse(path))
            for node in ast.walk(f)
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert not hidden

    def test_keeps_to_its_own_service(self, path: Path) -> None:
        me = owner(module_name(path))
        if me.startswith("libs."):
            assert not [name for name in imports(parse(path)) if name.startswith(("services.", "deploy."))]
        if me.startswith("services."):
            assert not [
                name
                for name in imports(parse(path))
                if name.startswith("deploy.") or (name.startswith("services.") and owner(name) != me)
            ]

    def test_has_a_name_that_tells(self, path: Path) -> None:
        assert path.stem not in FORBIDDEN_NAMES


@cache
def _nested_definitions(tree: ast.Module) -> frozenset[ast.AST]:
    """What is defined inside a function or a private class."""
    private = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name.startswith("_")]
    outer = [*functions(tree), *private]
    return frozenset(inner for definition in outer for inner in ast.walk(definition) if inner is not definition)


def test_the_environment_is_read_in_one_place() -> None:
    allowed = {
        "libs/common/config.py",
        "services/ocr/tesseract.py",
    }  # the latter sets OMP_THREAD_LIMIT, and reads nothing
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if re.search(r"os\.environ|os\.getenv", path.read_text()) and "deploy" not in path.parts
    }
    assert readers <= allowed


def test_a_statement_for_a_tenant_runs_as_that_tenant() -> None:
    """Whoever is given a tenant lets PostgreSQL see to it (tests/integration/libs/common/test_isolation.py)."""
    exceptions = {
        "libs.common.ledger.queue_position.queue_position",  # counts how many jobs of all tenants go before one
        "services.gateway.identity.accounts.enter",  # an account can be moved to another tenant
    }
    places = ("libs.common.ledger", "services.gateway")
    for path in (path for path in SOURCES if module_name(path).startswith(places)):
        for function in functions(parse(path)):
            if "tenant" not in {argument.arg for argument in function.args.args}:
                continue
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                if isinstance(call.func, ast.Attribute) and call.func.attr == "fetch":
                    name = f"{module_name(path)}.{function.name}"
                    assert name in exceptions or "tenant" in {word.arg for word in call.keywords}, name


def test_one_module_imports_each_outside_thing() -> None:
    homes = {
        "sqlalchemy.ext": {"libs.common.db_pool"},
        "cronsim": {"libs.common.ledger.schedules"},
        "nats": {f"libs.common.bus.{part}" for part in ("bus", "connection", "tickets")},
        "sentry_sdk": {"libs.common.sentry"},
        "opentelemetry": {"libs.common.otlp"},
        "obstore": {"libs.common.blobs"},
        "prometheus_client": {"libs.common.metrics", "libs.common.probes", "services.gateway.http.request_log"},
        "multipart": {"services.gateway.endpoints.uploads"},
        "circus": {"deploy.local.supervisor"},
    }
    for thing, allowed in homes.items():
        users = {
            module_name(path)
            for path in SOURCES
            if any(name == thing or name.startswith(thing + ".") for name in imports(parse(path)))
            and "migrations" not in path.parts
        }
        assert users <= allowed, thing


def test_no_words_of_a_library_are_told() -> None:
    """A refusal is in our words. Others are for the log, or quoted from a server or a program."""
    for_operators = {"Unavailable", "StreamUnavailable", "Lost", "Misconfigured", "ConnectionError", "CannotRun"}
    quoted = {"EngineRefused", "EngineFailed"}  # what Tesseract has printed
    internal = {("libs.common.contracts.events", "ValueError")}  # of messages between processes
    ours = {node.name for path in SOURCES for node in ast.walk(parse(path)) if isinstance(node, ast.ClassDef)}
    told = {
        (module_name(path), raised)
        for path in SOURCES
        if path.parts[len(ROOT.parts)] != "deploy"
        for handler in ast.walk(parse(path))
        if isinstance(handler, ast.ExceptHandler) and handler.name and not _caught(handler) <= ours
        for raised in _raised_with_the_text_of(handler)
        if raised not in for_operators | quoted
    }
    assert told <= internal


def _caught(handler: ast.ExceptHandler) -> set[str]:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", "") for kind in kinds}


def _raised_with_the_text_of(handler: ast.ExceptHandler) -> Iterator[str]:
    """The errors that are raised, and the functions that yield or return, with the text of the error caught."""
    for node in ast.walk(handler):
        if isinstance(node, ast.Raise | ast.Yield | ast.Return):
            made = node.exc if isinstance(node, ast.Raise) else node.value
            if made is not None and _has_text_of(made, handler.name or ""):
                name = getattr(made, "func", None)
                yield getattr(name, "id", None) or getattr(name, "attr", None) or type(made).__name__


def _has_text_of(expression: ast.AST, error: str) -> bool:
    """Whether it has `{error}`, `str(error)`, `message_of(error)` or `error.message` and the like."""
    for node in ast.walk(expression):
        if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name) and node.value.id == error:
            return True
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("str", "repr", "message_of"):
            return any(isinstance(one, ast.Name) and one.id == error for one in node.args)
        if isinstance(node, ast.Attribute) and node.attr in ("message", "msg", "args", "strerror"):
            return isinstance(node.value, ast.Name) and node.value.id == error
    return False


def test_every_task_is_awaited_or_in_the_background() -> None:
    """What nobody awaits fails in silence, so `libs.common.background` starts it. Others await theirs."""
    waiting = {
        "libs.common.background",
        "libs.common.batching",  # callers await a future for each item, and every error goes there
        "libs.common.blobs",  # the writer of a blob awaits it
        "libs.common.bus.bus",
        "libs.common.db_opening",
        "libs.common.parallel",  # the caller awaits all of them
        "libs.common.sandbox.sandbox",
        "libs.common.worker.service",
        "services.gateway.limits.shared",
        "services.mailer.sending",
        "services.ocr.source_cache",
    }
    starts = re.compile(r"(asyncio|loop|loop\(\))\.(create_task|ensure_future)\(")
    assert {module_name(path) for path in SOURCES if starts.search(path.read_text())} == waiting


def test_no_cycles() -> None:
    names = {module_name(path) for path in SOURCES}
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        targets = set()
        for name in imports(parse(path)):
            while name and name not in names:
                name = name.rpartition(".")[0]
            if name:
                targets.add(name)
        graph[module_name(path)] = targets - {module_name(path)}

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        for target in graph.get(name, set()):
            if target not in done:
                walk(target, (*trail, name))
        done.add(name)

    done: set[str] = set()
    for name in graph:
        walk(name, ())


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_one_way(package: str) -> None:
    layer_of = {part: number for number, parts in enumerate(LAYERS[package]) for part in parts}
    wrong = []
    for path in (ROOT / package.replace(".", "/")).rglob("*.py"):
        if module_name(path) == package:
            continue
        mine = _part(module_name(path), package)
        for name in imports(parse(path)):
            other = _part(name, package) if name.startswith(f"{package}.") else mine
            if other != mine and layer_of[other] >= layer_of[mine]:
                wrong.append(f"{module_name(path)} imports {name}")
    assert wrong == []
    assert {
        _part(module_name(path), package) for path in SOURCES if module_name(path).startswith(f"{package}.")
    } == {*layer_of}


def _part(module: str, package: str) -> str:
    """The folder or file of the package that the module is in."""
    return module.removeprefix(f"{package}.").split(".")[0]


@pytest.mark.parametrize("service", WORKERS)
def test_all_workers_look_the_same(service: str) -> None:
    folder = ROOT / "services" / service
    for name in ("__init__.py", "__main__.py", "config.py", "handler.py"):
        assert (folder / name).exists()
    assert len((folder / "__main__.py").read_text().splitlines()) <= 17
    handler = parse(folder / "handler.py")
    assert {"handle", "resources"} <= {function.name for function in functions(handler)}


def test_every_metric_is_used() -> None:
    declared = re.findall(
        r"^(\w+) = (?:Counter|Gauge|Histogram)", (ROOT / "libs/common/metrics.py").read_text(), re.M
    )
    code = "".join(path.read_text() for path in SOURCES)
    assert declared
    assert [name for name in declared if f"metrics.{name}" not in code] == []


@pytest.mark.parametrize("part", ["libs", *(f"services.{name}" for name in ("gateway", *WORKERS))])
def test_third_party_imports_are_in_its_extra(part: str) -> None:
    """What a part imports must be installed by `pip install .[part]`."""
    extra = PROJECT["optional-dependencies"].get(part.removeprefix("services."), [])
    wanted = [*PROJECT["dependencies"], *extra]
    available = {_normal(re.split(r"[\[><=~! ]", line)[0]) for line in wanted}
    for distribution in list(available):
        for line in requires(distribution) or []:
            if "extra ==" not in line:
                available.add(_normal(re.split(r"[\[><=~!; (]", line)[0]))
    providers = packages_distributions()
    for path in (ROOT / Path(*part.split("."))).rglob("*.py"):
        for name in imports(parse(path)):
            root = name.split(".")[0]
            if root in sys.stdlib_module_names or root in ("libs", "services"):
                continue
            assert {_normal(found) for found in providers[root]} & available, f"{path.name} imports {name}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_nine_modules_of_ten_have_a_test_of_their_name() -> None:
    """The test of x/y.py is tests/{unit,integration}/x/test_y.py."""
    modules = [
        path for path in SOURCES if not path.name.startswith("__") and len(path.read_text().splitlines()) > 20
    ]
    without = [module_name(path) for path in modules if not list((ROOT / "tests").glob(_test_of(path)))]
    assert len(without) <= len(modules) / 10, without


def _test_of(path: Path) -> str:
    folder = path.relative_to(ROOT).parent
    return f"*/{folder}/test_{path.name}"


def test_every_test_is_where_its_module_is() -> None:
    """A folder under tests/unit and tests/integration is a folder of the source."""
    strays = [
        str(path.relative_to(ROOT))
        for kind in ("unit", "integration")
        for path in (ROOT / "tests" / kind).rglob("test_*.py")
        if not (ROOT / path.relative_to(ROOT / "tests" / kind).parent).is_dir()
    ]
    assert strays == []


def test_no_machine_or_registry_is_named() -> None:
    tracked = [path for path in ROOT.rglob("*") if path.is_file() and not _generated(path)]
    for path in tracked:
        text = path.read_text(errors="ignore")
        assert "--index-url" not in text or path.name in ("Makefile", "test_architecture.py"), path
        assert not re.search(r"/(root|home)/\w", text) or path.name == "test_architecture.py", path


def test_whatever_is_installed_is_locked_with_hashes() -> None:
    locked = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert len(locked) > 100
    assert [
        entry for entry in locked if not re.match(r"[\w.-]+==\S+ .*\n? *--hash=sha256:[0-9a-f]{64}", entry)
    ] == []
    assert "--require-hashes" in (ROOT / "Makefile").read_text()


def _generated(path: Path) -> bool:
    hidden = {".git", ".venv", ".run", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
    return bool(hidden & set(path.relative_to(ROOT).parts))
