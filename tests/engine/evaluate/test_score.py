"""From items to a report, with engines whose score is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.data.asks import target_box
from engine.data.records import Record, write_prior, write_records
from engine.errors import DatasetError, InputError
from engine.evaluate.asking import AS_IS, Answered, ask
from engine.evaluate.cfar import detect
from engine.evaluate.controls import CONTROLS, land_distance_prior
from engine.evaluate.detection import valid_text
from engine.evaluate.items import IMAGE_PX, Item, read_items
from engine.evaluate.pictures import draw
from engine.evaluate.report import markdown
from engine.evaluate.score import score
from engine.evaluate.shores import draw_items
from engine.runtime.image import CHIP_PX
from engine.runtime.prior import Prior
from engine.runtime.text import Answer, AnswerObject, Request, detection_text
from engine.simulate.chips import make_chips


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return draw_items(60, 5)


class Oracle:
    """Knows the truth of each chip by its pixels.

    Args:
        items: what it knows.
        needs_prior: tells only where there is a prior.
        mute: never tells.
        shift_px: puts every box so far off.
    """

    def __init__(
        self, items: Sequence[Item], needs_prior: bool = False, mute: bool = False, shift_px: float = 0.0
    ) -> None:
        self._known = {item.chips[0].tobytes(): item for item in items}
        self._needs_prior, self._mute, self._shift_px = needs_prior, mute, shift_px
        self.asked: list[Request] = []

    def ask(self, requests: Sequence[Request], progress=None) -> list[Answer]:
        self.asked.extend(requests)
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Answer:
        item = self._known.get(request.chips[0].tobytes())
        silent = self._mute or (self._needs_prior and not request.priors[0].mask.any())
        if request.task != "detection":
            return Answer("0" if item is None or silent else item.ask(request.task).answer)
        if item is None or silent:
            return Answer("[]")
        moved = [tuple(edge + self._shift_px for edge in thing.box_px) for thing in item.things]
        objects = tuple(AnswerObject(b, t.label, 0.9) for b, t in zip(moved, item.things, strict=True))
        return Answer(detection_text((o.label, target_box(o.box_px, IMAGE_PX)) for o in objects), objects)


def _score(engine: Oracle, items: Sequence[Item], controls: Sequence[str] = ()) -> dict:
    tasks = ("detection", "counting", "description")
    return score(ask(engine, items, tasks, controls), 0.5, resamples=40)


def test_items_are_the_simulators_chips(items: list[Item]) -> None:
    chips = make_chips(3, 5)
    assert all((item.chips[0] == pixels).all() for item, pixels in zip(items, chips.pixels, strict=False))
    assert len({item.site for item in items}) == 60
    for item in items:
        assert (item.shore_px is None) or item.shore_px.shape == (CHIP_PX, CHIP_PX)
    shores = [item.shore_px is not None for item in items]
    assert 0 < sum(shores) < 60


def test_the_truth_scores_one(items: list[Item]) -> None:
    results = _score(Oracle(items), items)
    part = results["detection"]
    ships = sum(thing.label == "ship" for item in items for thing in item.things)
    assert part["ships"]["centre"]["hits"] == ships > 20
    for found in (*part["ships"].values(), part["ships_of_25_m_and_more"], part["ships_in_the_core"]):
        assert found["f1"] == 1
    assert sum(each["hits"] for each in part["ships_by_length"].values()) == ships
    assert sum(each["of"] for each in part["ships_by_contrast"].values()) == ships
    assert part["ship_count"]["exact"]["share"] == part["text_valid"]["share"] == 1
    assert part["ship_cells"]["all"]["acc_100"]["share"] == 1
    assert part["curve"]["average_precision"] == 1
    assert results["counting"]["exact"]["share"] == results["description"]["all"]["share"] == 1
    assert results["counting"]["majority"]["share"] < 1
    assert results["calibration"]["expected_error"] == pytest.approx(0.1)


def test_boxes_elsewhere_score_about_nothing(items: list[Item]) -> None:
    part = _score(Oracle(items, shift_px=47.0), items)["detection"]
    assert part["ships"]["centre"]["f1"] < 0.1
    assert part["ship_count"]["exact"]["share"] == 1  # a count says nothing of places


def test_silence_scores_nothing(items: list[Item]) -> None:
    part = _score(Oracle(items, mute=True), items)["detection"]
    assert part["ships"]["centre"]["recall"] == 0
    assert part["ships"]["centre"]["precision"] is None
    assert 0 < part["ship_count"]["exact"]["share"] < 1  # chips without ships


def test_what_the_prior_gives_is_seen(items: list[Item]) -> None:
    engine = Oracle(items, needs_prior=True)
    found = _score(engine, items, ("prior_withheld", "prior_shuffled"))["controls"]
    known = sum(item.status != "absent" for item in items)
    assert found["prior_withheld"]["items"] == known
    assert found["prior_withheld"]["detection"]["control"] == 0
    assert found["prior_withheld"]["detection"]["gain"]["mean"] > 0.5
    assert found["prior_shuffled"]["detection"]["gain"]["mean"] == 0  # any prior will do for this one
    assert 0 < known < 60
    assert len(engine.asked) == 3 * 60 + 2 * 2 * known  # only what a control changes is asked again


def test_controls_do_what_they_say(items: list[Item]) -> None:
    made = {name: control(items) for name, control in CONTROLS.items()}
    known = {i for i, item in enumerate(items) if item.priors[0].mask.any()}
    assert set(made["prior_withheld"]) == set(made["prior_shuffled"]) == set(made["prior_constant"]) == known
    assert not any(item.priors[0].mask.any() for item in made["prior_withheld"].values())
    given = [items[i].priors[0].vectors.tobytes() for i in known]
    shuffled = [made["prior_shuffled"][i].priors[0].vectors.tobytes() for i in known]
    assert sorted(given) == sorted(shuffled)
    assert all(a != b for a, b in zip(given, shuffled, strict=True))
    constant = np.concatenate(
        [made["prior_constant"][i].priors[0].vectors[items[i].priors[0].mask] for i in known]
    )
    assert (constant == constant[0]).all()
    assert all((made["image_withheld"][i].chips[0] == 0).all() for i in range(60))
    assert set(made["prior_land_distance"]) <= known
    with pytest.raises(InputError):
        ask(Oracle(items), items, ("detection",), ("nothing",))


def test_a_prior_of_one_site_alone_cannot_be_shuffled(items: list[Item]) -> None:
    known = [replace(item, site="one") for item in items if item.priors[0].mask.any()]
    assert CONTROLS["prior_shuffled"](known) == {}


def test_land_and_distance_as_a_prior() -> None:
    shore = np.tile(np.linspace(-200, 50, CHIP_PX, dtype=np.float32), (CHIP_PX, 1))
    prior = land_distance_prior(shore)
    assert np.linalg.norm(prior.vectors, axis=1) == pytest.approx(np.ones(36))
    row = prior.vectors[:6]
    assert (np.diff(row[:, 1] / np.abs(row[:, 0])) >= 0).all()
    assert (row[0, 0] < 0) and (row[-1, 0] > 0)


def test_other_detectors_stand_beside(items: list[Item], tmp_path: Path) -> None:
    answered = ask(Oracle(items), items, ("detection", "counting", "description"), ("image_withheld",))
    found = {"cfar": [detect(item.chips[0], item.shore_px) for item in items]}
    report = {"conditions": {"data": "simulated"}, "results": score(answered, 0.5, found, resamples=40)}
    beside = report["results"]["baselines"]["cfar"]
    assert beside["ours"]["average_precision"] == 1
    assert 0.3 < beside["curve"]["average_precision"] < 1
    assert all(each["gain"] >= 0 for each in beside["equal_false_alarms"].values())
    json.loads(json.dumps(report, allow_nan=False))
    report["pictures"] = draw(report["results"], tmp_path, "report")
    assert len(report["pictures"]) == 4
    assert all((tmp_path / name).stat().st_size > 5000 for name in report["pictures"])
    text = markdown(report)
    assert "ships, 50 to 100 m, centre" in text
    assert "image withheld" in text
    assert "cfar, the scan's false-alarm rate" in text


def test_records_become_the_same_items(items: list[Item], tmp_path: Path) -> None:
    from PIL import Image

    chips = make_chips(6, 5)
    records: list[Record] = []
    for index, item in enumerate(items[:6]):
        name = f"{index}.png"
        Image.fromarray(np.moveaxis(chips.pixels[index], 0, -1)).save(tmp_path / name)
        aef = None
        if item.priors[0].mask.any():
            aef = f"{index}.npz"
            write_prior(tmp_path / aef, item.priors[0])
        records += [replace(each.record, images=(name,), aef=(aef,)) for each in item.asks]
    write_records(tmp_path / "stage2.val.jsonl", records)
    read = read_items(tmp_path)
    assert len(read) == 6
    for one, two in zip(read, items, strict=False):
        assert (one.chips[0] == two.chips[0]).all()
        assert one.site == two.site
        assert [ask.answer for ask in one.asks] == [ask.answer for ask in two.asks]
        centres = [sorted(thing.centre_px for thing in each.things) for each in (one, two)]
        assert np.allclose(*centres, atol=1.0)
    results = _score(Oracle(read), read)
    assert results["detection"]["ships"]["centre"]["f1"] == 1
    with pytest.raises(DatasetError):
        read_items(tmp_path / "none")


def test_sites_of_unknown_place_are_their_own(items: list[Item]) -> None:
    answered = Answered([replace(item, site=None) for item in items])
    assert len(set(answered.sites)) == 60
    assert answered.asked("detection", AS_IS) == []


def test_absent_prior_is_absent() -> None:
    assert Prior.absent().status == "absent"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("[]", True),
        ("None", True),
        (detection_text([("ship", (1, 2, 3, 4))]), True),
        (detection_text([("ship", (3, 2, 1, 4))]), False),
        (detection_text([("whale", (1, 2, 3, 4))]), False),
        ("a ship", False),
    ],
)
def test_valid_text(text: str, valid: bool) -> None:
    assert valid_text(text) is valid


def test_the_frozen_test_set_is_the_simulators() -> None:
    from engine.evaluate.shores import frozen_items
    from engine.simulate.testset import TEST_CHIPS, test_chips

    chips = test_chips(2)
    for item, pixels in zip(frozen_items(2), chips.pixels, strict=True):
        assert (item.chips[0] == pixels).all()
    with pytest.raises(InputError):
        frozen_items(TEST_CHIPS + 1)


def test_pairs_are_asked_and_scored() -> None:
    from engine.evaluate.shores import draw_pair_items

    pairs = draw_pair_items(8, 3)
    assert all(len(item.chips) == 2 and item.ask("change") and item.ask("question") for item in pairs)
    request = pairs[0].request(pairs[0].ask("change"))
    assert "[" not in request.question and len(request.dates) == 2  # the places come from `known` alone

    class Knows:
        def ask(self, requests: Sequence[Request], progress=None) -> list[Answer]:
            known = {item.chips[0].tobytes(): item for item in pairs}
            found = [known.get(request.chips[0].tobytes()) for request in requests]
            return [
                Answer("nothing" if item is None else item.ask(request.task).answer)
                for item, request in zip(found, requests, strict=True)
            ]

    results = score(ask(Knows(), pairs, ("change", "question"), ("image_withheld",)), 0.5, resamples=20)
    assert results["change"]["places"]["accuracy"]["share"] == results["change"]["pairs_exact"]["share"] == 1
    assert results["change"]["majority"]["places"]["accuracy"]["share"] < 1
    assert results["question"]["exact"]["share"] == results["question"]["cites"]["share"] == 1
    assert results["question"]["refused_wrongly"]["share"] == 0
    assert results["controls"]["image_withheld"]["change"]["control"] == 0
    assert "## Change" in markdown({"conditions": {}, "results": results})
