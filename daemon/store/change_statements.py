"""The statements of `change`: what becomes due, and what a run is compared with."""

from __future__ import annotations

from sqlalchemy import text

# The version is the transaction's: a worker that slept does not take another turn for its own.
# Later scenes that meet any area that the pass has, or ever had, and the neighbouring slices of the pass.
MARK = text(
    """
    INSERT INTO change_due (acquisition_id, version)
    SELECT a.id, pg_current_xact_id()::text::bigint FROM acquisition a
    WHERE a.current_run_id IS NOT NULL AND (
        (a.platform = :platform AND a.datatake = :datatake
            AND a.start BETWEEN :start - :neighbours AND :start + :neighbours)
        OR (a.start > :start AND a.start <= :start + :age AND EXISTS (
            SELECT FROM acquisition own
            JOIN run ON run.acquisition_id = own.id
            JOIN coverage_part mine ON mine.run_id = run.id
            JOIN coverage_part theirs ON ST_Intersects(theirs.part, mine.part)
            WHERE own.platform = :platform AND own.datatake = :datatake
                AND own.start BETWEEN :start - :neighbours AND :start + :neighbours
                AND theirs.run_id = a.current_run_id
        ))
    )
    ORDER BY a.id
    ON CONFLICT (acquisition_id) DO UPDATE SET version = excluded.version, attempts = 0,
        error_class = NULL, error_message = NULL, next_attempt_at = now()
    """
)

_RUN = """
    a.current_run_id AS run_id, a.platform, a.datatake, a.mode, a.relative_orbit, a.orbit_direction, a.start,
    product.uri, coverage.smallest_ship_m
"""
_OF_RUN = """
    JOIN run ON run.id = a.current_run_id
    JOIN product ON product.id = run.product_id
    JOIN coverage ON coverage.run_id = run.id
"""
SLICES = text(
    f"""
    SELECT {_RUN} FROM acquisition a {_OF_RUN}
    JOIN acquisition own ON own.id = :id
    WHERE (a.platform, a.datatake, a.mode) = (own.platform, own.datatake, own.mode)
        AND a.start BETWEEN own.start - :neighbours AND own.start + :neighbours
    ORDER BY a.id = :id DESC, a.start, a.current_run_id
    """
)
EARLIER = text(
    f"""
    SELECT {_RUN} FROM acquisition a {_OF_RUN}
    WHERE a.start < :start AND a.start >= :start - :age AND (a.platform, a.datatake) <> (:platform, :datatake)
        AND a.current_run_id IN (
            SELECT theirs.run_id FROM coverage_part mine
            JOIN coverage_part theirs ON ST_Intersects(theirs.part, mine.part)
            WHERE mine.run_id = ANY(:runs)
        )
    ORDER BY a.start DESC, a.current_run_id
    """
)
_SIGHTING = """
    d.id, d.run_id, d.class AS label, d.score, ST_X(d.position::geometry) AS lon_deg,
    ST_Y(d.position::geometry) AS lat_deg, d.line_px, d.sample_px, d.length_m, d.box_px, d.incidence_deg,
    d.azimuth_deg, d.range_to_velocity_s, d.shift_bound_m,
    neighbour_ghost(d.position, d.brightness_db, a.id) || d.flags AS flags
"""
# One candidate, the strongest, that the other side has at a place and did not confirm.
_CANDIDATE = """
    LEFT JOIN LATERAL (
        SELECT candidate.state FROM candidate
        WHERE candidate.run_id = other.run_id AND candidate.state <> 'confirmed'
            AND ST_DWithin(candidate.position, d.position, 60)
        ORDER BY candidate.contrast_db DESC, candidate.index LIMIT 1
    ) AS candidate ON true
"""
# Each object of the pass with the latest earlier run that looked at its place.
SEEN_AFTER = text(
    f"""
    SELECT {_SIGHTING}, other.run_id AS other_run_id, candidate.state AS candidate
    FROM acquisition a
    JOIN detection d ON d.run_id = a.current_run_id AND d.duplicate_of IS NULL
    LEFT JOIN LATERAL (
        SELECT part.run_id
        FROM coverage_part part
        JOIN acquisition e ON e.current_run_id = part.run_id
        WHERE ST_DWithin(part.part, d.position::geometry, :edge) AND e.current_run_id = ANY(:earlier)
        ORDER BY e.start DESC, e.current_run_id LIMIT 1
    ) AS other ON true
    {_CANDIDATE}
    WHERE a.current_run_id = ANY(:runs)
    ORDER BY d.id
    """
)
# Objects of earlier passes at places at which this one looked.
NEAR = text(
    """
    SELECT DISTINCT d.id, d.run_id, ST_X(d.position::geometry) AS lon_deg,
        ST_Y(d.position::geometry) AS lat_deg
    FROM coverage_part part
    JOIN detection d ON d.position && ST_Expand(part.part, :edge)::geography
        AND ST_DWithin(part.part, d.position::geometry, :edge)
    WHERE part.run_id = ANY(:runs) AND d.run_id = ANY(:earlier) AND d.duplicate_of IS NULL
    """
)
AREAS = text(
    """
    SELECT run_id, ST_AsBinary(valid_area::geometry) AS area FROM coverage
    WHERE run_id = ANY(:earlier) AND valid_area IS NOT NULL
    """
)
# Those of them, by id, at whose places no pass looked in between; with the slice that speaks for the place.
SEEN_BEFORE = text(
    f"""
    SELECT {_SIGHTING}, other.run_id AS other_run_id, candidate.state AS candidate
    FROM detection d
    JOIN acquisition a ON a.current_run_id = d.run_id
    JOIN LATERAL (
        SELECT part.run_id
        FROM coverage_part part
        JOIN acquisition own ON own.current_run_id = part.run_id
        WHERE ST_DWithin(part.part, d.position::geometry, :edge) AND part.run_id = ANY(:runs)
        ORDER BY own.start, part.run_id LIMIT 1
    ) AS other ON true
    {_CANDIDATE}
    WHERE d.id = ANY(:last)
    ORDER BY d.id
    """
)
# Earlier passes over the same sea whose results were removed: they looked, and nobody knows what they saw.
REMOVED = text(
    """
    SELECT e.start, e.platform, e.datatake, ST_AsBinary(e.footprint::geometry) AS area
    FROM acquisition e
    WHERE e.start < :start AND e.start >= :start - :age AND (e.platform, e.datatake) <> (:platform, :datatake)
        AND e.current_run_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM coverage WHERE coverage.run_id = e.current_run_id)
        AND EXISTS (
            SELECT FROM coverage_part mine
            WHERE mine.run_id = ANY(:runs) AND ST_Intersects(e.footprint::geometry, mine.part)
        )
    ORDER BY e.start DESC, e.id
    """
)

# What pixels said when an acquisition was compared before, by whatever runs; the latest first.
KEPT = text(
    """
    SELECT unit.id AS unit_id, e.platform, e.datatake, e.start, change.evidence,
        ST_X(change.position::geometry) AS lon_deg, ST_Y(change.position::geometry) AS lat_deg
    FROM run later
    JOIN change_unit unit ON unit.after_run_id = later.id
    JOIN run earlier ON earlier.id = unit.pixel_run_id
    JOIN acquisition e ON e.id = earlier.acquisition_id
    JOIN change ON change.unit_id = unit.id
    WHERE later.acquisition_id = :id AND change.evidence -> 'pixels' ? 'ratio_db'
    ORDER BY unit.recorded DESC, change.id
    """
)
