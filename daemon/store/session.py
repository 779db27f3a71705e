"""The door to the database: one engine, transactions, and the driver's errors as our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Engine, create_engine, exc, make_url
from sqlalchemy.orm import Session

from ..errors import ConfigError, StoreConflict, StoreUnavailable

# SQLSTATE classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_AWAY = ("08", "53", "57P", "58", "25006")  # connection, resources, shutdown, system, read-only standby
_CONFLICT = ("40", "55P03")  # serialization failure, deadlock, lock not available
_NOT_MIGRATED = ("42P01", "42703", "3F000")  # no such table, column, schema
_REFUSED = ("28", "3D000")  # password, no such database


class Store:
    """A database, and the one way to do something in it."""

    def __init__(self, url: str, connect_timeout_s: int = 5) -> None:
        """Prepare connections; none is made yet.

        Raises:
            ConfigError: the URL is not one of PostgreSQL.
        """
        self.url = _url(url)
        self.engine: Engine = create_engine(
            self.url,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # what locks and upserts count on
            pool_size=2,
            hide_parameters=True,  # an error's text, and a traceback in the log, holds no values
            connect_args={"connect_timeout": connect_timeout_s, "application_name": "fusar"},
        )

    @contextmanager
    def transaction(self, snapshot: bool = False) -> Iterator[Session]:
        """Open a session whose work is committed at the end, all or nothing.

        Args:
            snapshot: all statements see the database as the first one did, for reading.

        Raises:
            StoreUnavailable: the database does not answer (retry).
            StoreConflict: another transaction was in the way (retry).
            ConfigError: access is refused, or the tables are not there.
        """
        with translated(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            if snapshot:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def _url(text: str) -> URL:
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ConfigError(
            "FUSAR_STORE__URL is not a URL: expected postgresql+psycopg://user:password@host:port/database"
        ) from None  # the text may hold a password
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername != "postgresql+psycopg":
        raise ConfigError(f"FUSAR_STORE__URL names {url.drivername}: expected postgresql+psycopg")
    return url


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of SQLAlchemy and psycopg into ours."""
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreUnavailable(f"no connection to the database became free: {error}") from error
    except exc.DBAPIError as error:
        code = getattr(error.orig, "sqlstate", None)
        said = " ".join(str(error.orig).split())
        if error.connection_invalidated or (isinstance(error, exc.OperationalError) and code is None):
            raise _unreachable(said) from error
        if code is None:
            raise
        if code.startswith(_AWAY):
            raise StoreUnavailable(f"the database does not answer: {said}") from error
        if code.startswith(_CONFLICT):
            raise StoreConflict(f"another transaction was in the way: {said}") from error
        if code.startswith(_NOT_MIGRATED):
            raise ConfigError(f"the database lacks our tables ({said}): run `fusar db upgrade`") from error
        if code.startswith(_REFUSED):
            raise ConfigError(f"the database refuses us ({said}): see FUSAR_STORE__URL") from error
        raise


def _unreachable(said: str) -> StoreUnavailable | ConfigError:
    """A failure to connect carries no code; what cannot pass by waiting is told by its text."""
    for permanent in ("password authentication failed", "no password supplied", "does not exist"):
        if permanent in said:
            return ConfigError(f"the database refuses us ({said}): see FUSAR_STORE__URL")
    return StoreUnavailable(f"the database does not answer: {said}")
