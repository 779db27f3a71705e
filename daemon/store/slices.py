"""Doubles between the slices of a datatake, marked in the transaction in which a slice's result changes."""

from __future__ import annotations

from sqlalchemy import Float, bindparam, cast, func, select, update
from sqlalchemy.orm import Session

from ..slices import Sighting, duplicates
from .tables import Acquisition, Detection, Run


def mark_duplicates(session: Session, acquisition: Acquisition) -> None:
    """Mark the doubles among the current results of an acquisition's datatake, in all its slices.

    What is marked depends on the current runs alone: whichever slice comes last, the rows end the same.
    """
    place = func.ST_GeomFromWKB(func.ST_AsBinary(Detection.position))
    found = session.execute(
        select(
            Detection.id,
            Detection.duplicate_of,
            Acquisition.id,
            Acquisition.current_run_id == Detection.run_id,
            cast(func.ST_X(place), Float),
            cast(func.ST_Y(place), Float),
            Detection.length_m,
            func.coalesce(Detection.edge_m, 0.0),
        )
        .join(Run, Run.id == Detection.run_id)
        .join(Acquisition, Acquisition.id == Run.acquisition_id)
        .where(
            Acquisition.platform == acquisition.platform,
            Acquisition.datatake == acquisition.datatake,
            Acquisition.mode == acquisition.mode,
        )
    ).all()
    doubles = duplicates(
        Sighting(id_, slice_, lon, lat, length, edge)
        for id_, _, slice_, current, lon, lat, length, edge in found
        if current
    )
    changed = [
        {"this": row[0], "other": doubles.get(row[0])} for row in found if row[1] != doubles.get(row[0])
    ]
    if changed:
        # through the connection: the rows are no objects of the session
        session.connection().execute(
            update(Detection)
            .where(Detection.id == bindparam("this"))
            .values(duplicate_of=bindparam("other")),
            changed,
        )
