"""alert rules, what was sighted where, alerts and their outbox"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography, Geometry
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Cells of a hundredth of a degree, numbered along parallels from the south-west.
_PLACE_CELL = """
CREATE FUNCTION place_cell(place geography) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (floor(ST_Y($1::geometry) * 100)::bigint + 9000) * 36000
        + (floor(ST_X($1::geometry) * 100)::bigint + 18000) % 36000
$$
"""

# The cells that a circle may touch: a degree of latitude is 110.5 km at the least. PL/pgSQL keeps its plan,
# where a function of SQL makes one for each call.
_PLACE_CELLS = """
CREATE FUNCTION place_cells(place geography, within_m double precision) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    lon double precision = ST_X(place::geometry);
    lat double precision = ST_Y(place::geometry);
    high double precision = within_m / 110500.0;
    wide double precision = least(180.0, high / greatest(cosd(least(abs(lat) + high, 90.0)), 1e-9));
    west bigint = floor((lon - wide) * 100)::bigint + 18000;
    east bigint = floor((lon + wide) * 100)::bigint + 18000;
    cells bigint[] = '{}';
BEGIN
    FOR line IN floor(greatest(lat - high, -90) * 100)::bigint + 9000
        .. floor(least(lat + high, 90) * 100)::bigint + 9000
    LOOP
        FOR sample IN west .. least(east, west + 35999) LOOP
            cells = cells || (line * 36000 + ((sample % 36000) + 36000) % 36000);
        END LOOP;
    END LOOP;
    RETURN cells;
END
$$
"""

# What stands, for people; a ship is taken not to exceed 30 knots since it was sensed.
_OPEN_ALERTS = """
CREATE VIEW open_alerts AS
SELECT alert.id, rule.name AS rule, version.number AS rule_version, alert.kind, alert.class, alert.score,
       alert.length_m, alert.length_low_m, alert.length_high_m, alert.position, alert.flags, alert.evidence,
       alert.sensed, alert.opened, alert.updated, alert.suppressed, now() - alert.sensed AS age,
       CASE WHEN alert.class = 'ship' THEN extract(epoch FROM now() - alert.sensed) * 30 * 1852 / 3600
       END::double precision AS reach_m,
       alert.detection_id, alert.change_id, alert.run_id, alert.acquisition_id, alert.product
FROM alert
JOIN alert_rule rule ON rule.id = alert.rule_id
JOIN alert_rule_version version ON version.id = alert.version_id
WHERE alert.state = 'open'
"""

_SIGHTINGS = """
INSERT INTO sighting (detection_id, cell, sensed, position, class, pass)
SELECT detection.id, place_cell(detection.position), acquisition.start, detection.position, detection.class,
       acquisition.platform || '-' || acquisition.datatake
FROM acquisition
JOIN detection ON detection.run_id = acquisition.current_run_id
"""


def upgrade() -> None:
    _create_rules()
    _create_alerts()
    for statement in (_PLACE_CELL, _PLACE_CELLS, _SIGHTINGS, _OPEN_ALERTS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW open_alerts")
    op.execute("DROP FUNCTION place_cells")
    op.execute("DROP FUNCTION place_cell")
    op.drop_index(op.f("ix_sighting_cell_sensed"), table_name="sighting")
    op.drop_geospatial_table("sighting")
    op.drop_index(
        "ix_alert_outbox_due",
        table_name="alert_outbox",
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.drop_table("alert_outbox")
    op.drop_index(
        "uq_alert_rule_period_open", table_name="alert_rule_period", postgresql_where=sa.text("until IS NULL")
    )
    op.drop_index(op.f("ix_alert_rule_period_version_id"), table_name="alert_rule_period")
    op.drop_table("alert_rule_period")
    op.drop_index("uq_alert_open", table_name="alert", postgresql_where=sa.text("state = 'open'"))
    op.drop_index(op.f("ix_alert_version_id"), table_name="alert")
    op.drop_index(op.f("ix_alert_rule_id_opened"), table_name="alert")
    op.drop_index(op.f("ix_alert_acquisition_id"), table_name="alert")
    op.drop_geospatial_index(
        "idx_alert_position", table_name="alert", postgresql_using="gist", column_name="position"
    )
    op.drop_geospatial_table("alert")
    op.drop_index(op.f("ix_alert_rule_version_kind"), table_name="alert_rule_version")
    op.drop_index(op.f("ix_alert_rule_version_area_id"), table_name="alert_rule_version")
    op.drop_table("alert_rule_version")
    op.drop_table("alert_judged")
    op.drop_index(op.f("ix_alert_area_part_area_id"), table_name="alert_area_part")
    op.drop_geospatial_index(
        "idx_alert_area_part_part", table_name="alert_area_part", postgresql_using="gist", column_name="part"
    )
    op.drop_geospatial_table("alert_area_part")
    op.drop_table("alert_rule")
    op.drop_geospatial_index(
        "idx_alert_area_outline", table_name="alert_area", postgresql_using="gist", column_name="outline"
    )
    op.drop_geospatial_table("alert_area")


def _create_rules() -> None:
    op.create_geospatial_table(
        "alert_area",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column(
            "outline",
            Geometry(
                geometry_type="MULTIPOLYGON",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
        ),
        sa.Column("area_km2", sa.Double(), nullable=False),
        sa.Column("sea_km2", sa.Double(), nullable=False),
        sa.Column("vertices", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_area")),
    )
    op.create_geospatial_index(
        "idx_alert_area_outline",
        "alert_area",
        ["outline"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_geospatial_table(
        "alert_area_part",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("area_id", sa.String(length=32), nullable=False),
        sa.Column(
            "part",
            Geometry(
                geometry_type="POLYGON",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["area_id"], ["alert_area.id"], name=op.f("fk_alert_area_part_area_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_area_part")),
    )
    op.create_geospatial_index(
        "idx_alert_area_part_part",
        "alert_area_part",
        ["part"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_index(op.f("ix_alert_area_part_area_id"), "alert_area_part", ["area_id"], unique=False)
    op.create_table(
        "alert_rule",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("removed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_rule")),
        sa.UniqueConstraint("name", name=op.f("uq_alert_rule_name")),
    )
    op.create_table(
        "alert_rule_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("area_id", sa.String(length=32), nullable=False),
        sa.Column("classes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("score_min", sa.Double(), nullable=False),
        sa.Column("length_min_m", sa.Double(), nullable=True),
        sa.Column("length_max_m", sa.Double(), nullable=True),
        sa.Column("flags_accepted", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("changes", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("gap_hours", sa.Double(), nullable=True),
        sa.Column("gap_within_m", sa.Double(), nullable=True),
        sa.Column("seen_at_least", sa.BigInteger(), nullable=True),
        sa.Column("seen_at_most", sa.BigInteger(), nullable=True),
        sa.Column("seen_days", sa.Double(), nullable=True),
        sa.Column("seen_within_m", sa.Double(), nullable=True),
        sa.Column("looked_at_least", sa.BigInteger(), nullable=True),
        sa.Column("ais", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("ais_length_m", sa.Double(), nullable=True),
        sa.Column("count_over", sa.BigInteger(), nullable=True),
        sa.Column("count_under", sa.BigInteger(), nullable=True),
        sa.Column("unseen_hours", sa.Double(), nullable=True),
        sa.Column("share", sa.Double(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('object', 'change', 'count', 'gap')", name=op.f("ck_alert_rule_version_kind")
        ),
        sa.ForeignKeyConstraint(["area_id"], ["alert_area.id"], name=op.f("fk_alert_rule_version_area_id")),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["alert_rule.id"], name=op.f("fk_alert_rule_version_rule_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_rule_version")),
        sa.UniqueConstraint("rule_id", "number", name=op.f("uq_alert_rule_version_rule_id_number")),
    )
    op.create_index(op.f("ix_alert_rule_version_kind"), "alert_rule_version", ["kind"], unique=False)
    op.create_index(op.f("ix_alert_rule_version_area_id"), "alert_rule_version", ["area_id"], unique=False)
    op.create_table(
        "alert_rule_period",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["alert_rule.id"], name=op.f("fk_alert_rule_period_rule_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["alert_rule_version.id"],
            name=op.f("fk_alert_rule_period_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_rule_period")),
    )
    op.create_index(
        op.f("ix_alert_rule_period_version_id"), "alert_rule_period", ["version_id"], unique=False
    )
    op.create_index(
        "uq_alert_rule_period_open",
        "alert_rule_period",
        ["rule_id"],
        unique=True,
        postgresql_where=sa.text("until IS NULL"),
    )


def _create_alerts() -> None:
    op.create_table(
        "alert_judged",
        sa.Column("acquisition_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "first", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["acquisition_id"],
            ["acquisition.id"],
            name=op.f("fk_alert_judged_acquisition_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("acquisition_id", name=op.f("pk_alert_judged")),
    )
    op.create_geospatial_table(
        "alert",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("acquisition_id", sa.BigInteger(), nullable=True),
        sa.Column("pass", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("suppressed", sa.Text(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("sensed", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "position",
            Geography(
                geometry_type="POINT",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeogFromText",
                name="geography",
            ),
            nullable=True,
        ),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("length_m", sa.Double(), nullable=True),
        sa.Column("length_low_m", sa.Double(), nullable=True),
        sa.Column("length_high_m", sa.Double(), nullable=True),
        sa.Column("flags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("detection_id", sa.Text(), nullable=True),
        sa.Column("change_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("product", sa.Text(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "opened", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("kind IN ('object', 'change', 'count', 'gap')", name=op.f("ck_alert_kind")),
        sa.CheckConstraint("state IN ('open', 'retracted', 'closed')", name=op.f("ck_alert_state")),
        sa.CheckConstraint(
            "suppressed IN ('quiet_hours', 'rate_limit', 'stale')", name=op.f("ck_alert_suppressed")
        ),
        sa.ForeignKeyConstraint(["acquisition_id"], ["acquisition.id"], name=op.f("fk_alert_acquisition_id")),
        sa.ForeignKeyConstraint(["rule_id"], ["alert_rule.id"], name=op.f("fk_alert_rule_id")),
        sa.ForeignKeyConstraint(["version_id"], ["alert_rule_version.id"], name=op.f("fk_alert_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
    )
    op.create_geospatial_index(
        "idx_alert_position", "alert", ["position"], unique=False, postgresql_using="gist", postgresql_ops={}
    )
    op.create_index(op.f("ix_alert_acquisition_id"), "alert", ["acquisition_id"], unique=False)
    op.create_index(op.f("ix_alert_rule_id_opened"), "alert", ["rule_id", "opened"], unique=False)
    op.create_index(op.f("ix_alert_version_id"), "alert", ["version_id"], unique=False)
    op.create_index(
        "uq_alert_open",
        "alert",
        ["rule_id", "subject"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "alert_outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("alert_id", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=True,
        ),
        sa.Column("sent", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "event IN ('opened', 'amended', 'retracted', 'closed')", name=op.f("ck_alert_outbox_event")
        ),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alert.id"], name=op.f("fk_alert_outbox_alert_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_outbox")),
        sa.UniqueConstraint(
            "alert_id", "sequence", "destination", name=op.f("uq_alert_outbox_alert_id_sequence_destination")
        ),
    )
    op.create_index(
        "ix_alert_outbox_due",
        "alert_outbox",
        ["next_attempt_at", "id"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_geospatial_table(
        "sighting",
        sa.Column("detection_id", sa.String(length=32), nullable=False),
        sa.Column("cell", sa.BigInteger(), nullable=False),
        sa.Column("sensed", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "position",
            Geography(
                geometry_type="POINT",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeogFromText",
                name="geography",
                nullable=False,
            ),
            nullable=False,
        ),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("pass", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["detection_id"], ["detection.id"], name=op.f("fk_sighting_detection_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("detection_id", name=op.f("pk_sighting")),
    )
    op.create_index(op.f("ix_sighting_cell_sensed"), "sighting", ["cell", "sensed"], unique=False)
