"""The change benchmark: the same of a seed, read back as written, altered files refused, answers scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.errors import DatasetError, InputError
from engine.evaluate.benchmark import drawn_pairs, read_answers, read_benchmark, write_benchmark
from engine.evaluate.change import CHANGES, changes
from engine.evaluate.pairwise import baseline_answers
from engine.runtime.forms import change_text

COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("benchmark") / "change"
    write_benchmark(out, 3, COUNT)
    return out


def test_a_seed_gives_the_same(folder: Path, tmp_path: Path) -> None:
    facts = json.loads((folder / "benchmark.json").read_text())
    again = write_benchmark(tmp_path / "again", 3, 4)
    other = write_benchmark(tmp_path / "other", 4, 4)
    assert again["sha256"]["truth.jsonl"] != other["sha256"]["truth.jsonl"]
    lines = [(each / "truth.jsonl").read_text().splitlines() for each in (folder, tmp_path / "again")]
    assert lines[0][:4] == lines[1]
    assert facts["pairs"] == COUNT
    assert sum(facts["words"].values()) == facts["places"] > COUNT / 2
    card = (folder / "README.md").read_text()
    assert facts["sha256"]["pixels"] in card
    assert "Simulated" in card
    with pytest.raises(InputError):
        write_benchmark(folder, 3, 4)


def test_read_back_it_is_what_was_drawn(folder: Path) -> None:
    for one, two in zip(read_benchmark(folder), drawn_pairs(3, COUNT), strict=True):
        assert one.true == two.true
        assert (one.seen, one.labels, one.days) == (two.seen, two.labels, two.days)
        assert all((a == b).all() for a, b in zip(one.chips, two.chips, strict=True))
        assert len(one.boxes) == len(one.true.changes)


def test_altered_files_are_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("truth.jsonl", "images/00000-after.png"):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(
            (copy / "images/00001-before.png").read_bytes() if "png" in name else b"{}\n"
        )
        with pytest.raises(DatasetError):
            read_benchmark(copy)
    with pytest.raises(DatasetError):
        read_benchmark(tmp_path / "none")
    facts = folder / "benchmark.json"
    text = facts.read_text()
    facts.write_text(json.dumps(json.loads(text) | {"channel_ranges": [[-32, 4], [-34, 0], [-4, 16]]}))
    with pytest.raises(DatasetError, match="of channels"):
        read_benchmark(folder)
    facts.write_text(text)


def test_the_truth_as_answers_scores_one_and_baselines_less(folder: Path, tmp_path: Path) -> None:
    questions = read_benchmark(folder)
    rows = [
        {"id": q.id, "answer": change_text(q.true.changes, q.true.before or 0, q.true.after or 0)}
        for q in questions
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    true = [question.true for question in questions]
    found = changes(read_answers(path, questions), true, 20)
    assert found["places"]["accuracy"]["share"] == found["pairs_exact"]["share"] == 1
    for name, given in baseline_answers(questions, drawn_pairs(99, 10)).items():
        part = changes(given, true, 20)
        assert part["valid"]["share"] == 1, name
        assert 0 < part["places"]["accuracy"]["share"] < 1, name
        assert all(set(each.changes) <= set(CHANGES) for each in given)
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DatasetError, match="no answer"):
        read_answers(path, questions)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.evaluate import benchmark_command

    monkeypatch.setattr(benchmark_command, "_FIT_PAIRS", 6)
    runner = CliRunner()
    folder, out = tmp_path / "b", tmp_path / "score.json"
    made = runner.invoke(app, ["benchmark", "change", "--seed", "5", "--count", "6", "--out", str(folder)])
    assert made.exit_code == 0, made.output
    questions = read_benchmark(folder)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"id": q.id, "answer": "no idea"}) + "\n" for q in questions))
    done = runner.invoke(
        app, ["benchmark", "score", str(folder), "--answers", str(answers), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    results = json.loads(out.read_text())["results"]
    assert results["answers"]["valid"]["share"] == 0
    assert {"majority answer", "log ratio", "two sets of CFAR", "the list alone"} < set(results)
    assert "| log ratio |" in out.with_suffix(".md").read_text()
