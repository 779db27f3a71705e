"""change units, their changes, the archive of chips, and what stands still"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Only comparisons of runs that are current, and that hold for what the database knows: an acquisition that
# is due has none until its changes are worked out anew.
_CURRENT_CHANGES = """
CREATE VIEW current_changes AS
SELECT change.id, change.unit_id, change.kind, change.before_detection_id, change.after_detection_id,
       change.position, change.class, change.length_m, change.score, change.reason, change.evidence,
       unit.before_run_id, unit.after_run_id, unit.pixel_run_id, unit.engine,
       earlier.start AS before_acquired, later.start AS after_acquired,
       earlier.id AS before_acquisition_id, later.id AS after_acquisition_id,
       later.relative_orbit, later.orbit_direction
FROM acquisition later
JOIN change_unit unit ON unit.after_run_id = later.current_run_id AND unit.present
LEFT JOIN acquisition earlier ON earlier.current_run_id = unit.before_run_id
JOIN change ON change.unit_id = unit.id
WHERE (unit.before_run_id IS NULL OR earlier.id IS NOT NULL)
    AND NOT EXISTS (SELECT FROM change_due WHERE change_due.acquisition_id = later.id)
"""

# What stands still: sightings of platforms, turbines and known structures that have no earlier such sighting
# within 75 m, with the passes that looked there from the first sighting on. Layover displaces a tall
# structure between geometries, hence 75 m; turbines stand several hundred metres apart.
_FIXED_OBJECTS = """
CREATE VIEW fixed_objects AS
WITH sighting AS (
    SELECT detection.id, detection.class, detection.position, detection.length_m, a.start, a.platform,
           a.datatake
    FROM detection
    JOIN acquisition a ON a.current_run_id = detection.run_id
    WHERE detection.duplicate_of IS NULL AND NOT detection.flags ? 'azimuth_ghost'
        AND (detection.class IN ('platform', 'turbine') OR detection.flags ? 'infrastructure')
)
SELECT first.id, first.class, first.position, first.length_m, first.start AS first_seen,
       passes.last_seen, passes.last_looked, passes.seen AS passes_seen,
       passes.looked - passes.seen AS passes_not_seen, passes.missed_since
FROM sighting first
CROSS JOIN LATERAL (
    SELECT count(*) AS looked, count(*) FILTER (WHERE saw) AS seen,
           max(start) FILTER (WHERE saw) AS last_seen, max(start) AS last_looked,
           count(*) FILTER (WHERE start > coalesce(newest, '-infinity')) AS missed_since
    FROM (
        SELECT pass.*, max(start) FILTER (WHERE saw) OVER () AS newest
        FROM (
            SELECT min(look.start) AS start, bool_or(look.saw) AS saw
            FROM (
                SELECT a.platform, a.datatake, a.start, false AS saw
                FROM coverage_part part
                JOIN acquisition a ON a.current_run_id = part.run_id
                WHERE ST_Covers(part.part, first.position::geometry)
                UNION ALL
                SELECT near.platform, near.datatake, near.start, true
                FROM sighting near
                WHERE ST_DWithin(near.position, first.position, 75)
            ) AS look
            WHERE look.start >= first.start
            GROUP BY look.platform, look.datatake
        ) AS pass
    ) AS passes
) AS passes
WHERE NOT EXISTS (
    SELECT FROM sighting earlier
    WHERE (earlier.start, earlier.id) < (first.start, first.id)
        AND ST_DWithin(earlier.position, first.position, 75)
)
"""

# Where ships stay: cells of 0.02 degrees in which at least two places were found still occupied, by pass.
_ANCHORAGES = """
CREATE VIEW anchorages AS
SELECT ST_SnapToGrid(position::geometry, 0.02)::geography AS position,
       count(DISTINCT after_run_id) AS passes, min(before_acquired) AS first_seen,
       max(after_acquired) AS last_seen,
       count(*)::double precision / count(DISTINCT after_run_id) AS ships_staying_per_pass
FROM current_changes
WHERE kind = 'still_occupied' AND class = 'ship'
GROUP BY ST_SnapToGrid(position::geometry, 0.02)
HAVING count(*) >= 2
"""


def upgrade() -> None:
    op.create_table(
        "change_due",
        sa.Column("acquisition_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        _now("since"),
        _now("next_attempt_at"),
        sa.ForeignKeyConstraint(
            ["acquisition_id"],
            ["acquisition.id"],
            name=op.f("fk_change_due_acquisition_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("acquisition_id", name=op.f("pk_change_due")),
    )
    op.create_index(op.f("ix_change_due_next_attempt_at"), "change_due", ["next_attempt_at"])
    _create_change_unit()
    _create_change()
    _create_chip()
    for statement in (_CURRENT_CHANGES, _FIXED_OBJECTS, _ANCHORAGES):
        op.execute(statement)
    # What is there already has its changes worked out, too.
    op.execute(
        "INSERT INTO change_due (acquisition_id) SELECT id FROM acquisition WHERE current_run_id IS NOT NULL"
    )


def downgrade() -> None:
    for name in ("anchorages", "fixed_objects", "current_changes"):
        op.execute(f"DROP VIEW {name}")
    for table in ("chip", "change"):
        op.drop_geospatial_index(
            f"idx_{table}_position", table_name=table, postgresql_using="gist", column_name="position"
        )
        op.drop_geospatial_table(table)
    op.drop_table("change_unit")
    op.drop_table("change_due")


def _now(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _json(name: str) -> sa.Column:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), nullable=False)


def _position() -> sa.Column:
    kind = Geography(
        geometry_type="POINT",
        srid=4326,
        dimension=2,
        spatial_index=False,
        from_text="ST_GeogFromText",
        name="geography",
        nullable=False,
    )
    return sa.Column("position", kind, nullable=False)


def _index_position(table: str) -> None:
    op.create_geospatial_index(
        f"idx_{table}_position",
        table,
        ["position"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )


def _refers(table: str, column: str, to: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [to], name=op.f(f"fk_{table}_{column}"), ondelete=ondelete)


def _create_change_unit() -> None:
    op.create_table(
        "change_unit",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("after_run_id", sa.String(length=32), nullable=False),
        sa.Column("before_run_id", sa.String(length=32), nullable=True),
        sa.Column("pixel_run_id", sa.String(length=32), nullable=True),
        sa.Column("engine", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        _json("alignment"),
        _json("counts"),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("present", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        _now("recorded"),
        sa.CheckConstraint(
            "outcome IN ('done', 'no_partner', 'failed')", name=op.f("ck_change_unit_outcome")
        ),
        _refers("change_unit", "after_run_id", "run.id", "CASCADE"),
        _refers("change_unit", "before_run_id", "run.id", "CASCADE"),
        _refers("change_unit", "pixel_run_id", "run.id", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_unit")),
    )
    for column in ("after_run_id", "before_run_id", "pixel_run_id"):
        op.create_index(op.f(f"ix_change_unit_{column}"), "change_unit", [column])
    op.create_index(
        "uq_change_unit_present",
        "change_unit",
        ["after_run_id", sa.text("coalesce(before_run_id, '')")],
        unique=True,
        postgresql_where=sa.text("present"),
    )


def _create_change() -> None:
    op.create_geospatial_table(
        "change",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("unit_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("before_detection_id", sa.String(length=32), nullable=True),
        sa.Column("after_detection_id", sa.String(length=32), nullable=True),
        _position(),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("length_m", sa.Double(), nullable=True),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        _json("evidence"),
        sa.CheckConstraint(
            "kind IN ('appeared', 'gone', 'still_occupied', 'cannot_tell')", name=op.f("ck_change_kind")
        ),
        _refers("change", "unit_id", "change_unit.id", "CASCADE"),
        _refers("change", "before_detection_id", "detection.id", "CASCADE"),
        _refers("change", "after_detection_id", "detection.id", "CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change")),
    )
    _index_position("change")
    for column in ("unit_id", "before_detection_id", "after_detection_id"):
        op.create_index(op.f(f"ix_change_{column}"), "change", [column])


def _create_chip() -> None:
    op.create_geospatial_table(
        "chip",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("line_px", sa.BigInteger(), nullable=False),
        sa.Column("sample_px", sa.BigInteger(), nullable=False),
        sa.Column("size_px", sa.BigInteger(), nullable=False),
        _position(),
        sa.Column("acquired", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        _now("recorded"),
        _refers("chip", "run_id", "run.id", "CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chip")),
        sa.UniqueConstraint("path", name=op.f("uq_chip_path")),
        sa.UniqueConstraint("run_id", "line_px", "sample_px", name=op.f("uq_chip_run_id_line_px_sample_px")),
    )
    _index_position("chip")
    op.create_index(op.f("ix_chip_acquired"), "chip", ["acquired"])
