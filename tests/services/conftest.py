"""The real Kafka and PostGIS: their addresses, and for each test a database and topics of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from daemon.config import KafkaSettings, SceneSettings, Settings, StoreSettings
from daemon.store import schema
from daemon.store.session import Store

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.service)


def _address(variable: str, file: str, what: str) -> str:
    if address := os.environ.get(variable):
        return address
    path = Path(os.environ.get("FUSAR_TEST_SERVICES", ROOT / ".services")) / file
    if path.is_file():
        return path.read_text().strip()
    message = f"no {what}: start it with `make services`, or set {variable}"
    if os.environ.get("FUSAR_TEST_REQUIRE_SERVICES"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def bootstrap() -> str:
    return _address("FUSAR_TEST_KAFKA", "kafka/bootstrap", "Kafka")


@pytest.fixture(scope="session")
def administrator() -> URL:
    return make_url(_address("FUSAR_TEST_POSTGIS", "postgis.url", "PostGIS"))


def execute(url: URL, *statements: str) -> None:
    """Run statements outside any transaction."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def template(administrator: URL) -> Iterator[str]:
    """A database brought to the head by the real migrations; tests copy it."""
    name = f"fusar_test_{uuid.uuid4().hex[:10]}"
    execute(administrator, f"CREATE DATABASE {name}")
    store = Store(administrator.set(database=name).render_as_string(hide_password=False))
    schema.upgrade(store)
    store.close()
    yield name
    execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store_url(administrator: URL, template: str) -> Iterator[str]:
    name = f"fusar_test_{uuid.uuid4().hex[:10]}"
    execute(administrator, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield administrator.set(database=name).render_as_string(hide_password=False)
    execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def one_database(administrator: URL, template: str) -> Iterator[Store]:
    """One database for all examples of the property: each begins with it empty."""
    name = f"fusar_test_{uuid.uuid4().hex[:10]}"
    execute(administrator, f"CREATE DATABASE {name} TEMPLATE {template}")
    store = Store(administrator.set(database=name).render_as_string(hide_password=False))
    yield store
    store.close()
    execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def kafka_settings(bootstrap: str) -> KafkaSettings:
    name = f"test-{uuid.uuid4().hex[:10]}"
    return KafkaSettings(
        bootstrap=bootstrap,
        scenes_topic=name,
        dead_topic=f"{name}.dead",
        group=name,
        partitions=1,
        session_timeout_s=6.0,
    )


@pytest.fixture
def settings(kafka_settings: KafkaSettings, store_url: str) -> Settings:
    return Settings(
        kafka=kafka_settings,
        store=StoreSettings(url=store_url, wait_s=0.2),
        scene=SceneSettings(attempts=3, retry_delay_s=0.5, poll_s=0.2),
    )
