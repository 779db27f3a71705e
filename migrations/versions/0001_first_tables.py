"""first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_geospatial_table(
        "acquisition",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("datatake", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("polarisations", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stop", sa.DateTime(timezone=True), nullable=False),
        sa.Column("absolute_orbit", sa.BigInteger(), nullable=False),
        sa.Column("relative_orbit", sa.BigInteger(), nullable=True),
        sa.Column("orbit_direction", sa.Text(), nullable=True),
        sa.Column(
            "footprint",
            Geography(
                geometry_type="MULTIPOLYGON",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeogFromText",
                name="geography",
            ),
            nullable=True,
        ),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("current_run_id", sa.String(length=32), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'done', 'empty', 'unsupported', 'irrelevant', 'dead')",
            name=op.f("ck_acquisition_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acquisition")),
    )
    op.create_geospatial_index(
        "idx_acquisition_footprint",
        "acquisition",
        ["footprint"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_index(
        op.f("ix_acquisition_platform_datatake_mode"),
        "acquisition",
        ["platform", "datatake", "mode"],
        unique=False,
    )
    op.create_index(op.f("ix_acquisition_start"), "acquisition", ["start"], unique=False)
    op.create_table(
        "product",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("acquisition_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("product_type", sa.Text(), nullable=False),
        sa.Column("unique_id", sa.Text(), nullable=False),
        sa.Column("uuid", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("published", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("ipf", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('current', 'superseded', 'failed')", name=op.f("ck_product_state")),
        sa.ForeignKeyConstraint(
            ["acquisition_id"], ["acquisition.id"], name=op.f("fk_product_acquisition_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product")),
        sa.UniqueConstraint("name", name=op.f("uq_product_name")),
    )
    op.create_index(op.f("ix_product_acquisition_id"), "product", ["acquisition_id"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("product_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("failed", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_attempt_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
    )
    op.create_index(
        "ix_attempt_due",
        "attempt",
        ["next_attempt_at"],
        unique=False,
        postgresql_where="next_attempt_at IS NOT NULL",
    )
    op.create_index(op.f("ix_attempt_product_id"), "attempt", ["product_id"], unique=False)
    op.create_table(
        "message",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("kafka_partition", sa.BigInteger(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("product_id", sa.BigInteger(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("ended", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('handled', 'dead_lettered')", name=op.f("ck_message_state")),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_message_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.UniqueConstraint(
            "cluster",
            "topic",
            "kafka_partition",
            "kafka_offset",
            name=op.f("uq_message_cluster_topic_kafka_partition_kafka_offset"),
        ),
    )
    op.create_index(op.f("ix_message_product_id"), "message", ["product_id"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("acquisition_id", sa.BigInteger(), nullable=False),
        sa.Column("product_id", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("land", sa.Text(), nullable=False),
        sa.Column("prior", sa.Text(), nullable=True),
        sa.Column("engine", sa.Text(), nullable=True),
        sa.Column("backend", sa.Text(), nullable=True),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("saturated", sa.Boolean(), nullable=False),
        sa.Column("prior_status", sa.Text(), nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("timings_s", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("notes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("recorded", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('done', 'empty', 'irrelevant', 'unsupported')", name=op.f("ck_run_outcome")
        ),
        sa.ForeignKeyConstraint(["acquisition_id"], ["acquisition.id"], name=op.f("fk_run_acquisition_id")),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_run_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index(op.f("ix_run_acquisition_id"), "run", ["acquisition_id"], unique=False)
    op.create_index(op.f("ix_run_product_id"), "run", ["product_id"], unique=False)
    op.create_geospatial_table(
        "candidate",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
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
        sa.Column("line_px", sa.Double(), nullable=False),
        sa.Column("sample_px", sa.Double(), nullable=False),
        sa.Column("box_px", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("pixels", sa.BigInteger(), nullable=False),
        sa.Column("polarisations", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("peak_db", sa.Double(), nullable=False),
        sa.Column("contrast_db", sa.Double(), nullable=False),
        sa.Column("cell_row", sa.BigInteger(), nullable=False),
        sa.Column("cell_column", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "state IN ('confirmed', 'rejected', 'unanswered', 'not_examined')",
            name=op.f("ck_candidate_state"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_candidate_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "index", name=op.f("pk_candidate")),
    )
    op.create_geospatial_index(
        "idx_candidate_position",
        "candidate",
        ["position"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_geospatial_table(
        "coverage",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column(
            "valid_area",
            Geography(
                geometry_type="MULTIPOLYGON",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeogFromText",
                name="geography",
            ),
            nullable=True,
        ),
        sa.Column("area_km2", sa.Double(), nullable=False),
        sa.Column("valid_fraction", sa.Double(), nullable=False),
        sa.Column("land_fraction", sa.Double(), nullable=False),
        sa.Column("smallest_ship_m", sa.Double(), nullable=True),
        sa.Column("rcs_model", sa.Text(), nullable=False),
        sa.Column("clutter", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_coverage_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_coverage")),
    )
    op.create_geospatial_index(
        "idx_coverage_valid_area",
        "coverage",
        ["valid_area"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_geospatial_table(
        "detection",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
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
        sa.Column("line_px", sa.Double(), nullable=False),
        sa.Column("sample_px", sa.Double(), nullable=False),
        sa.Column("length_m", sa.Double(), nullable=False),
        sa.Column("length_low_m", sa.Double(), nullable=False),
        sa.Column("length_high_m", sa.Double(), nullable=False),
        sa.Column("width_m", sa.Double(), nullable=True),
        sa.Column("axis_deg", sa.Double(), nullable=True),
        sa.Column("peak_db", sa.Double(), nullable=True),
        sa.Column("contrast_db", sa.Double(), nullable=True),
        sa.Column("incidence_deg", sa.Double(), nullable=False),
        sa.Column("measured", sa.Text(), nullable=False),
        sa.Column("box_px", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("cell_row", sa.BigInteger(), nullable=False),
        sa.Column("cell_column", sa.BigInteger(), nullable=False),
        sa.Column("candidate_index", sa.BigInteger(), nullable=True),
        sa.Column("prior_status", sa.Text(), nullable=False),
        sa.Column("prior_year", sa.BigInteger(), nullable=True),
        sa.Column("flags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_detection_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detection")),
    )
    op.create_geospatial_index(
        "idx_detection_position",
        "detection",
        ["position"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_index(op.f("ix_detection_class"), "detection", ["class"], unique=False)
    op.create_index(op.f("ix_detection_run_id"), "detection", ["run_id"], unique=False)
    # A run belongs to an acquisition and an acquisition points to its current run.
    op.create_foreign_key("fk_acquisition_current_run_id", "acquisition", "run", ["current_run_id"], ["id"])
    op.execute(
        """
        CREATE VIEW current_detections AS
        SELECT detection.*, acquisition.id AS acquisition_id, acquisition.platform,
               acquisition.start AS acquired, acquisition.relative_orbit, acquisition.orbit_direction,
               run.product_id, run.engine, run.backend
        FROM acquisition
        JOIN run ON run.id = acquisition.current_run_id
        JOIN detection ON detection.run_id = run.id
        """
    )


def downgrade() -> None:
    op.execute("DROP VIEW current_detections")
    op.drop_constraint("fk_acquisition_current_run_id", "acquisition", type_="foreignkey")
    op.drop_index(op.f("ix_detection_run_id"), table_name="detection")
    op.drop_index(op.f("ix_detection_class"), table_name="detection")
    op.drop_geospatial_index(
        "idx_detection_position", table_name="detection", postgresql_using="gist", column_name="position"
    )
    op.drop_geospatial_table("detection")
    op.drop_geospatial_index(
        "idx_coverage_valid_area", table_name="coverage", postgresql_using="gist", column_name="valid_area"
    )
    op.drop_geospatial_table("coverage")
    op.drop_geospatial_index(
        "idx_candidate_position", table_name="candidate", postgresql_using="gist", column_name="position"
    )
    op.drop_geospatial_table("candidate")
    op.drop_index(op.f("ix_run_product_id"), table_name="run")
    op.drop_index(op.f("ix_run_acquisition_id"), table_name="run")
    op.drop_table("run")
    op.drop_index(op.f("ix_message_product_id"), table_name="message")
    op.drop_table("message")
    op.drop_index(op.f("ix_attempt_product_id"), table_name="attempt")
    op.drop_index("ix_attempt_due", table_name="attempt", postgresql_where="next_attempt_at IS NOT NULL")
    op.drop_table("attempt")
    op.drop_index(op.f("ix_product_acquisition_id"), table_name="product")
    op.drop_table("product")
    op.drop_index(op.f("ix_acquisition_start"), table_name="acquisition")
    op.drop_index(op.f("ix_acquisition_platform_datatake_mode"), table_name="acquisition")
    op.drop_geospatial_index(
        "idx_acquisition_footprint",
        table_name="acquisition",
        postgresql_using="gist",
        column_name="footprint",
    )
    op.drop_geospatial_table("acquisition")
