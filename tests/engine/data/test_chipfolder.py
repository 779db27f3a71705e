"""Chip folders become datasets: labelled chips, real anchors, the prior's year, splits by site."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from engine.cli import app
from engine.data.chipfolder import land_cover, read_chips, write_triplets
from engine.data.embeddings import Embeddings
from engine.data.records import load_images, load_priors, read_records
from engine.errors import DatasetError, InputError
from engine.runtime.image import channel_stamp
from engine.runtime.prior import Prior
from engine.runtime.text import parse_detections
from engine.simulate import landcover


def line(index: int, **changes) -> dict:
    lon, lat = 10.0 + 2 * index, 50.0
    values = {
        "format": "fusar.chips/1",
        "id": f"P{index}/r0c0",
        "image": f"P{index}.png",
        "product": f"P{index}",
        "acquired": "2022-06-01T05:00:00+00:00",
        "sensor": "Sentinel-1 IW",
        "bands": ["VV", "VH"],
        "spacing_m": 10.0,
        "channels": channel_stamp(),
        "centre": [lon, lat],
        "anchors": [[lon, lat]] * 36,
        "land_fraction": 0.0,
        "sea_db": -18.0,
        "labelled": True,
        "objects": [
            {"label": "ship", "box_px": [50, 60, 60, 66], "length_m": 80.0, "contrast_db": 20.0},
            {"label": "ship", "box_px": [90, 60, 99, 66], "length_m": 20.0, "contrast_db": 1.0},
        ],
    }
    return {**values, **changes}


@pytest.fixture
def folder(tmp_path: Path):
    def write(lines: list[dict]) -> Path:
        (tmp_path / "cf").mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        for each in lines:
            pixels = rng.integers(1, 255, (126, 126, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "cf" / Path(each["image"]).name)
        (tmp_path / "cf" / "chips.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
        return tmp_path / "cf"

    return write


def test_a_folder_becomes_a_dataset_split_by_site(folder, tmp_path) -> None:
    chips = read_chips(folder([line(index) for index in range(10)] + [line(11, labelled=False)]))
    out = tmp_path / "data"
    out.mkdir()
    counts = write_triplets(chips, out, None, 252, held_out={"val": 0.2}, shares={"detection": 1})
    assert counts["stage2.jsonl"] == 8 and counts["stage2.val.jsonl"] == 2
    records = read_records(out / "stage2.jsonl")
    assert {len(parse_detections(record.answer)) for record in records} == {1}  # the other is too faint
    assert records[0].dates == ("2022-06-01",) and records[0].sensor == "Sentinel-1 IW"
    held_out = read_records(out / "stage2.val.jsonl")
    assert not {record.site for record in records} & {record.site for record in held_out}
    assert all(path.is_file() for record in records for path in record.files())
    assert "1 ship" in read_records(out / "stage1.jsonl")[0].answer


def test_changes_since_an_earlier_pass_stand_in_the_split_of_their_place(folder, tmp_path) -> None:
    half = 63 * 10 / 111_195
    grid = np.stack(np.meshgrid(np.linspace(-half, half, 6), np.linspace(half, -half, 6)), -1).reshape(-1, 2)
    later, earlier = [], []
    for index in range(10):
        place = {"anchors": (grid + (10.0 + 2 * index, 50.0)).tolist(), "relative_orbit": 8}
        later.append(line(index, **place))
        earlier.append(line(index, **place, objects=[], acquired="2022-05-20T05:00:00+00:00"))
        earlier[-1] |= {name: f"Q{index}{end}" for name, end in (("product", ""), ("id", "/r0c0"))}
        earlier[-1]["image"] = f"Q{index}.png"
    before, after = read_chips(folder(earlier)), read_chips(folder(later))
    out = tmp_path / "data"
    out.mkdir()
    write_triplets(
        after, out, None, 252, {"detection": 1}, {"val": 0.2}, before=before, pair_shares={"change": 1}
    )
    for name, count in (("stage2.jsonl", 8), ("stage2.val.jsonl", 2)):
        records = read_records(out / name)
        pairs = [record for record in records if record.task == "change"]
        assert len(pairs) == count and len(records) == 2 * count
        assert {record.site for record in pairs} == {record.site for record in records}
        for record in pairs:
            assert record.answer.startswith('{"1": "appeared", "before": 0, "after": 1}')
            assert record.dates == ("2022-05-20", "2022-06-01") and [p.seen for p in record.known] == [""]
            assert load_images(record).shape == (2, 3, 126, 126)
            assert record.truth == ({"place": 1, "label": "ship", "change": "appeared"},)


def test_objects_that_leave_the_chip_are_marked(folder, tmp_path) -> None:
    objects = [
        {"label": "ship", "box_px": box, "length_m": 80.0, "contrast_db": 20.0}
        for box in ([50, 60, 60, 66], [120, 60, 131, 66])
    ]
    write_triplets(read_chips(folder([line(0, objects=objects)])), tmp_path, None, 252)
    record = read_records(tmp_path / "stage2.jsonl")[0]
    assert [each.get("clipped", False) for each in record.truth] == [False, True]
    assert record.truth[1]["bbox_2d"][2] <= 252


def test_near_chips_are_one_site(folder, tmp_path) -> None:
    near = [line(0), line(1, centre=[10.3, 50.0])]
    with pytest.raises(DatasetError, match="1 sites"):
        write_triplets(read_chips(folder(near)), tmp_path, None, 252, held_out={"val": 0.5})


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other/1"},
        {"image": "../x.png"},
        {"anchors": [[0, 0]]},
        {"objects": [{"label": "boat", "box_px": [1, 2, 3, 4]}]},
        {"objects": [{"label": "ship", "box_px": [3, 2, 1, 4]}]},
        {"centre": None},
    ],
)
def test_malformed_lines_are_refused(folder, changes) -> None:
    with pytest.raises(DatasetError, match="line 1"):
        read_chips(folder([line(0, **changes)]))


def test_folders_without_chips_or_labels_are_refused(folder, tmp_path) -> None:
    with pytest.raises(DatasetError, match="fusar chips"):
        read_chips(tmp_path)
    with pytest.raises(DatasetError, match="without labels"):
        write_triplets(read_chips(folder([line(0, labelled=False)])), tmp_path, None, 252)


def tile(folder: Path, year: int, value: int, north_up: bool) -> dict:
    import rasterio
    from rasterio.transform import Affine

    e, f = (-10.0, 5_560_000.0) if north_up else (10.0, 5_520_000.0)
    transform = Affine(10.0, 0, 400_000.0, 0, e, f)
    path = folder / f"{year}.tif"
    shape = {"width": 16, "height": 16, "count": 64, "dtype": "int8"}
    with rasterio.open(path, "w", driver="GTiff", nodata=-128, crs="EPSG:32632", transform=transform,
                       **shape) as file:  # fmt: skip
        file.write(np.full((64, 16, 16), value, np.int8))
    return {"year": year, "path": path.name, "bounds": [7.5, 49.8, 8.3, 50.2], "crs": "EPSG:32632",
            "transform": list(transform)[:6], "shape": [16, 16]}  # fmt: skip


def test_the_newest_year_that_had_ended_is_read_whatever_way_rows_run(tmp_path) -> None:
    from rasterio.warp import transform

    tiles = [tile(tmp_path, 2020, 20, True), tile(tmp_path, 2021, 21, False), tile(tmp_path, 2022, 22, True)]
    (tmp_path / "index.json").write_text(json.dumps({"version": 1, "tiles": tiles}))
    files = Embeddings(tmp_path)
    for acquired, northing, value in ((2022, 5_520_035.0, 21), (2021, 5_559_965.0, 20)):
        lon, lat = transform("EPSG:32632", "EPSG:4326", [400_035.0] * 36, [northing] * 36)
        where = np.stack([lon, lat], axis=1)
        prior = files.prior(where, acquired)
        assert prior.status == "full" and prior.year == acquired - 1
        np.testing.assert_allclose(prior.vectors, (value / 127.5) ** 2, rtol=1e-6)
    assert files.prior(where, 2020).status == "absent"
    assert files.prior(np.full((36, 2), 3.0), 2023).year is None


def test_an_index_that_does_not_read_is_refused(tmp_path) -> None:
    (tmp_path / "index.json").write_text('{"version": 2, "tiles": []}')
    for place in (tmp_path, tmp_path / "no.json"):
        with pytest.raises(DatasetError, match="index"):
            Embeddings(place)


def test_the_prior_tells_what_covers_the_land() -> None:
    labels = np.array([0] * 10 + [1] * 15 + [6] * 11)
    vectors = landcover.vectors(labels, np.zeros((36, landcover.rank())))
    raw = landcover.quantise(vectors).T.copy()
    assert land_cover(Prior.from_bytes(raw, 2021)) == "trees"
    assert land_cover(Prior.from_bytes(np.where(labels > 0, -128, raw).astype(np.int8), 2021)) is None
    assert land_cover(Prior.absent()) is None


def test_two_years_are_the_newest_and_the_one_before(folder, tmp_path) -> None:
    from rasterio.warp import transform

    tiles = [tile(tmp_path, year, year - 2000, True) for year in (2018, 2020, 2021)]
    (tmp_path / "index.json").write_text(json.dumps({"version": 1, "tiles": tiles}))
    lon, lat = transform("EPSG:32632", "EPSG:4326", [400_035.0] * 36, [5_559_965.0] * 36)
    where = np.stack([lon, lat], axis=1)
    both = Embeddings(tmp_path).prior(where, 2022, years=2)
    assert (both.status, both.years, both.year) == ("full", 2, 2021)
    np.testing.assert_allclose(both.vectors[:, 0], (21 / 127.5) ** 2, rtol=1e-6)
    np.testing.assert_allclose(both.vectors[:, 64], (20 / 127.5) ** 2, rtol=1e-6)
    alone = Embeddings(tmp_path).prior(where, 2021, years=2)  # of 2020; 2019 is missing
    assert (alone.status, alone.years) == ("absent", 2)
    chips = read_chips(folder([line(0, anchors=where.tolist(), land_fraction=0.5)]))
    for years in (1, 2):
        out = tmp_path / str(years)
        out.mkdir()
        write_triplets(chips, out, Embeddings(tmp_path), 252, years=years)
        (prior,) = load_priors(read_records(out / "stage2.jsonl")[0])
        assert prior.years == years and prior.status == "full"
    with pytest.raises(InputError, match="1 or 2"):
        write_triplets(chips, out, None, 252, years=3)


def test_the_command_says_what_its_chips_show(folder, tmp_path) -> None:
    given, out = folder([line(0), line(1)]), tmp_path / "data"
    asked = ["triplets", str(given), "--out", str(out), "--validation", "0"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    facts = json.loads((out / "dataset.json").read_text())
    assert facts["channels"] == channel_stamp() and facts["years"] == 1
    assert len(read_records(out / "stage1.jsonl")) == 2
    assert isinstance(CliRunner().invoke(app, asked).exception, InputError)  # the folder is not empty


@pytest.mark.parametrize("channels", [None, {"copolarised_db": [-32.0, 4.0], "ratio_db": [-4.0, 16.0]}])
def test_chips_of_other_channels_are_refused(folder, channels) -> None:
    other = line(1, channels=channels)
    if channels is None:
        del other["channels"]  # as folders were before they named them
    with pytest.raises(DatasetError, match=r"P1.* anew with `fusar chips`"):
        read_chips(folder([line(0), other]))
