"""The statements of `matching`: conditions of rules, over all objects of some scenes at once.

``{judge}`` says which versions of rules judge: those in force (`IN_FORCE`) or those named (`NAMED`);
``{lost}`` whether passes that are gone may have seen, and looked at, as much as a rule asks.
"""

from __future__ import annotations

# A scene's slice, and when rules first looked at it: the versions in force then are the ones that judge it.
SLICE = """
slice AS MATERIALIZED (
    SELECT a.id, a.current_run_id, a.start, a.platform || '-' || a.datatake AS pass,
           judged.first, product.name AS product,
           EXISTS (
               SELECT FROM acquisition other
               JOIN ghost_place ghost ON ghost.run_id = other.current_run_id
               WHERE other.platform = a.platform AND other.datatake = a.datatake AND other.mode = a.mode
                   AND other.id <> a.id
           ) AS beside_ghosts
    FROM acquisition a
    JOIN run ON run.id = a.current_run_id
    JOIN product ON product.id = run.product_id
    LEFT JOIN alert_judged judged ON judged.acquisition_id = a.id
    WHERE a.id = ANY(:acquisitions)
)
"""

OBJECTS = """
thing AS MATERIALIZED (
    SELECT detection.id AS subject, detection.id AS detection_id, NULL::text AS change_id,
           NULL::text AS change, detection.position, detection.position::geometry AS place, detection.class,
           detection.score, detection.length_m, detection.length_low_m, detection.length_high_m,
           CASE WHEN slice.beside_ghosts
               THEN neighbour_ghost(detection.position, detection.brightness_db, slice.id)
               ELSE '{}'::jsonb
           END || detection.flags AS flags,
           coalesce(detection.sensed, slice.start) AS sensed, '{}'::jsonb AS told, slice.id AS acquisition_id,
           slice.current_run_id AS run_id, slice.start, slice.pass, slice.first, slice.product
    FROM slice
    JOIN detection ON detection.run_id = slice.current_run_id
    WHERE detection.duplicate_of IS NULL
)
"""

# Changes of what is no longer there carry the earlier detection; that results were removed is no change.
CHANGES = """
thing AS MATERIALIZED (
    SELECT change.id AS subject, detection.id AS detection_id, change.id AS change_id, change.kind AS change,
           change.position, change.position::geometry AS place, change.class, change.score,
           coalesce(change.length_m, detection.length_m) AS length_m, detection.length_low_m,
           detection.length_high_m, coalesce(detection.flags, '{}'::jsonb) AS flags,
           coalesce(later.sensed, slice.start) AS sensed,
           jsonb_build_object(
               'change', jsonb_strip_nulls(jsonb_build_object(
                   'kind', change.kind, 'before_acquired', change.before_acquired,
                   'before_detection', change.before_detection_id,
                   'after_detection', change.after_detection_id,
                   'reason', change.reason
               )) || jsonb_build_object('evidence', change.evidence)
           ) AS told,
           slice.id AS acquisition_id, slice.current_run_id AS run_id, slice.start, slice.pass, slice.first,
           slice.product
    FROM slice
    JOIN current_changes change ON change.after_acquisition_id = slice.id
    LEFT JOIN detection later ON later.id = change.after_detection_id
    LEFT JOIN detection ON detection.id = coalesce(change.after_detection_id, change.before_detection_id)
    WHERE change.reason IS DISTINCT FROM 'removed'
)
"""

# The cheap conditions first; then what was seen at the place, who looked there, and what always stands there.
MATCH = """
, hit AS MATERIALIZED (
    SELECT DISTINCT thing.subject, part.area_id
    FROM thing
    JOIN alert_area_part part ON ST_Intersects(part.part, thing.place)
), pair AS MATERIALIZED (
    SELECT thing.*, v.id AS version_id, v.rule_id, v.kind, v.classes, v.flags_accepted, v.gap_hours,
           v.gap_within_m, v.seen_at_least, v.seen_at_most, v.seen_days, v.seen_within_m, v.looked_at_least,
           v.ais IS NOT NULL AS asks_ais, ais.status AS ais_status, ais.mmsi, ais.distance_m
    FROM hit
    JOIN thing ON thing.subject = hit.subject
    JOIN alert_rule_version v ON v.area_id = hit.area_id AND v.kind = ANY(:kinds)
    LEFT JOIN ais_match ais ON ais.detection_id = thing.detection_id
    WHERE {judge}
        AND thing.class = ANY(v.classes)
        AND thing.score >= v.score_min
        AND (v.length_min_m IS NULL OR thing.length_m >= v.length_min_m)
        AND (v.length_max_m IS NULL OR thing.length_m <= v.length_max_m)
        AND (v.flags_accepted IS NULL OR thing.flags - v.flags_accepted = '{{}}'::jsonb)
        AND (v.changes IS NULL OR thing.change = ANY(v.changes))
        AND (v.ais IS NULL
            OR (coalesce(ais.status, 'unknown') = ANY(v.ais) AND thing.length_low_m >= v.ais_length_m))
), again AS MATERIALIZED (
    SELECT pair.*, sighted.passes AS seen, sighted.last AS seen_last
    FROM pair
    LEFT JOIN LATERAL (
        SELECT count(DISTINCT s.pass) AS passes, max(s.sensed) AS last
        FROM sighting s
        WHERE pair.seen_days IS NOT NULL
            AND s.cell = ANY(place_cells(pair.position, pair.seen_within_m))
            AND s.sensed < pair.start
            AND s.sensed >= pair.start - make_interval(secs => 86400 * pair.seen_days)
            AND s.pass <> pair.pass AND s.class = ANY(pair.classes)
            AND ST_Distance(s.position, pair.position) <= pair.seen_within_m
    ) sighted ON true
    WHERE ({lost} OR pair.seen_at_least IS NULL OR sighted.passes >= pair.seen_at_least)
        AND (pair.seen_at_most IS NULL OR sighted.passes <= pair.seen_at_most)
        AND (pair.gap_hours IS NULL OR NOT EXISTS (
            SELECT FROM sighting s
            WHERE s.cell = ANY(place_cells(pair.position, pair.gap_within_m))
                AND s.sensed < pair.start
                AND s.sensed >= pair.start - make_interval(secs => 3600 * pair.gap_hours)
                AND s.pass <> pair.pass AND s.class = ANY(pair.classes)
                AND ST_Distance(s.position, pair.position) <= pair.gap_within_m
        ))
), need AS MATERIALIZED (
    SELECT DISTINCT subject, place, start, pass, seen_days FROM again WHERE looked_at_least > 0
), earlier AS MATERIALIZED (
    SELECT a.start, a.platform || '-' || a.datatake AS pass, coverage.valid_area::geometry AS area
    FROM acquisition a
    JOIN coverage ON coverage.run_id = a.current_run_id
    WHERE a.start >= (SELECT min(start - make_interval(secs => 86400 * seen_days)) FROM need)
        AND a.start < (SELECT max(start) FROM need)
        AND coverage.valid_area::geometry && (SELECT ST_SetSRID(ST_Extent(place), 4326) FROM need)
), looked AS MATERIALIZED (
    SELECT there.subject || ' ' || there.seen_days AS key, count(DISTINCT earlier.pass) AS passes
    FROM earlier
    CROSS JOIN LATERAL (
        SELECT need.subject, need.seen_days
        FROM need
        WHERE earlier.start < need.start AND earlier.pass <> need.pass
            AND earlier.start >= need.start - make_interval(secs => 86400 * need.seen_days)
            AND ST_Covers(earlier.area, need.place)
        OFFSET 0  -- one area after the other: PostGIS prepares it once for all places
    ) there
    GROUP BY there.subject, there.seen_days
), looks AS MATERIALIZED (
    -- one value to look up in: the planner, that knows no numbers here, would compare each with each
    SELECT jsonb_object_agg(key, passes) AS by_key FROM looked
), fit AS MATERIALIZED (
    SELECT * FROM (
        SELECT again.*, coalesce(
            ((SELECT by_key FROM looks) -> (again.subject || ' ' || again.seen_days))::bigint, 0
        ) AS looked
        FROM again
    ) AS every
    WHERE {lost} OR coalesce(every.looked_at_least, 0) <= every.looked
), standing AS MATERIALIZED (
    -- `recurrence` has the last word on what stands there; its first conditions cost little
    SELECT place.subject, CASE
        WHEN before.passes >= 3 AND before.first <= place.start - interval '30 days'
            THEN recurrence(place.position, place.acquisition_id)
        WHEN before.passes > 0 THEN jsonb_build_object('recurrent', NULL)
        ELSE '{{}}'::jsonb
    END AS flags
    FROM (
        SELECT DISTINCT subject, position, acquisition_id, start, pass FROM fit
        WHERE NOT flags_accepted @> ARRAY['infrastructure', 'recurrent']
    ) place
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT s.pass) AS passes, min(s.sensed) AS first
        FROM sighting s
        WHERE s.cell = ANY(place_cells(place.position, 60)) AND s.sensed < place.start
            AND s.pass <> place.pass AND ST_Distance(s.position, place.position) <= 60
    ) before
), stands AS MATERIALIZED (
    SELECT jsonb_object_agg(subject, flags) AS by_subject FROM standing
)
SELECT fit.rule_id, fit.version_id, fit.kind, fit.subject, fit.acquisition_id, fit.pass, fit.product,
       fit.run_id, fit.detection_id, fit.change_id, fit.sensed, fit.first, ST_X(fit.place) AS lon_deg,
       ST_Y(fit.place) AS lat_deg, fit.class AS label, fit.score, fit.length_m, fit.length_low_m,
       fit.length_high_m, fit.flags,
       fit.told || CASE WHEN fit.seen_days IS NULL THEN '{{}}'::jsonb ELSE jsonb_build_object(
           'recurrence', jsonb_strip_nulls(jsonb_build_object(
               'passes_seen', fit.seen, 'last', fit.seen_last, 'days', fit.seen_days,
               'within_m', fit.seen_within_m,
               'passes_looked', CASE WHEN fit.looked_at_least > 0 THEN fit.looked END
           ))
       ) END || CASE WHEN NOT fit.asks_ais THEN '{{}}'::jsonb ELSE jsonb_build_object(
           'ais', jsonb_strip_nulls(jsonb_build_object(
               'status', coalesce(fit.ais_status, 'unknown'), 'mmsi', fit.mmsi, 'distance_m', fit.distance_m
           ))
       ) END AS evidence
FROM fit
WHERE fit.flags_accepted IS NULL
    OR coalesce((SELECT by_subject FROM stands) -> fit.subject, '{{}}'::jsonb) - fit.flags_accepted
        = '{{}}'::jsonb
ORDER BY fit.score DESC, fit.subject, fit.rule_id
"""

IN_FORCE = """EXISTS (
    SELECT FROM alert_rule_period period
    WHERE period.version_id = v.id AND period.since <= {at} AND coalesce(period.until > {at}, true)
)"""
IN_FORCE_NOW = (
    "EXISTS (SELECT FROM alert_rule_period period WHERE period.version_id = v.id AND period.until IS NULL)"
)
NAMED = "v.id = ANY(:versions)"

# Passes over a count's area: how much of its sea they looked at, slices together.
PASSES = """
WITH {slice}, looked AS MATERIALIZED (
    SELECT slice.pass, min(slice.first) AS first, min(slice.start) AS start, ST_Union(part.part) AS area
    FROM slice
    JOIN coverage_part part ON part.run_id = slice.current_run_id
    GROUP BY slice.pass
)
SELECT v.rule_id, v.id AS version_id, looked.pass, looked.start AS sensed, looked.first, v.count_over,
       v.count_under, ST_X(inner_point) AS lon_deg, ST_Y(inner_point) AS lat_deg,
       ST_Area(ST_Intersection(area.outline, looked.area)::geography) / 1e6 / nullif(area.sea_km2, 0)
           AS looked_share, v.share
FROM looked
JOIN alert_area area ON ST_Intersects(area.outline, looked.area)
CROSS JOIN LATERAL ST_PointOnSurface(area.outline) AS inner_point
JOIN alert_rule_version v ON v.area_id = area.id AND v.kind = 'count'
WHERE {judge}
"""

# Areas that were not looked at: the share of their sea within the last hours, and when last at all.
GAPS = """
SELECT v.rule_id, v.id AS version_id, ST_X(inner_point) AS lon_deg, ST_Y(inner_point) AS lat_deg,
       v.unseen_hours, recent.share AS looked_share, past.last
FROM alert_rule_version v
JOIN alert_area area ON area.id = v.area_id
CROSS JOIN LATERAL ST_PointOnSurface(area.outline) AS inner_point
CROSS JOIN LATERAL (
    SELECT coalesce(
        ST_Area(ST_Intersection(area.outline, ST_Union(part.part))::geography)
            / 1e6 / nullif(area.sea_km2, 0),
        0
    ) AS share
    FROM acquisition a
    JOIN coverage_part part ON part.run_id = a.current_run_id
    WHERE a.start > :now - make_interval(secs => 3600 * v.unseen_hours) AND a.start <= :now
        AND part.part && area.outline
) recent
CROSS JOIN LATERAL (
    SELECT max(a.start) AS last
    FROM coverage_part part
    JOIN acquisition a ON a.current_run_id = part.run_id
    WHERE ST_Intersects(part.part, area.outline) AND a.start <= :now
) past
WHERE v.kind = 'gap' AND recent.share < v.share AND area.sea_km2 > 0 AND {judge}
ORDER BY v.rule_id
"""
