"""Settings from the environment: known names only, secrets kept."""

from __future__ import annotations

import pytest

from daemon import config
from daemon.errors import ConfigError
from daemon.store.session import Store


def test_groups_nest_with_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSAR_KAFKA__BOOTSTRAP", "broker:9093")
    monkeypatch.setenv("FUSAR_SCENE__ATTEMPTS", "7")
    settings = config.load()
    assert settings.kafka.bootstrap == "broker:9093"
    assert settings.kafka.scenes_topic == "sentinel1.scenes"
    assert settings.scene.attempts == 7


@pytest.mark.parametrize(
    "name", ["FUSAR_KAFKA_BOOTSTRAP", "FUSAR_KAFKA__BOOTSTRAPS", "FUSAR_X", "FUSAR_KAFKA"]
)
def test_a_name_that_is_no_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=name):
        config.load()


def test_names_of_tests_are_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSAR_TEST_ANYTHING", "1")
    config.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FUSAR_SCENE__ATTEMPTS", "0"),
        ("FUSAR_SCENE__RETRY_DELAY_S", "soon"),
        ("FUSAR_LOG__LEVEL", "LOUD"),
        ("FUSAR_ENGINE__BACKEND", "magic"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name):
        config.load()


def test_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSAR_STORE__URL", "postgresql+psycopg://u:hidden-word@host/db")
    monkeypatch.setenv("FUSAR_KAFKA__PASSWORD", "hidden-word")
    settings = config.load()
    assert "hidden-word" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "hidden-word" in settings.store.url.get_secret_value()
    monkeypatch.setenv("FUSAR_SCENE__ATTEMPTS", "0")
    with pytest.raises(ConfigError) as caught:
        config.load()
    assert "hidden-word" not in str(caught.value)


def test_every_setting_has_one_sentence() -> None:
    for name, sentence in config.describe():
        assert sentence.endswith("."), name
        assert sentence in config.table()


def test_a_port_that_is_no_number_does_not_tell_the_password() -> None:
    with pytest.raises(ConfigError, match="FUSAR_STORE__URL") as caught:
        Store("postgresql://user:hidden@more:secret@host/base")
    assert "hidden" not in str(caught.value) and "secret" not in str(caught.value)
