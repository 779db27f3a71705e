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

# What AIS tells of each current detection.
_CURRENT_AIS = """
CREATE VIEW current_ais AS
SELECT detection.id, detection.run_id, detection.class, detection.score, detection.position,
       detection.length_m, detection.flags AS scene_flags, acquisition.id AS acquisition_id,
       acquisition.platform, coalesce(detection.sensed, acquisition.start) AS sensed,
       ais_match.status, ais_match.evidence ->> 'reason' AS reason, ais_match.mmsi, vessel.name,
       vessel.call_sign, vessel.imo, vessel.type, vessel.length_m AS vessel_length_m, ais_match.distance_m,
       (ais_match.evidence ->> 'speed_m_s')::double precision * 3600 / 1852 AS speed_kn,
       (ais_match.evidence ->> 'course_deg')::double precision AS course_deg, ais_match.evidence
FROM acquisition
JOIN detection ON detection.run_id = acquisition.current_run_id
JOIN ais_match ON ais_match.detection_id = detection.id
LEFT JOIN ais_vessel vessel ON vessel.mmsi = ais_match.mmsi
WHERE detection.duplicate_of IS NULL
"""

# Where and when was looked, and how small a ship would have been seen. The table `coverage` holds all runs'.
_CURRENT_COVERAGE = """
CREATE VIEW current_coverage AS
SELECT run.id AS run_id, coverage.valid_area, coverage.area_km2, coverage.smallest_ship_m,
       coverage.false_alarms_per_1000_km2, coverage.valid_fraction, coverage.land_fraction,
       acquisition.id AS acquisition_id, acquisition.platform, acquisition.mode,
       acquisition.start AS acquired,
       acquisition.relative_orbit, acquisition.orbit_direction, run.outcome, run.saturated,
       reception.area AS ais_reception, reception.vessels AS ais_vessels
FROM acquisition
JOIN run ON run.id = acquisition.current_run_id
JOIN coverage ON coverage.run_id = run.id
LEFT JOIN ais_reception reception ON reception.run_id = run.id
"""

# From the sensing of a scene's last line to its result, and where the time went.
_SCENE_LATENCY = """
CREATE VIEW scene_latency AS
SELECT acquisition.id AS acquisition_id, acquisition.platform, product.name AS product, product.source,
       acquisition.stop AS sensed, product.published, product.received, run.recorded,
       extract(epoch FROM product.published - acquisition.stop)::double precision AS publishing_s,
       extract(epoch FROM product.received - product.published)::double precision AS notice_s,
       extract(epoch FROM run.recorded - product.received)::double precision AS processing_s,
       extract(epoch FROM run.recorded - acquisition.stop)::double precision AS total_s
FROM acquisition
JOIN run ON run.id = acquisition.current_run_id
JOIN product ON product.id = run.product_id
"""

# A reader of current_detections needs no right to the tables: a function in a view has its caller's rights
# unless it says otherwise.
_FUNCTIONS = (
    "recurrence(geography, bigint, double precision)",
    "neighbour_ghost(geography, double precision, bigint)",
)


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
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("length_m", "width_m", "bow_m")),
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
    for statement in (_CURRENT_AIS, _CURRENT_COVERAGE, _SCENE_LATENCY):
        op.execute(statement)
    for function in _FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} SECURITY DEFINER SET search_path FROM CURRENT")


def downgrade() -> None:
    for function in _FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} SECURITY INVOKER RESET search_path")
    for view in ("scene_latency", "current_coverage", "current_ais"):
        op.execute(f"DROP VIEW {view}")
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
        sa.Column("near", postgresql.ARRAY(sa.BigInteger()), nullable=False),
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
