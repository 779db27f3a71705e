"""What the gallery's frames are made of: each nuisance as the physics has it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from daemon.scene.product import Window, open_scene
from engine.runtime.land import Coastline
from engine.simulate import formations, gallery, ice, legacy, objects, rfi, stage
from engine.simulate.acquisition import plan
from engine.simulate.gallery import frame
from engine.simulate.objects import DEFAULT
from engine.simulate.terrain import land_mask

SHAPE = (300, 320)


def small(name: str, put) -> stage.Setting:
    return replace(frame(name).setting, shape=SHAPE, put=put)


@pytest.fixture(scope="module")
def coast() -> Coastline:
    return Coastline.load()


def test_names_and_seeds_are_unique() -> None:
    for values in ([f.name for f in gallery.FRAMES], [f.setting.seed for f in gallery.FRAMES]):
        assert len(set(values)) == len(values)


def test_a_second_writing_gives_equal_bytes(tmp_path, coast) -> None:
    setting = small("rfi", gallery._interference)
    first, second = (stage.write(setting, tmp_path / name, coast) for name in "ab")
    assert first.name == second.name
    for path in first.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_the_rim_is_low_and_falls_off_and_the_noise_is_of_the_old_form(tmp_path, coast) -> None:
    setting = small("border_fringe", lambda s: setattr(s, "border", legacy.Fringe(s.rng, s.shape, 60, 90)))
    folder = stage.write(setting, tmp_path, coast)
    with open_scene(str(folder)) as scene:
        assert scene.ipf == "002.70"
        assert not scene.bands["VV"].noise.azimuth and not scene.bands["VV"].noise.zero
        pixels = scene.read("VV", Window(0, 0, *scene.shape))
    sea = pixels.dn[200:, 200:].mean()
    edge = np.argmax(pixels.dn[280] > sea / 2)
    near, far = pixels.dn[270:, edge - 8 : edge - 2], pixels.dn[270:, edge - 40 : edge - 30]
    assert 0 < far.mean() < near.mean() < sea / 2
    assert (pixels.dn[:30, 160:] == 0).all()
    # the sea is what the sea is, noise taken off as a reader of the old form takes it off
    assert 10 * np.log10(pixels.sigma0[200:, 200:].mean()) == pytest.approx(-17.5, abs=2.0)


def test_ice_stands_out_more_in_cross_polarisation() -> None:
    pack = ice.pack(np.random.default_rng(1), (600, 600), 0.0, 60.0)
    assert pack.where[:150].mean() > 0.95 and pack.where[-150:].mean() < 0.05
    copol, crosspol = (10 * np.log10(np.median(band[pack.where])) for band in pack.level)
    assert 6 < copol - crosspol < 11  # over the sea it is 12 and more
    assert np.percentile(pack.level[0][:150], 1) < 10**-1.8 < np.median(pack.level[0])  # leads


def test_interference_stands_in_one_polarisation_and_in_the_products_document(tmp_path, coast) -> None:
    folder = stage.write(small("rfi", gallery._interference), tmp_path, coast)
    with open_scene(str(folder)) as scene:
        copol, crosspol = (scene.read(p, Window(0, 0, *scene.shape)).intensity for p in ("VV", "VH"))
    rows = np.median(copol, 1), np.median(crosspol, 1)
    assert rows[0].max() < 2 * np.median(rows[0])
    assert rows[1].max() > 4 * np.median(rows[1])
    documents = {path.name[15:17]: ElementTree.parse(path) for path in folder.glob("annotation/rfi/*.xml")}
    assert set(documents) == {"vv", "vh"}
    for name, document in documents.items():
        found = {node.text for node in document.iter("rfiDetected")}
        assert found == ({"true"} if name == "vh" else {"false"})
        assert document.findtext("adsHeader/polarisation") == name.upper()
    assert "s1-level-1-rfi.xsd" in (folder / "manifest.safe").read_text()


def test_a_product_without_interference_says_nothing_of_it(tmp_path, coast) -> None:
    folder = stage.write(small("platform", lambda s: None), tmp_path, coast)
    assert not (folder / "annotation" / "rfi").exists()
    assert "rfi" not in (folder / "manifest.safe").read_text().lower()


def test_bands_are_drawn_where_they_are_asked_for() -> None:
    glow = rfi.bands(np.random.default_rng(0), (200, 300), [60], -15.0, 1)
    assert (glow.level[0] == 0).all()
    strong = glow.level[1].mean(1) > 10**-1.8
    assert strong[62:66].all() and not strong[:55].any() and not strong[85:].any()


def test_ghosts_lie_a_formula_away_and_below_their_source(coast) -> None:
    _, made = stage.build(frame("ghost_of_ship").setting, coast)
    source = next(entry for entry in made.objects if entry.body.length_m == 330)
    ghosts = [entry for entry in made.objects if entry.ghost_of == source.id]
    assert len(ghosts) == 2
    for ghost in ghosts:
        # lambda R PRF / (2 V) of IW1, about 5 km
        assert abs(ghost.line_px - source.line_px) == pytest.approx(510, abs=15)
        loss_db = 10 * np.log10(source.body.powers.sum(1) / ghost.body.powers.sum(1))
        assert (loss_db > 19.9).all() and (loss_db < 22.1).all()


def test_ghosts_of_a_port_have_their_sources_on_land_and_lie_at_sea(coast) -> None:
    _, made = stage.build(frame("ghost_of_port").setting, coast)
    sources = [entry for entry in made.objects if entry.body.class_ == "structure"]
    ghosts = [entry for entry in made.objects if entry.ghost_of == "land"]
    assert len(sources) == 4 and ghosts
    assert all(made.terrain.shore_px(s.line_px, s.sample_px) > 0 for s in sources)
    assert all(made.terrain.shore_px(g.line_px, g.sample_px) < 0 for g in ghosts)


def test_ships_of_a_raft_lie_hull_at_hull() -> None:
    rng = np.random.default_rng(3)
    ships = formations.raft(rng, DEFAULT, "raft", (200, 200), 12, (35, 45), 30.0)
    at = np.array([(s.line_px, s.sample_px) for s in ships])
    beams = np.array([s.body.width_m for s in ships])
    across = at @ [np.sin(np.radians(30)), np.cos(np.radians(30))] * 10
    gaps = np.diff(across) - (beams[1:] + beams[:-1]) / 2
    assert (gaps > 0.5).all() and (gaps < 3).all()
    assert len({s.id for s in ships}) == 12


def test_cages_are_weaker_than_any_ship_of_their_size() -> None:
    rng = np.random.default_rng(4)
    cage = np.median([formations.draw_cage(rng, (21.0, 1.5)).powers[0].sum() for _ in range(50)])
    ship = np.median([objects.draw_ship(rng, stage.PLAIN, length_m=25).powers[0].sum() for _ in range(50)])
    assert cage < ship / 3


def test_ships_along_quays_lie_on_water_beside_the_land(coast) -> None:
    _, made = stage.build(frame("port").setting, coast)
    moored = [entry for entry in made.objects if entry.id.startswith("moored")]
    assert len(moored) >= 5
    for entry in moored:
        shore = float(made.terrain.shore_px(entry.line_px, entry.sample_px))
        assert -6 < shore < 0


@pytest.mark.parametrize(("lon", "lat"), [(180.0, -16.5), (-179.99, 51.9), (179.97, 71.2)])
def test_land_is_drawn_across_the_antimeridian(coast, lon, lat) -> None:
    """Fiji, the Aleutians, Wrangel: the same land as in an image whose middle lies a little aside."""
    grid = plan(lon, lat, True, (1200, 1200), 3000)
    west = grid.lonlat(np.array([0.0, 1199]), np.array([0.0, 1199]))[0]
    assert np.sign(west[0]) != np.sign(west[1])
    mask = land_mask(grid, coast)
    inside = {
        (i, j): bool(mask[i, j]) for i in range(20, mask.shape[0], 40) for j in range(20, mask.shape[1], 40)
    }
    import shapely

    for (i, j), land in inside.items():
        x, y = (float(v) for v in grid.lonlat(np.array(4.0 * i + 2), np.array(4.0 * j + 2)))
        rings = coast.polygons(x - 0.001, y - 0.001, x + 0.001, y + 0.001)
        levels = [r.level for r in rings if shapely.Polygon(r.points).contains(shapely.Point(x, y))]
        levels += [r.level for r in rings if shapely.Polygon(r.points).contains(shapely.Point(x + 360, y))]
        edge = mask[max(0, i - 2) : i + 3, max(0, j - 2) : j + 3]
        if edge.all() or not edge.any():
            assert (max(levels, default=0) % 2 == 1) == land


def test_the_image_upward_direction_has_no_jump_at_the_antimeridian() -> None:
    grid = plan(180.0, -17.6, True, (600, 600), 3000)
    bearings = grid.upward_deg(np.full(60, 300.0), np.linspace(0, 599, 60))
    assert np.ptp(bearings) < 0.2
