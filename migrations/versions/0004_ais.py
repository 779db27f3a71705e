"""AIS: positions, vessels, reception, matches; free questions"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("detection", sa.Column("sensed", sa.DateTime(timezone=True), nullable=True))
    op.add_column("product", sa.Column("received", sa.DateTime(timezone=True), nullable=True))
    _create_positions()
    op.create_table(
        "ais_vessel",
        sa.Column("mmsi", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("imo", sa.BigInteger(), nullable=True),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("name", "call_sign")),
        sa.Column("type_code", sa.BigInteger(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("length_m", "width_m", "bow_m", "port_m")),
        sa.Column("said", _json(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.PrimaryKeyConstraint("mmsi", name=op.f("pk_ais_vessel")),
    )
    _create_reception()
    op.create_table(
        "ais_match",
        sa.Column("detection_id", sa.String(length=32), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("mmsi", sa.BigInteger(), nullable=True),
        sa.Column("distance_m", sa.Double(), nullable=True),
        sa.Column("evidence", _json(), nullable=False),
        _recorded(),
        sa.CheckConstraint("status IN ('matched', 'unmatched', 'unknown')", name=op.f("ck_ais_match_status")),
        sa.CheckConstraint("(status = 'matched') = (mmsi IS NOT NULL)", name=op.f("ck_ais_match_mmsi")),
        sa.ForeignKeyConstraint(
            ["detection_id"], ["detection.id"], name=op.f("fk_ais_match_detection_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("detection_id", name=op.f("pk_ais_match")),
    )
    op.create_index(op.f("ix_ais_match_mmsi"), "ais_match", ["mmsi"])
    _create_question()


def downgrade() -> None:
    op.drop_table("question")
    op.drop_index(op.f("ix_ais_match_mmsi"), table_name="ais_match")
    op.drop_table("ais_match")
    op.drop_geospatial_index(
        "idx_ais_reception_area", table_name="ais_reception", postgresql_using="gist", column_name="area"
    )
    op.drop_geospatial_table("ais_reception")
    op.drop_table("ais_vessel")
    op.drop_index(op.f("ix_ais_position_time"), table_name="ais_position")
    op.drop_geospatial_table("ais_position")
    op.drop_column("product", "received")
    op.drop_column("detection", "sensed")


def _json() -> postgresql.JSONB:
    return postgresql.JSONB(astext_type=sa.Text())


def _recorded() -> sa.Column:
    now = sa.text("now()")
    return sa.Column("recorded", sa.DateTime(timezone=True), server_default=now, nullable=False)


def _geography(kind: str, nullable: bool) -> Geography:
    return Geography(
        geometry_type=kind,
        srid=4326,
        dimension=2,
        spatial_index=False,
        from_text="ST_GeogFromText",
        name="geography",
        nullable=nullable,
    )


def _create_positions() -> None:
    op.create_geospatial_table(
        "ais_position",
        sa.Column("mmsi", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", _geography("POINT", False), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("sog_kn", "cog_deg", "heading_deg")),
        sa.Column("equipment", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("mmsi", "time", name=op.f("pk_ais_position")),
        postgresql_partition_by="RANGE (time)",
    )
    op.create_index(op.f("ix_ais_position_time"), "ais_position", ["time"])


def _create_reception() -> None:
    op.create_geospatial_table(
        "ais_reception",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("area", _geography("MULTIPOLYGON", True), nullable=True),
        sa.Column("vessels", sa.BigInteger(), nullable=False),
        sa.Column("positions", sa.BigInteger(), nullable=False),
        sa.Column("rule", _json(), nullable=False),
        _recorded(),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_ais_reception_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_ais_reception")),
    )
    op.create_geospatial_index(
        "idx_ais_reception_area",
        "ais_reception",
        ["area"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )


def _create_question() -> None:
    op.create_table(
        "question",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("scope", _json(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("answer", "refusal", "reason")),
        sa.Column("cited", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("inputs", _json(), nullable=False),
        sa.Column("runs", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("bundle", sa.String(length=64), nullable=True),
        sa.Column("backend", sa.Text(), nullable=True),
        sa.Column("details", _json(), nullable=False),
        sa.Column("asked", sa.DateTime(timezone=True), nullable=False),
        _recorded(),
        sa.CheckConstraint("state IN ('answered', 'refused')", name=op.f("ck_question_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_question")),
    )
