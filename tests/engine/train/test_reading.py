"""Fitting the reader: the shipped weights are what the command makes, and unseen templates are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.data.asked import Asked, agree, draw, templates
from engine.runtime.marking import Bound
from engine.runtime.reading import OTHER, REFUSED, Reading, Weights, read, shipped
from engine.train import reading


@pytest.mark.slow
def test_the_shipped_weights_are_what_the_command_makes(tmp_path: Path) -> None:
    path = tmp_path / "reading.npz"
    done = CliRunner().invoke(app, ["reading", "--seed", "1", "--out", str(path)])
    assert done.exit_code == 0, done.output
    made = Weights.load(path)
    assert (made.threshold, made.refusing) == (shipped().threshold, shipped().refusing)
    asked = [each.text for each in draw(templates(), 4, np.random.default_rng(5))]
    assert len(asked) > 3000
    same = [agree(read(text, made), read(text)) for text in asked]
    assert np.mean(same) > 0.998, "sums may round otherwise on another machine"


@pytest.fixture(scope="module")
def quick() -> tuple[Weights, reading.Figures]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "STEPS", 60)
        return reading.fit(3, each=2)


def test_templates_that_were_not_seen_are_understood_and_hardly_misread(quick) -> None:
    weights, figures = quick
    assert figures.understood > 0.7 and figures.misread < 0.02
    assert figures.passed_on > 0.6
    assert weights.threshold == reading.THRESHOLD


def test_equal_seeds_make_equal_weights() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "STEPS", 3)
        one, two, other = (reading.fit(seed, each=1)[0].digest for seed in (3, 3, 4))
    assert one == two != other


def test_figures_by_hand() -> None:
    asked = [
        Asked("how many ships are there?", "count", Reading("count", 1.0, "ship")),
        Asked("how many ships over 50 m?", "longer", Reading("longer", 1.0, "ship", Bound(60.0, True, True))),
        Asked("zzz qqq?", "what", Reading("what", 1.0)),
        Asked("who owns the ship?", REFUSED, Reading(REFUSED, 1.0)),
        Asked("how many ships near Oslo?", OTHER, None),
    ]
    figures = reading.judged(shipped(), asked)
    assert figures.questions == 3 and figures.understood == pytest.approx(2 / 3)
    assert figures.misread == 0.5, "a bound of 50 m is none of 60 m"
    assert figures.passed_on == 1


def test_templates_fill_every_slot_as_told() -> None:
    rng = np.random.default_rng(0)
    for asked in draw(templates(), 1, rng):
        if asked.intent in (OTHER, REFUSED) or asked.reading is None:
            continue
        if asked.reading.bound is not None:
            assert f"{asked.reading.bound.metres:.0f}" in asked.text
        if asked.reading.place is not None:
            assert str(asked.reading.place) in asked.text
        assert "{" not in asked.text
