"""The views that people read (docs/sql.md), and a role that may read nothing else."""

from __future__ import annotations

from typing import Any

from psycopg import sql
from sqlalchemy import text

from ..errors import ConfigError
from .session import Store

READABLE = (
    "current_detections",
    "current_changes",
    "current_coverage",
    "current_ais",
    "open_alerts",
    "scene_latency",
    "fixed_objects",
    "anchorages",
)


def make_reader(store: Store, name: str, password: str) -> list[str]:
    """Make a role that may log in and read the views, or bring one up to date; return the views' names.

    The password reaches the server as a SCRAM verifier, never as it is.

    Args:
        store: the database; its user must be allowed to make roles.
        name: of the role.
        password: of the role.

    Raises:
        ConfigError: there is such a role, and it is the one that we are, or may do more than read.
        StoreUnavailable: the database does not answer (retry).
    """
    with store.transaction() as session:
        role = session.execute(
            text(
                "SELECT rolsuper OR rolcreaterole OR rolcreatedb, rolname = current_user FROM pg_roles "
                "WHERE rolname = :name"
            ),
            {"name": name},
        ).one_or_none()
        if role is not None and any(role):
            raise ConfigError(f"the role {name} may do more than read: choose another name")
        views = session.scalars(
            text(
                "SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND viewname = ANY(:all)"
            ),
            {"all": list(READABLE)},
        ).all()
        driver: Any = session.connection().connection.driver_connection
        verifier = driver.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
        who = sql.Identifier(name)
        secret = sql.Literal(verifier.decode())
        granted = sql.SQL(", ").join(map(sql.Identifier, views))
        here = sql.Identifier(str(session.scalar(text("SELECT current_database()"))))
        schema = sql.Identifier(str(session.scalar(text("SELECT current_schema()"))))
        with driver.cursor() as cursor:
            for statement in (
                sql.SQL("CREATE ROLE {} LOGIN") if role is None else sql.SQL("ALTER ROLE {} LOGIN"),
                sql.SQL("ALTER ROLE {} PASSWORD {secret}"),
                sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on"),
                sql.SQL("ALTER ROLE {} SET statement_timeout = '60s'"),
                sql.SQL("GRANT CONNECT ON DATABASE {here} TO {}"),
                sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {}"),
                sql.SQL("GRANT SELECT ON {granted} TO {}"),
            ):
                cursor.execute(
                    statement.format(who, secret=secret, here=here, schema=schema, granted=granted)
                )
        return [name for name in READABLE if name in views]
