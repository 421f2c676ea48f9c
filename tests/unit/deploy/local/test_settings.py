"""What `make up` makes of the shell's environment, before anything is started."""

import os
from dataclasses import replace

import pytest

from deploy.local import settings
from deploy.local.errors import CannotRun
from deploy.local.ports import free_port
from deploy.local.state import State
from libs.common.contracts.services import login_of

REMEMBERED = State("0" * 32, 10_001, 10_002, 10_003, 10_004, smtp_port=10_005, mail_page_port=10_006)
ORDINARY = {
    "PATH": "/usr/bin", "HOME": "/somewhere", "SHELL": "/bin/bash", "TERM": "xterm", "USER": "ann", "LINES": "40",
    "LANG": "C.UTF-8", "MAIL": "/var/mail/ann", "HOSTNAME": "box", "EDITOR": "vi", "GITHUB_TOKEN": "x",
}  # fmt: skip


def refused(environ: dict[str, str], remembered: State = REMEMBERED) -> str:
    with pytest.raises(CannotRun) as trouble:
        settings.choose(remembered, environ)
    return str(trouble.value)


def test_an_ordinary_shell_changes_nothing_and_is_told_nothing() -> None:
    assert settings.choose(REMEMBERED, ORDINARY) == (REMEMBERED, [])


def test_what_is_given_stays_until_it_is_given_otherwise() -> None:
    first, _ = settings.choose(REMEMBERED, {"OCR_CONCURRENCY": "4", "LIMITS": "api=off", "ARGOSY_PORT": "8081"})
    assert (first.settings, first.gateway_port) == ({"OCR_CONCURRENCY": "4", "LIMITS": "api=off"}, 8081)
    second, notes = settings.choose(first, {"LIMITS": "api=5/min"})
    assert (second.settings, second.gateway_port) == ({"OCR_CONCURRENCY": "4", "LIMITS": "api=5/min"}, 8081)
    assert notes == ["Kept from an earlier `make up`: OCR_CONCURRENCY. `NAME= make up` sets one back."]
    third, notes = settings.choose(second, {"OCR_CONCURRENCY": "", "LIMITS": "", "ARGOSY_PORT": ""})
    assert (third.settings, third.gateway_port, notes) == ({}, 8080, [])


def test_a_service_is_given_its_own_settings_only() -> None:
    state = replace(
        REMEMBERED, settings={"OCR_CONCURRENCY": "4", "TOKEN_SECRET": "s" * 32, "DB_MAX_CONNECTIONS": "7"}
    )
    gateway, ocr = settings.environment_of("gateway", state), settings.environment_of("ocr", state)
    assert ("OCR_CONCURRENCY" in gateway, "OCR_CONCURRENCY" in ocr) == (False, True)
    assert ("TOKEN_SECRET" in gateway, "TOKEN_SECRET" in ocr) == (True, False)
    assert gateway["DB_MAX_CONNECTIONS"] == ocr["DB_MAX_CONNECTIONS"] == "7"


@pytest.mark.parametrize("service", settings.SERVICES)
def test_what_each_service_is_given_by_itself_is_right(service: str) -> None:
    before = dict(os.environ)
    settings.choose(REMEMBERED, {})
    assert dict(os.environ) == before
    environment = settings.environment_of(service, REMEMBERED)
    assert f"//{login_of(service)}:" in environment["DATABASE_URL"]
    assert environment.keys() <= settings.variables_of(service)


def test_all_mistakes_are_told_together_by_name_and_without_the_value() -> None:
    told = refused(
        {"OCR_CONCURRENCY": "hush1", "LIMITS": "hush2", "ARGOSY_PORT": "hush3", "TOKEN_SECRET": "hush4"}
    )
    for name in ("OCR_CONCURRENCY", "LIMITS", "ARGOSY_PORT", "TOKEN_SECRET"):
        assert f"\n{name}: " in f"\n{told}"
    assert "hush" not in told
    assert told.endswith("Nothing was started or changed.")


def test_settings_that_do_not_fit_together_are_told() -> None:
    assert "JWT_ISSUER needs JWT_AUDIENCE" in refused({"JWT_ISSUER": "https://issuer.example.com"})


@pytest.mark.parametrize("port", ["0", "65536", "-1", "8080 ", "٣"])
def test_a_port_is_a_number(port: str) -> None:
    assert "ARGOSY_PORT: should be a port" in refused({"ARGOSY_PORT": port})


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "NATS_URL"])
def test_a_server_that_is_not_there_is_told_at_once(name: str) -> None:
    assert f"{name}: nothing answers there" in refused({name: f"postgresql://ann:hush@127.0.0.1:{free_port()}/x"})
    told = refused({name: "postgresql://ann:hush/1@127.0.0.1:port/x"})
    assert f"{name}: should be an address such as " in told
    assert "hush" not in told


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OCR_CONCURENCY", "; is OCR_CONCURRENCY meant?"),
        ("LIMIT", "; is LIMITS meant?"),
        ("ARGOSY_PROT", "; is ARGOSY_PORT meant?"),
        ("MAIL_COLOUR", ", and has no effect."),
    ],
)
def test_what_looks_like_a_setting_and_is_none_is_named(name: str, meant: str) -> None:
    state, notes = settings.choose(REMEMBERED, ORDINARY | {name: "3"})
    assert state == REMEMBERED
    assert notes == [f"Warning: {name} is no setting of any service{meant}"]


def test_a_port_that_kubernetes_has_set_is_no_port_of_ours() -> None:
    """In a pod beside a Service called `argosy`."""
    assert settings.choose(REMEMBERED, {"ARGOSY_PORT": "tcp://10.96.0.1:80"}) == (REMEMBERED, [])


def test_what_is_decided_here_is_not_dropped_in_silence() -> None:
    state, notes = settings.choose(REMEMBERED, {"GATEWAY_PORT": "9000", "REDIS_HOST": "10.0.0.1"})
    assert state == REMEMBERED
    assert notes == [
        "GATEWAY_PORT has no effect here: set ARGOSY_PORT instead.",
        "REDIS_HOST has no effect here: set REDIS_URL instead.",
    ]


@pytest.mark.parametrize("service", settings.SERVICES)
def test_a_shell_that_has_read_a_services_file_means_nothing_by_it(service: str) -> None:
    environ = settings.environment_of(service, REMEMBERED)
    assert settings.choose(REMEMBERED, environ) == (REMEMBERED, [])


def test_a_setting_that_no_service_has_any_more_is_forgotten_and_named() -> None:
    state, notes = settings.choose(replace(REMEMBERED, settings={"OCR_COLOUR": "red"}), {})
    assert (state.settings, notes) == ({}, ["OCR_COLOUR is forgotten: no service has such a setting any more."])


def test_a_clouds_variables_count_where_files_are_kept_there() -> None:
    here, _ = settings.choose(REMEMBERED, {"AWS_REGION": "eu"})
    there, _ = settings.choose(REMEMBERED, {"AWS_REGION": "eu", "BLOB_URL": "s3://bucket"})
    assert ("AWS_REGION" in here.settings, "AWS_REGION" in there.settings) == (False, True)
    assert settings.environment_of("ocr", there)["AWS_REGION"] == "eu"


def test_the_rest_of_the_environment_has_no_settings_in_it() -> None:
    kept = settings.baseline(ORDINARY | {"LIMITS": "x", "ARGOSY_KEY": "x", "MAKEFLAGS": "x", "DATABASE_URL": "x"})
    assert kept == ORDINARY
