"""Alembic's environment: our tables, through the connection handed in or FUSAR_STORE__URL."""

from __future__ import annotations

from alembic import context
from geoalchemy2 import alembic_helpers
from sqlalchemy import Connection

from daemon.store import (  # noqa: F401  (their tables join the others)
    ais_tables,
    alert_tables,
    change_tables,
    question_tables,
)
from daemon.store.tables import Base


def include(obj, name, kind, reflected, compare_to):  # noqa: ANN001, ANN201
    """Leave out what PostGIS and Geoalchemy2 make by themselves."""
    if kind == "table" and (name == "spatial_ref_sys" or name.startswith("ais_position_")):  # partitions
        return False
    return alembic_helpers.include_object(obj, name, kind, reflected, compare_to)


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=include,
        process_revision_directives=alembic_helpers.writer,
        render_item=alembic_helpers.render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


handed = context.config.attributes.get("connection")
if handed is not None:
    migrate(handed)
else:
    from daemon.config import load
    from daemon.store.session import Store

    with Store(load().store.url.get_secret_value()).engine.begin() as connection:
        migrate(connection)
