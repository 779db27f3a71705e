"""Free questions: real products, PostGIS and Kafka; an engine that says what it is told to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely
from kafka import KafkaConsumer, TopicPartition

from daemon.app import Daemon
from daemon.ask.answering import MAX_CHIPS, Answerer
from daemon.ask.messages import AnswerGiven, build
from daemon.chips import cut_chip
from daemon.config import Settings
from daemon.domain import SceneResult, detection_id
from daemon.messages import now
from daemon.publish import Publisher, client_options, ensure_topics, scene_of
from daemon.scene.product import open_scene
from daemon.store import ledger, retention
from daemon.store.session import Store
from engine.errors import BackendError, InputError
from engine.runtime.forms import REFUSAL
from engine.runtime.image import Cell, cell_of
from engine.runtime.predictor import Predictor
from engine.runtime.text import Request
from tests.services.test_agent import read_dead
from tests.services.test_change import pass_of, settle
from tests.services.test_slices import record
from tests.services.test_store import rows
from tests.support import tiny
from tests.support.safe import build_safe
from tests.support.speaker import Speaker

FREE = "Is there a row of echoes beside it?"  # what the reader does not understand, and an engine may
PLACES = {"a": (40.0, 50.0), "b": (60.0, 70.0), "c": (200.0, 300.0)}  # line and sample; a and b in one chip


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return build_safe(tmp_path)


def result(product: Path, places: dict[str, tuple[float, float]] = PLACES) -> SceneResult:
    base = tiny.make_result(str(product), 1)
    with open_scene(str(product)) as scene:
        lon, lat = scene.geometry.lonlat(*zip(*places.values(), strict=True))
    found = []
    for i, (line, sample) in enumerate(places.values()):
        cell = cell_of(line, sample)
        found.append(
            replace(
                base.detections[0],
                id=detection_id(base.run_key, float(lon[i]), float(lat[i]), 0),
                lon_deg=float(lon[i]),
                lat_deg=float(lat[i]),
                line_px=line,
                sample_px=sample,
                score=0.9 - 0.01 * i,
                box_px=(sample - 3, line - 4, sample + 5, line + 6),
                cell=(cell.row, cell.col),
                candidate=None,
            )
        )
    area = scene.footprint
    whole = area if area.geom_type == "MultiPolygon" else shapely.MultiPolygon([area])
    return replace(
        base, detections=tuple(found), candidates=(), coverage=replace(base.coverage, valid_area=whole)
    )


def fill(store: Store, found: SceneResult) -> list[str]:
    with store.transaction() as session:
        ledger.record(session, None, ledger.accept(session, scene_of(found.scene.uri)), found)
    return [detection.id for detection in found.detections]


def ask(store: Store, engine: Any, text: str = FREE, id_: str = "q", **scope: Any) -> AnswerGiven:
    asked = build(
        {"schema": "fusar.question/1", "question_id": id_, "asked": now(), "scope": scope, "text": text}
    )
    return Answerer(engine).end(store, asked, "command")


def cites_all(request: Request) -> str:
    return f"{list(range(1, len(request.known) + 1))}\nSo many ships: {'x' * len(request.known)}."


def test_an_answer_cites_detections_and_is_kept_with_its_inputs(store: Store, product: Path) -> None:
    a, b, _ = fill(store, result(product))
    engine = Speaker(lambda request: "[2]\nOne ship lies east.")
    given = ask(store, engine, detection=a)
    assert (given.state, given.answer) == ("answered", "One ship lies east.")
    assert [cited.id for cited in given.cited] == [b]
    (request,) = engine.asked
    assert (request.task, request.question) == ("question", FREE)
    assert request.dates == (scene_of(str(product)).start.date().isoformat(),)
    assert [place.label for place in request.known] == ["ship", "ship"]
    assert request.known[0].box_px == (50 + 20 - 3, 40 + 20 - 4, 50 + 20 + 5, 40 + 20 + 6)
    with open_scene(str(product)) as scene:
        assert (request.chips[0] == cut_chip(scene, Cell(0, 0))).all(), "the pixels are the product's"
    kept = rows(store, "SELECT text, state, cited, bundle, backend, inputs, runs, source FROM question")
    (text, state, cited, bundle, backend, inputs, runs, source) = kept[0]
    assert (text, state, cited, bundle, backend, source) == (
        FREE, "answered", [b], "bundle-1", "spoken", "command",
    )  # fmt: skip
    assert (
        inputs[0]["detections"] == [a, b] and len(inputs[0]["sha256"]) == 64 and inputs[0]["cell"] == [0, 0]
    )
    assert runs == [inputs[0]["run"]]
    assert given.facts["detections"] == {"ship": 1} and given.facts["ais"] == {"unknown": 1}


def test_a_scene_and_an_area_are_asked_chip_by_chip(store: Store, product: Path) -> None:
    found = result(product)
    ids = fill(store, found)
    engine = Speaker(cites_all)
    given = ask(store, engine, scene=found.scene.product)
    assert len(engine.asked) == 2 and sorted(c.id for c in given.cited) == sorted(ids)
    assert given.answer and given.answer.count("\n") == 1, "one line a chip, nothing summed"
    c = found.detections[2]
    ring = [
        [c.lon_deg + x, c.lat_deg + y]
        for x, y in ((-0.003, -0.003), (0.003, -0.003), (0.003, 0.003), (-0.003, 0.003), (-0.003, -0.003))
    ]
    given = ask(store, engine, id_="area", area={"type": "Polygon", "coordinates": [ring]})
    assert [cited.id for cited in given.cited] == [ids[2]]
    assert ask(store, engine, id_="number", scene="1").state == "answered"


def test_too_many_chips_are_told_of(store: Store, tmp_path: Path) -> None:
    product = build_safe(tmp_path, shape=(600, 600))
    places = {f"{i}": (43.0 + 86 * (i // 6), 43.0 + 86 * (i % 6)) for i in range(36)}
    fill(store, result(product, places))
    engine = Speaker(cites_all)
    given = ask(store, engine, scene="1")
    assert len(engine.asked) == MAX_CHIPS and given.facts["chips_not_asked"] == 36 - MAX_CHIPS
    assert given.facts["detections"] == {"ship": 36}


def gone(product: Path) -> None:
    shutil.rmtree(product)


def fail(error: Exception) -> Callable[[Request], str]:
    def say(request: Request) -> str:
        raise error

    return say


FAR = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "identity": ({"scene": "1"}, "What is its name?", "AIS"),
    "not_understood": ({"scene": "1"}, FREE, "Ask one thing"),
    "engine_cannot": ({"scene": "1"}, "Describe the scene.", "no task 'description'"),
    "images_cannot_show": ({"scene": "1"}, FREE, "cannot"),
    "engine_failed": ({"scene": "1"}, FREE, "memory"),
    "not_found": ({"detection": "nope"}, FREE, "nothing"),
    "which_one": ({"scene": "1"}, "What is it?", "--detection"),
    "no_side": ({"scene": "1"}, "How many ships are in the left third?", "north"),
    "no_edge": ({"scene": "1"}, "Which ships are cut off by the edge?", "--detection"),
    "not_compared": ({"scene": "1"}, "What is new since the last pass?", "not worked out"),
    "no_pixels": ({"scene": "1"}, FREE, "no longer"),
    "not_looked_at": ({"area": FAR}, FREE, "current"),
}  # fmt: skip


def test_every_refusal_says_why_and_is_kept(store: Store, product: Path) -> None:
    fill(store, result(product))
    for name, (scope, text, said) in REFUSED.items():
        engine = Speaker(lambda request: REFUSAL)
        if name in ("engine_cannot", "not_understood"):
            engine = Speaker(cites_all, tasks=("detection",))
        elif name == "engine_failed":
            engine = Speaker(fail(BackendError("out of memory")))
        elif name == "no_pixels":
            gone(product)
        given = ask(store, engine, text, name, **scope)
        assert (given.state, given.refusal, given.answer) == ("refused", name, None)
        assert given.reason and said in given.reason
        assert given.cited == ()
        asked = name in ("images_cannot_show", "engine_failed")
        assert bool(engine.asked) == asked
        if name == "no_pixels":
            product.mkdir()
    assert rows(store, "SELECT count(*) FROM question WHERE state = 'refused'") == [(len(REFUSED),)]
    strange = ask(store, Speaker(fail(InputError("got sensor X"))), FREE, "strange", scene="1")
    assert strange.refusal in ("engine_cannot", "no_pixels")


def test_nothing_seen_is_said_with_what_would_have_been(store: Store, product: Path) -> None:
    fill(store, replace(result(product), detections=()))
    given = ask(store, Speaker(cites_all), scene="1")
    assert given.refusal == "nothing_seen" and "18 m or more" in str(given.reason)


def test_no_ship_is_an_answer_with_its_ground(store: Store, product: Path) -> None:
    fill(store, replace(result(product), detections=()))
    engine = Speaker(cites_all)
    given = ask(store, engine, "How many ships are there?", scene="1")
    assert given.state == "answered" and given.answer and given.answer.startswith("No ship. Seen ")
    assert "18 m or more" in given.answer and given.cited == () and engine.asked == []


@pytest.fixture(scope="module")
def nano() -> Predictor:
    """The bundle that ships with the package: it was not trained on free questions."""
    predictor = Predictor.open(threads=1)
    assert "question" not in predictor.manifest.tasks
    return predictor


def test_an_area_is_counted_whole_by_what_was_detected(store: Store, tmp_path: Path, nano: Predictor) -> None:
    product = build_safe(tmp_path, shape=(600, 600))
    places = {f"{i}": (43.0 + 86 * (i // 6), 43.0 + 86 * (i % 6)) for i in range(36)}
    found = result(product, places)
    lengths = [40.0 + 10 * i for i in range(36)]
    varied = tuple(
        replace(
            d, length_m=m, length_low_m=m - 5, length_high_m=m + 5, label="platform" if i == 35 else "ship"
        )
        for i, (d, m) in enumerate(zip(found.detections, lengths, strict=True))
    )
    ids = fill(store, replace(found, detections=varied))
    area = shapely.geometry.mapping(found.coverage.valid_area)
    given = ask(store, nano, "How many ships are there in this area?", area=area)
    assert given.state == "answered" and given.answer and given.answer.startswith("35 ships. Seen ")
    assert {cited.id for cited in given.cited} == set(ids[:35]), "more than fit 24 chips"
    assert (given.reading or {})["intent"] == "count" and len((given.reading or {})["weights"]) == 16
    again = ask(store, nano, "something else", area=area)
    assert again == given, "the same id again gets the kept answer"
    given = ask(store, nano, "any ships longer than 300 m?", "long", area=area)
    longer = [i for i, m, d in zip(ids, lengths, varied, strict=True) if m > 300 and d.label == "ship"]
    assert given.answer and given.answer.startswith(f"{len(longer)} ships longer than 300 m. For 1 the bound")
    assert [cited.id for cited in given.cited] == longer
    north = ask(store, nano, "How many objects are in the north?", "north", area=area)
    lat = sorted((d.lat_deg for d in varied), reverse=True)
    assert 6 <= len(north.cited) <= 18 and min(c.lat_deg for c in north.cited) > lat[24]
    kept = rows(
        store, "SELECT cited, inputs, details -> 'reading' ->> 'intent' FROM question WHERE id = 'long'"
    )
    assert kept == [(longer, [], "longer")]


def test_the_shipped_engine_is_asked_what_it_can_add(store: Store, product: Path, nano: Predictor) -> None:
    a, _, _ = fill(store, result(product))
    given = ask(store, nano, "What is it?", detection=a)
    assert given.state == "answered" and [cited.id for cited in given.cited] == [a]
    assert given.answer and given.answer.startswith("It is a ship (score 0.90)")
    assert "asked about it alone, the engine says" in given.answer and "Seen " in given.answer
    assert given.bundle == nano.bundle.bundle_id
    (kept,) = rows(store, "SELECT inputs, details -> 'chips' FROM question")
    assert kept[0][0]["detections"] == [a] and kept[1][0]["text"] in (
        "ship",
        "platform",
        "turbine",
        "clutter",
    )
    described = ask(store, nano, "Describe what you see.", "d", scene="1")
    assert described.state == "answered" and described.answer and described.answer.count("\n") == 2
    refused = ask(store, nano, FREE, "f", detection=a)
    assert refused.refusal == "not_understood"
    gone(product)
    given = ask(store, nano, "What is it?", "gone", detection=a)
    assert given.answer and given.answer.startswith("It is a ship (score 0.90), as the scene was read; its")


def test_what_changed_is_answered_from_the_stored_changes(store: Store, nano: Predictor) -> None:
    record(store, pass_of(0, [(135.2, 6.5), (135.3, 6.6)]))
    first = ask(store, nano, "What is new since the last pass?", "first", scene="1")
    assert first.refusal == "not_compared" and "not worked out yet" in str(first.reason)
    settle(store)
    alone = ask(store, nano, "What is new since the last pass?", "alone", scene="1")
    assert alone.refusal == "not_compared" and "no earlier pass" in str(alone.reason)
    record(store, pass_of(12, [(135.2, 6.5), (135.4, 6.7), (135.5, 6.8)]))
    settle(store)
    given = ask(store, nano, "What is new since the last pass?", "new", scene="2")
    assert given.state == "answered" and given.answer and given.answer.startswith("2 ships appeared.")
    assert "Compared with 2022-10-02 20:51 UTC" in given.answer and "Seen 2022-10-14" in given.answer
    appeared = rows(store, "SELECT after_detection_id FROM current_changes WHERE kind = 'appeared'")
    assert {(cited.id,) for cited in given.cited} == set(appeared)
    gone_ = ask(store, nano, "Which ships have left?", "gone", scene="2")
    left = rows(store, "SELECT before_detection_id FROM current_changes WHERE kind = 'gone'")
    assert [(cited.id,) for cited in gone_.cited] == left and len(left) == 1
    more = ask(store, nano, "Are there more ships than before?", "more", scene="2")
    assert more.answer and more.answer.startswith("More ships: 2 before, then 3.")
    stays = rows(store, "SELECT after_detection_id FROM current_changes WHERE kind = 'still_occupied'")
    one = ask(store, nano, "Is it still there?", "one", detection=stays[0][0])
    assert one.answer and one.answer.startswith("It is still occupied.")


def test_a_scene_whose_results_were_removed_is_not_found(store: Store, product: Path) -> None:
    fill(store, result(product))
    with store.transaction() as session:
        assert retention.prune(session, now()) == 1
    assert ask(store, Speaker(cites_all), scene="1").refusal == "not_found"


def test_asked_again_nothing_is_asked_anew(store: Store, product: Path) -> None:
    fill(store, result(product))
    first = ask(store, Speaker(cites_all), scene="1")
    engine = Speaker(lambda request: REFUSAL)
    assert ask(store, engine, scene="1") == first
    assert engine.asked == []


def test_questions_by_topic_are_answered_once_and_dead_lettered(
    settings: Settings, store: Store, product: Path
) -> None:
    topic = settings.kafka.scenes_topic
    kafka = settings.kafka.model_copy(
        update={"questions_topic": f"{topic}.questions", "answers_topic": f"{topic}.answers"}
    )
    settings = settings.model_copy(update={"kafka": kafka})
    ids = fill(store, result(product))
    question = {
        "schema": "fusar.question/1", "question_id": "k-1", "asked": "2024-05-01T10:00:00Z",
        "scope": {"detection": ids[2]}, "text": FREE,
    }  # fmt: skip
    ensure_topics(kafka)
    with Publisher(kafka) as publisher:
        for value in (json.dumps(question).encode(), b"not a question", json.dumps(question).encode()):
            publisher.send(kafka.questions_topic, b"k", value)
    engine = Speaker(cites_all)
    answerer = Answerer(engine)  # type: ignore[arg-type]
    Daemon(settings, tiny.process, tiny.VERSIONS, 3.0, answerer).run()
    consumer = KafkaConsumer(**client_options(kafka), consumer_timeout_ms=3000)
    at = TopicPartition(kafka.answers_topic, 0)
    consumer.assign([at])
    consumer.seek_to_beginning(at)
    answers = [json.loads(message.value) for message in consumer]
    consumer.close()
    assert len(answers) == 2 and answers[0] == answers[1], "at least once, and the same"
    assert answers[0]["state"] == "answered" and answers[0]["cited"][0]["id"] == ids[2]
    assert len(engine.asked) == 1
    assert [message.value for message in read_dead(settings)] == [b"not a question"]
    assert rows(store, "SELECT state FROM message WHERE topic LIKE '%questions'") == [("dead_lettered",)]
