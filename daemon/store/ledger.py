"""The three ledgers, and the one transaction in which a message, a product and an acquisition end.

Every function works within the caller's transaction (`Store.transaction`) and may be called again with the
same arguments without changing anything: that is what makes a redelivered message harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ..alerts.evaluate import evaluate_run
from ..domain import SceneResult, Versions
from ..errors import SceneCorrupt, SceneUnsupported
from ..messages import SceneAcquired, product_name
from ..scene.names import ProductName
from . import ais
from .change import mark_due
from .results import insert_run, multipolygon
from .slices import mark_duplicates
from .tables import Acquisition, Attempt, Message, Product, Run


@dataclass(frozen=True)
class Origin:
    """Where in Kafka a message stood, and the event that it told of."""

    cluster: str
    topic: str
    partition: int
    offset: int
    event_id: str | None = None


@dataclass(frozen=True)
class Accepted:
    """A scene that the ledgers know: its acquisition, its product, and what has been done so far."""

    acquisition_id: int
    product_id: int
    name: str
    uri: str
    kind: str  # SAFE | COG | AWS, as last announced
    done: Versions | None  # of the run over this product as it is, if any


@dataclass(frozen=True)
class Due:
    """An attempt whose time has come."""

    attempt_id: int
    product_id: int


def accept(session: Session, scene: SceneAcquired) -> Accepted:
    """Enter a scene: its acquisition (pending if new) and its product."""
    name = product_name(scene.product.name)
    acquisition = _resolve(session, name, scene.footprint)
    product = session.scalar(select(Product).where(Product.name == name.id).with_for_update())
    if product is None:
        product = Product(
            acquisition_id=acquisition.id,
            name=name.id,
            product_type=scene.product_type,
            unique_id=name.unique_id,
            source=scene.source,
        )
        session.add(product)
    given = scene.product
    product.uri, product.kind = given.uri, given.kind
    product.uuid = given.uuid or product.uuid
    product.size_bytes = given.size_bytes or product.size_bytes
    product.published = given.published or product.published
    product.received = min(product.received or scene.received, scene.received)
    if given.checksum:
        product.checksum = f"{given.checksum.algorithm}:{given.checksum.value}"
    session.flush()
    return _accepted(session, product)


def bare(name: str) -> str:
    """Return a product's name without its ending."""
    for ending in (".zip", ".SAFE"):
        name = name.removesuffix(ending)
    return name


def record(session: Session, origin: Origin | None, accepted: Accepted, result: SceneResult) -> bool:
    """End a scene with its result, and its message where there is one.

    Returns:
        Whether the database changed: False where this very run was recorded before.

    Raises:
        SceneCorrupt: the place holds another product than was announced.
    """
    found = bare(result.scene.product)
    if found != accepted.name:
        raise SceneCorrupt(
            f"{accepted.uri} holds {found}, while {accepted.name} was announced: correct the notice"
        )
    acquisition, product = _locked(session, accepted)
    known = session.get(Run, result.run_key)
    if known is None:
        insert_run(session, result, acquisition.id, product.id, accepted.kind)
        ais.match_run(session, result.run_key)
        _describe(acquisition, result)
    else:
        known.kind = accepted.kind
    product.ipf = result.scene.ipf
    product.error_class = product.error_message = None
    switched = _choose_current(session, acquisition, product, result.run_key)
    _close_attempts(session, product.id)
    session.flush()
    _settle(session, acquisition)
    if switched:
        # Slices of a datatake end one after the other: the last one sees them all.
        lock(session, f"slices {acquisition.platform} {acquisition.datatake}")
        mark_duplicates(session, acquisition)
        mark_due(session, acquisition)
    if origin:
        end_message(session, origin, accepted)
    if switched:
        evaluate_run(session, result.run_key)  # last: from here on others that judge wait
    return switched or known is None


def fail(session: Session, origin: Origin | None, accepted: Accepted, error: Exception) -> None:
    """End a scene with an error that will not pass; a good result of before stays in place."""
    acquisition, product = _locked(session, accepted)
    if product.state in (None, "failed"):
        product.state = "failed"
        product.error_class, product.error_message = type(error).__name__, said(error)
    _close_attempts(session, product.id)
    session.flush()
    _settle(session, acquisition)
    if origin:
        end_message(session, origin, accepted, error)


def postpone(
    session: Session,
    origin: Origin | None,
    accepted: Accepted,
    error: Exception,
    limit: int,
    delay_s: float,
    delay_limit_s: float,
) -> datetime | None:
    """Note an attempt that failed in a way that may pass, and when the next is due.

    Returns:
        When the next attempt is due; None where the limit is reached, which ends the product as failed.
    """
    _locked(session, accepted)
    number = 1 + (
        session.scalar(
            select(func.max(Attempt.number)).where(
                Attempt.product_id == accepted.product_id, Attempt.next_attempt_at.is_not(None)
            )
        )
        or 0
    )
    _close_attempts(session, accepted.product_id)
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    next_at = None
    if number < limit:
        next_at = now + timedelta(seconds=min(delay_s * 2 ** (number - 1), delay_limit_s))
    session.add(
        Attempt(
            product_id=accepted.product_id,
            number=number,
            error_class=type(error).__name__,
            error_message=said(error),
            next_attempt_at=next_at,
        )
    )
    if next_at is None:
        fail(session, origin, accepted, error)
    elif origin:
        end_message(session, origin, accepted, error)
    return next_at


def dead_letter(session: Session, origin: Origin, payload: bytes | None, error: Exception) -> None:
    """End a message that names no scene."""
    _upsert_message(
        session,
        origin,
        state="dead_lettered",
        product_id=None,
        payload=payload,
        error_class=type(error).__name__,
        error_message=said(error),
    )


def end_message(session: Session, origin: Origin, accepted: Accepted, error: Exception | None = None) -> None:
    """End a message as handled; the error is that of its scene, if any."""
    _upsert_message(
        session,
        origin,
        state="handled",
        product_id=accepted.product_id,
        payload=None,
        error_class=type(error).__name__ if error else None,
        error_message=said(error) if error else None,
    )


def claim_due(session: Session, lease_s: float) -> Due | None:
    """Take the attempt that is due longest, for a time: then another worker may take it."""
    attempt = session.scalar(
        select(Attempt)
        .where(Attempt.next_attempt_at <= func.clock_timestamp())
        .order_by(Attempt.next_attempt_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if attempt is None:
        return None
    session.execute(
        update(Attempt)
        .where(Attempt.id == attempt.id)
        .values(next_attempt_at=func.clock_timestamp() + timedelta(seconds=lease_s))
    )
    return Due(attempt.id, attempt.product_id)


def accepted_again(session: Session, due: Due) -> Accepted:
    """Return the scene of an attempt that is due; it is looked at whatever was done before."""
    return replace(_accepted(session, session.get_one(Product, due.product_id)), done=None)


def lock(session: Session, key: str) -> None:
    """Hold an advisory lock until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


def said(error: Exception) -> str:
    """Return an error's text as PostgreSQL can hold it; the database's own without statement and values."""
    text = str(error.orig if isinstance(error, DBAPIError) else error)
    return text.replace("\0", "").encode(errors="replace").decode()


def _resolve(session: Session, name: ProductName, footprint: dict[str, Any] | None) -> Acquisition:
    """Find the acquisition that overlaps most, at least half the shorter of the two; else make it.

    By the product's name: a provider's other fields may contradict it. Products of one acquisition need not
    agree on its seconds: near-real-time ones are sliced differently.
    """
    polarisations = list(name.polarisations)
    lock(session, f"acquisition {name.platform} {name.datatake} {name.mode} {'+'.join(polarisations)}")
    known = session.scalar(select(Product.acquisition_id).where(Product.name == name.id))
    if known is not None:
        return session.get_one(Acquisition, known)
    siblings = session.scalars(
        select(Acquisition).where(
            Acquisition.platform == name.platform,
            Acquisition.datatake == name.datatake,
            Acquisition.mode == name.mode,
            Acquisition.polarisations == polarisations,
        )
    ).all()
    best = max(siblings, key=lambda a: _overlap(name, a), default=None)
    if best is not None and _overlap(name, best) >= 0.5:
        return best
    acquisition = Acquisition(
        platform=name.platform,
        datatake=name.datatake,
        mode=name.mode,
        polarisations=polarisations,
        start=name.start,
        stop=name.stop,
        absolute_orbit=name.absolute_orbit,
        footprint=multipolygon(footprint),
        state="pending",
    )
    session.add(acquisition)
    session.flush()
    return acquisition


def _overlap(name: ProductName, acquisition: Acquisition) -> float:
    """Overlap in time over the shorter duration, 0 to 1."""
    common = min(name.stop, acquisition.stop) - max(name.start, acquisition.start)
    shorter = min(name.stop - name.start, acquisition.stop - acquisition.start)
    if shorter <= timedelta():
        return float(common >= timedelta())
    return max(common / shorter, 0.0)


def _accepted(session: Session, product: Product) -> Accepted:
    done = None
    if product.state in ("current", "superseded"):
        is_current = Run.id == Acquisition.current_run_id
        run = session.scalars(
            select(Run)
            .join(Acquisition, Run.acquisition_id == Acquisition.id)
            .where(Run.product_id == product.id)
            .order_by(is_current.desc(), Run.recorded.desc())
            .limit(1)
        ).one()
        if run.kind == product.kind:  # another kind may hold more, or less
            done = Versions(run.code, run.land, run.prior, run.engine, run.backend, run.settings, run.layers)
    return Accepted(product.acquisition_id, product.id, product.name, product.uri, product.kind, done)


def _locked(session: Session, accepted: Accepted) -> tuple[Acquisition, Product]:
    """Lock acquisition and product: two products of one acquisition end one after the other.

    Rows that refer to them can be inserted meanwhile (FOR NO KEY UPDATE): a neighbouring slice that ends at
    the same time marks this one.
    """
    lock: Any = {"key_share": True}
    acquisition = session.get_one(Acquisition, accepted.acquisition_id, with_for_update=lock)
    return acquisition, session.get_one(Product, accepted.product_id, with_for_update=lock)


def _choose_current(session: Session, acquisition: Acquisition, product: Product, run_id: str) -> bool:
    """Make the run current unless a better product of the acquisition is, whatever came first.

    Returns:
        Whether the acquisition's current run is another one now.
    """
    current = session.get(Run, acquisition.current_run_id) if acquisition.current_run_id else None
    if current is not None and current.product_id != product.id:
        other = session.get_one(Product, current.product_id)
        mine = session.get_one(Run, run_id)
        if _rank(other, current) > _rank(product, mine):
            product.state = "superseded"
            return False
        other.state = "superseded"
    product.state = "current"
    acquisition.current_run_id = run_id
    return current is None or current.id != run_id


def _rank(product: Product, run: Run) -> tuple[Any, ...]:
    """Order of the products of one acquisition: a usable one, newer processor, later published, SAFE."""
    ipf = tuple(int(part) for part in (product.ipf or "").split(".") if part.isdigit())
    published = product.published.timestamp() if product.published else 0.0
    return run.outcome == "done", ipf, published, product.kind == "SAFE", product.name


def _describe(acquisition: Acquisition, result: SceneResult) -> None:
    acquisition.relative_orbit = result.scene.relative_orbit
    acquisition.orbit_direction = result.scene.orbit_direction
    footprint = multipolygon(result.scene.footprint)
    if footprint is not None:
        acquisition.footprint = footprint


def _settle(session: Session, acquisition: Acquisition) -> None:
    """Set the acquisition's state from its products, so that no order of events matters."""
    if acquisition.current_run_id:
        run = session.get_one(Run, acquisition.current_run_id)
        acquisition.state, acquisition.reason = run.outcome, run.reason
        return
    products = session.scalars(
        select(Product).where(Product.acquisition_id == acquisition.id).order_by(Product.name)
    ).all()
    if any(product.state is None for product in products):
        acquisition.state, acquisition.reason = "pending", None
        return
    unsupported = [p for p in products if p.error_class == SceneUnsupported.__name__]
    last = (unsupported or products)[-1]
    acquisition.state = "unsupported" if unsupported else "dead"
    acquisition.reason = last.error_message


def _close_attempts(session: Session, product_id: int) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.product_id == product_id, Attempt.next_attempt_at.is_not(None))
        .values(next_attempt_at=None)
    )


def _upsert_message(session: Session, origin: Origin, **fields: Any) -> None:
    place = {
        "cluster": origin.cluster,
        "topic": origin.topic,
        "kafka_partition": origin.partition,
        "kafka_offset": origin.offset,
    }
    fields["event_id"] = origin.event_id
    values = insert(Message).values(**place, **fields)
    session.execute(values.on_conflict_do_update(index_elements=list(place), set_=fields))
