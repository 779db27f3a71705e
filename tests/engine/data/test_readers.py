"""Other data sets' forms, each in a small file of that form; bad files say what is wrong."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from engine.cli import app
from engine.data.readers import read_coco, read_sarchat, read_voc, read_xview3
from engine.data.records import load_images, read_records
from engine.errors import DatasetError, FusarError
from engine.runtime.text import parse_detections

COCO = {
    "images": [{"id": 7, "file_name": "a.jpg", "width": 500, "height": 250}, {"id": 8, "file_name": "b.jpg",
                "width": 100, "height": 100}],
    "annotations": [{"image_id": 7, "category_id": 1, "bbox": [50, 25, 100, 50]},
                    {"image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9]}],
    "categories": [{"id": 1, "name": "ship"}, {"id": 2, "name": "harbour"}],
}  # fmt: skip


def test_coco(tmp_path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(COCO))
    first, second = read_coco(path, 504)
    assert parse_detections(first.answer) == [("ship", (50, 50, 151, 151))]
    assert second.answer == "[]" and first.images == ("a.jpg",) and first.folder == tmp_path
    for change in ({"annotations": [{"image_id": 9, "category_id": 1, "bbox": [1, 1, 2, 2]}]},
                   {"images": [{"id": 7}]}, {"categories": None},
                   {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 1, -2, 2]}]}):  # fmt: skip
        path.write_text(json.dumps(COCO | change))
        with pytest.raises(DatasetError, match="COCO"):
            read_coco(path, 504)
    with pytest.raises(DatasetError, match="cannot read"):
        read_coco(tmp_path / "no.json", 504)


VOC = """<annotation><filename>x.jpg</filename><size><width>256</width><height>256</height></size>
<object><name>ship</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>buoy</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>
</annotation>"""


def test_voc(tmp_path) -> None:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "x.xml").write_text(VOC)
    (record,) = read_voc(tmp_path, 512)
    assert parse_detections(record.answer) == [("ship", (20, 40, 60, 80))]
    assert record.images == ("JPEGImages/x.jpg",)
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'
    for text in (VOC.replace("10</xmin>", "</xmin>"), "<annotation>", bomb):
        (tmp_path / "Annotations" / "x.xml").write_text(text)
        with pytest.raises(DatasetError, match="VOC"):
            read_voc(tmp_path, 512)
    with pytest.raises(DatasetError, match="expected VOC"):
        read_voc(tmp_path / "Annotations" / "none", 512)


SARCHAT = [{
    "id": "s1", "image": "1.png",
    "conversations": [
        {"from": "human", "value": "<image>\n[count] How many ships are there?"},
        {"from": "gpt", "value": "There are 3 instances. {<1><2><3><4>}"},
        {"from": "human", "value": "Describe it."},
        {"from": "gpt", "value": "Three ships."},
    ],
}]  # fmt: skip


def test_sarchat(tmp_path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(SARCHAT))
    count, free = read_sarchat(path, 504)
    assert (count.task, free.task) == ("counting", "question")
    assert count.question == "[count] How many ships are there?"
    assert count.answer.startswith("There are 3")
    lines = tmp_path / "a.jsonl"
    lines.write_text("\n".join(json.dumps(each) for each in SARCHAT))
    assert read_sarchat(lines, 504) == [count, free]
    turns = SARCHAT[0]["conversations"]
    for bad in ([], [{"image": "x"}], [{"image": "x", "conversations": turns[:1]}],
                [{"image": "x", "conversations": turns[1::-1]}]):  # fmt: skip
        path.write_text(json.dumps(bad))
        with pytest.raises(DatasetError, match="conversations"):
            read_sarchat(path, 504)


XVIEW3 = """,detect_lat,detect_lon,vessel_length_m,source,detect_scene_row,detect_scene_column,is_vessel,\
is_fishing,distance_from_shore_km,scene_id,confidence,top,left,bottom,right,detect_id
0,56.25,4.27,27.5,ais,100,200,True,False,70.0,abc,HIGH,,,,,x1
1,56.20,4.30,,manual,110,210,False,,70.0,abc,MEDIUM,,,,,x2
2,56.10,4.31,80,manual,110,210,True,,70.0,abc,LOW,,,,,x3
3,56.10,4.31,,manual,110,210,,,70.0,def,HIGH,,,,,x4
"""


def test_xview3(tmp_path) -> None:
    path = tmp_path / "validation.csv"
    path.write_text(XVIEW3)
    scenes = read_xview3(path)
    assert set(scenes) == {"abc", "def"} and scenes["def"]["features"] == []
    ship, platform = scenes["abc"]["features"]
    assert ship["properties"] == {"class": "ship", "length_m": 27.5}
    assert ship["geometry"]["coordinates"] == [4.27, 56.25]
    assert platform["properties"] == {"class": "platform", "length_m": None}
    for text in ("a,b\n1,2\n", XVIEW3.replace("56.25", "north"), XVIEW3.replace("True", "maybe"),
                 XVIEW3.replace("56.25", "156.25")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(DatasetError, match="xView3"):
            read_xview3(path)


def test_the_released_form_is_read_as_it_is(tmp_path) -> None:
    line = {
        "id": "demo", "image": "a.png", "aef": "a.npz", "coordinate_size": 504, "question": "Detect.",
        "answer": '[{"bbox_2d": [-35, 10, 529, 60], "label": "ship"}]',
    }  # fmt: skip
    (tmp_path / "d.jsonl").write_text(json.dumps(line) + "\n" + json.dumps({**line, "answer": "None"}) + "\n")
    first, second = read_records(tmp_path / "d.jsonl")
    assert first.sensor is None and first.dates == () and first.known == ()
    assert parse_detections(second.answer) == []
    assert {key: first.to_dict()[key] for key in line} == line


def test_a_set_that_is_read_can_be_trained_on(tmp_path) -> None:
    source = tmp_path / "theirs"
    source.mkdir()
    (source / "train.json").write_text(json.dumps(COCO))
    for image in COCO["images"]:
        Image.new("L", (image["width"], image["height"]), 90).save(source / image["file_name"])
    run = CliRunner().invoke
    done = run(
        app, ["read", "coco", str(source / "train.json"), "--out", str(tmp_path / "ours"), "--size", "126"]
    )
    assert done.exit_code == 0, done.output
    first, second = read_records(tmp_path / "ours" / "stage2.jsonl")
    assert load_images(first).shape == load_images(second).shape == (1, 3, 126, 126)
    assert parse_detections(first.answer) == [("ship", (13, 13, 38, 38))]
    (source / "b.jpg").unlink()
    for asked, said in (
        (["coco", str(source / "train.json"), "--out", str(tmp_path / "ours")], "there already"),
        (["coco", str(source / "train.json"), "--out", str(tmp_path / "two")], "cannot read image"),
        (["elsewhere", str(source), "--out", str(tmp_path / "three")], "expected coco"),
    ):
        failed = run(app, ["read", *asked])
        assert isinstance(failed.exception, FusarError) and said in str(failed.exception)


def test_xview3_labels_are_written_scene_by_scene(tmp_path) -> None:
    (tmp_path / "validation.csv").write_text(XVIEW3)
    out = tmp_path / "labels"
    done = CliRunner().invoke(app, ["read", "xview3", str(tmp_path / "validation.csv"), "--out", str(out)])
    assert done.exit_code == 0 and "2 labels of 2 scenes" in done.output
    assert len(json.loads((out / "abc.geojson").read_text())["features"]) == 2
    (tmp_path / "bad.csv").write_text(XVIEW3.replace(",abc,", ",../abc,"))
    with pytest.raises(DatasetError, match="plain name"):
        CliRunner().invoke(
            app,
            ["read", "xview3", str(tmp_path / "bad.csv"), "--out", str(tmp_path / "no")],
            catch_exceptions=False,
        )
