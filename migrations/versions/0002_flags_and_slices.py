"""flags from other scenes, doubles between slices, and what measuring and scanning came to know"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography, Geometry
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_CANDIDATE = ("length_m", "length_low_m", "length_high_m", "width_m", "axis_deg", "shore_m")
_DETECTION = ("brightness_db", "edge_m", "range_to_velocity_s", "azimuth_deg", "shift_bound_m", "shore_m")

# Passes before a time that looked at a place, and those of them that saw something there; nothing where none
# did. Slices of one datatake are one pass; a geometry is a relative orbit and its direction.
_SEEN_BEFORE = """
CREATE FUNCTION seen_before(
    place geography, before timestamptz, platform text, datatake bigint, within_m double precision
) RETURNS TABLE (
    relative_orbit bigint, orbit_direction text, looked bigint, seen bigint,
    first timestamptz, last timestamptz
) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH near AS MATERIALIZED (
        SELECT DISTINCT detection.run_id
        FROM detection
        CROSS JOIN LATERAL (
            SELECT * FROM acquisition WHERE acquisition.current_run_id = detection.run_id LIMIT 1
        ) AS a
        WHERE ST_DWithin(detection.position, $1, $5)
            AND a.start < $2 AND (a.platform, a.datatake) <> ($3, $4)
    ), sightings AS (
        SELECT near.run_id, true AS saw FROM near
        UNION ALL
        SELECT coverage_part.run_id, false
        FROM coverage_part
        WHERE (SELECT count(*) FROM near) > 0 AND ST_Covers(coverage_part.part, $1::geometry)
    ), passes AS (
        SELECT a.*, sightings.saw
        FROM (SELECT run_id, bool_or(saw) AS saw FROM sightings GROUP BY run_id) AS sightings
        -- one look-up in the index for each run, however little the planner knows of how many there are
        CROSS JOIN LATERAL (
            SELECT acquisition.platform, acquisition.datatake, acquisition.relative_orbit,
                   acquisition.orbit_direction, acquisition.start
            FROM acquisition WHERE acquisition.current_run_id = sightings.run_id LIMIT 1
        ) AS a
    ), earlier AS (
        SELECT min(passes.relative_orbit) AS relative_orbit, min(passes.orbit_direction) AS orbit_direction,
               min(passes.start) AS start, bool_or(passes.saw) AS saw
        FROM passes
        WHERE passes.start < $2 AND (passes.platform, passes.datatake) <> ($3, $4)
        GROUP BY passes.platform, passes.datatake
    )
    SELECT earlier.relative_orbit, earlier.orbit_direction, count(*), count(*) FILTER (WHERE earlier.saw),
           min(earlier.start) FILTER (WHERE earlier.saw), max(earlier.start) FILTER (WHERE earlier.saw)
    FROM earlier
    GROUP BY earlier.relative_orbit, earlier.orbit_direction
$$
"""

# What was seen at a place before. A ghost of something fixed recurs in every pass of its orbit, so only
# several geometries, this pass's among them, prove a structure; and a ship at anchor may be seen from two
# orbits, so it takes three earlier passes, half of those that looked, and a month.
_RECURRENCE = """
CREATE FUNCTION recurrence(place geography, acquisition_id bigint, within_m double precision DEFAULT 60)
RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH orbits AS (
        SELECT before.*, a.start AS started, (before.relative_orbit, before.orbit_direction)
            IS NOT DISTINCT FROM (a.relative_orbit, a.orbit_direction) AS own
        FROM acquisition a
        CROSS JOIN LATERAL seen_before($1, a.start, a.platform, a.datatake, $3) AS before
        WHERE a.id = $2
    ), passes AS (
        SELECT sum(seen) AS seen, sum(looked) AS looked, min(started) - min(first) AS span,
               1 + count(*) FILTER (WHERE seen > 0 AND NOT own) AS geometries,
               jsonb_build_object(
                   'passes_seen', sum(seen),
                   'passes_looked', sum(looked),
                   'geometries', 1 + count(*) FILTER (WHERE seen > 0 AND NOT own),
                   'orbits', jsonb_agg(jsonb_build_object(
                       'relative_orbit', relative_orbit, 'direction', orbit_direction,
                       'seen', seen, 'looked', looked
                   ) ORDER BY relative_orbit, orbit_direction),
                   'first', min(first),
                   'last', max(last),
                   'within_m', $3
               ) AS evidence
        FROM orbits
    )
    SELECT CASE WHEN seen > 0 THEN jsonb_build_object('recurrent', evidence) ELSE '{}'::jsonb END
        || CASE
            WHEN geometries >= 2 AND seen >= 3 AND 2 * seen >= looked AND span >= interval '30 days'
            THEN jsonb_build_object('infrastructure', evidence)
            ELSE '{}'::jsonb
        END
    FROM passes
$$
"""

# The azimuth ghost of a bright target of a neighbouring slice; bounds as in daemon/flags/ghosts.py.
_NEIGHBOUR_GHOST = """
CREATE FUNCTION neighbour_ghost(place geography, brightness_db double precision, acquisition_id bigint)
RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce((
        SELECT jsonb_build_object('azimuth_ghost', jsonb_strip_nulls(jsonb_build_object(
            'order', ghost."order",
            'source_line_px', ghost.source_line_px,
            'source_sample_px', ghost.source_sample_px,
            'source_lon_deg', round(ST_X(ghost.source::geometry)::numeric, 6),
            'source_lat_deg', round(ST_Y(ghost.source::geometry)::numeric, 6),
            'source_db', ghost.source_db,
            'below_db', round((ghost.brightness_db - $2)::numeric, 1),
            'apart_m', round(ST_Distance(ghost.position, $1)),
            'offset_m', round(ST_Distance(ghost.source, $1)),
            'slice', other.current_run_id,
            'source_id', (
                SELECT coalesce(source.duplicate_of, source.id) FROM detection source
                WHERE source.run_id = ghost.run_id
                    AND ST_DWithin(source.position, ghost.source, greatest(60, source.length_m / 2 + 30))
                ORDER BY ST_Distance(source.position, ghost.source), source.id LIMIT 1
            )
        )))
        FROM acquisition own
        JOIN acquisition other ON other.platform = own.platform AND other.datatake = own.datatake
            AND other.mode = own.mode AND other.id <> own.id
        JOIN ghost_place ghost ON ghost.run_id = other.current_run_id
        WHERE own.id = $3
            AND ST_DWithin(ghost.position, $1, 350)  -- the widest: a constant, so that the index serves
            AND ST_DWithin(ghost.position, $1, 50 + 100 * ghost."order")
            AND ghost.brightness_db - $2 BETWEEN CASE ghost."order" WHEN 1 THEN 19 ELSE 22 END AND 40
        ORDER BY ghost."order", ghost.brightness_db DESC,
            ghost.source_line_px, ghost.source_sample_px, ghost.run_id
        LIMIT 1
    ), '{}'::jsonb)
$$
"""

_VIEW = """
CREATE VIEW current_detections AS
SELECT {columns},
       recurrence(detection.position, acquisition.id)
           || neighbour_ghost(detection.position, detection.brightness_db, acquisition.id)
           || detection.flags AS flags,
       detection.flags AS scene_flags,
       acquisition.id AS acquisition_id, acquisition.platform, acquisition.start AS acquired,
       acquisition.relative_orbit, acquisition.orbit_direction, run.product_id, run.engine, run.backend,
       run.layer_status AS layers
FROM acquisition
JOIN run ON run.id = acquisition.current_run_id
JOIN detection ON detection.run_id = run.id
WHERE detection.duplicate_of IS NULL
"""
_COLUMNS = (
    "id run_id class score position line_px sample_px length_m length_low_m length_high_m width_m axis_deg "
    "peak_db contrast_db incidence_deg measured box_px cell_row cell_column candidate_index prior_status "
    "prior_year brightness_db edge_m range_to_velocity_s azimuth_deg shift_bound_m shore_m"
)

_OLD_VIEW = """
CREATE VIEW current_detections AS
SELECT detection.*, acquisition.id AS acquisition_id, acquisition.platform,
       acquisition.start AS acquired, acquisition.relative_orbit, acquisition.orbit_direction,
       run.product_id, run.engine, run.backend
FROM acquisition
JOIN run ON run.id = acquisition.current_run_id
JOIN detection ON detection.run_id = run.id
"""


def upgrade() -> None:
    op.execute("DROP VIEW current_detections")
    op.create_index(op.f("ix_acquisition_current_run_id"), "acquisition", ["current_run_id"])
    op.add_column("run", sa.Column("kind", sa.Text(), nullable=True))
    op.execute("UPDATE run SET kind = product.kind FROM product WHERE product.id = run.product_id")
    op.alter_column("run", "kind", nullable=False)
    op.add_column("run", sa.Column("layers", sa.Text(), nullable=True))
    op.add_column("run", _json("layer_status", "{}"))
    for name in _CANDIDATE:
        op.add_column("candidate", sa.Column(name, sa.Double(), nullable=True))
    for name in _DETECTION:
        op.add_column("detection", sa.Column(name, sa.Double(), nullable=True))
    op.add_column("detection", sa.Column("duplicate_of", sa.String(length=32), nullable=True))
    op.create_foreign_key(
        op.f("fk_detection_duplicate_of"),
        "detection",
        "detection",
        ["duplicate_of"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index(op.f("ix_detection_duplicate_of"), "detection", ["duplicate_of"])
    op.add_column("coverage", _json("sensitivity", "[]"))
    op.add_column("coverage", sa.Column("false_alarms_per_1000_km2", sa.Double(), nullable=True))
    _create_coverage_part()
    _create_ghost_place()
    for statement in (_SEEN_BEFORE, _RECURRENCE, _NEIGHBOUR_GHOST):
        op.execute(statement)
    op.execute(_VIEW.format(columns=", ".join(f"detection.{name}" for name in _COLUMNS.split())))


def downgrade() -> None:
    op.execute("DROP VIEW current_detections")
    for name in ("neighbour_ghost", "recurrence", "seen_before"):
        op.execute(f"DROP FUNCTION {name}")
    for table in ("ghost_place", "coverage_part"):
        column = "position" if table == "ghost_place" else "part"
        op.drop_index(op.f(f"ix_{table}_run_id"), table_name=table)
        op.drop_geospatial_index(
            f"idx_{table}_{column}", table_name=table, postgresql_using="gist", column_name=column
        )
        op.drop_geospatial_table(table)
    for name in ("false_alarms_per_1000_km2", "sensitivity"):
        op.drop_column("coverage", name)
    op.drop_index(op.f("ix_detection_duplicate_of"), table_name="detection")
    op.drop_constraint(op.f("fk_detection_duplicate_of"), "detection", type_="foreignkey")
    for name in ("duplicate_of", *reversed(_DETECTION)):
        op.drop_column("detection", name)
    for name in reversed(_CANDIDATE):
        op.drop_column("candidate", name)
    for name in ("layer_status", "layers", "kind"):
        op.drop_column("run", name)
    op.drop_index(op.f("ix_acquisition_current_run_id"), table_name="acquisition")
    op.execute(_OLD_VIEW)


def _json(name: str, empty: str) -> sa.Column:
    default = sa.text(f"'{empty}'::jsonb")
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), server_default=default, nullable=False)


def _create_coverage_part() -> None:
    op.create_geospatial_table(
        "coverage_part",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
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
            ["run_id"], ["run.id"], name=op.f("fk_coverage_part_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coverage_part")),
    )
    op.create_geospatial_index(
        "idx_coverage_part_part",
        "coverage_part",
        ["part"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_index(op.f("ix_coverage_part_run_id"), "coverage_part", ["run_id"])
    op.execute(
        """
        INSERT INTO coverage_part (run_id, part)
        SELECT run_id, ST_Subdivide(valid_area::geometry, 64) FROM coverage WHERE valid_area IS NOT NULL
        """
    )


def _create_ghost_place() -> None:
    def point(name: str) -> sa.Column:
        kind = Geography(
            geometry_type="POINT",
            srid=4326,
            dimension=2,
            spatial_index=False,
            from_text="ST_GeogFromText",
            name="geography",
            nullable=False,
        )
        return sa.Column(name, kind, nullable=False)

    op.create_geospatial_table(
        "ghost_place",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("order", sa.BigInteger(), nullable=False),
        point("position"),
        point("source"),
        sa.Column("source_line_px", sa.BigInteger(), nullable=False),
        sa.Column("source_sample_px", sa.BigInteger(), nullable=False),
        sa.Column("source_db", sa.Double(), nullable=False),
        sa.Column("brightness_db", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_ghost_place_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ghost_place")),
    )
    op.create_geospatial_index(
        "idx_ghost_place_position",
        "ghost_place",
        ["position"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_index(op.f("ix_ghost_place_run_id"), "ghost_place", ["run_id"])
