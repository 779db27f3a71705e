"""The nuisance gallery: one small scene of each thing that is taken for a ship, or hides one.

Simulated, each with a seed of its own; what a frame must give stands beside the test that asserts it. Places
are real, since the land that readers mask is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np

from engine.simulate import formations, harbour, ice, legacy, objects, rfi
from engine.simulate.sites import Site
from engine.simulate.stage import PLAIN, Setting, Stage

# Ghosts strong enough to be taken for ships.
LOUD = replace(PLAIN, ghost_loss_db=(20.0, 22.0))


@dataclass(frozen=True)
class Frame:
    """One scene of the gallery.

    Attributes:
        name: unique, letters and underscores.
        title: in words.
        shows: what is in it, and what a person should see.
        right: what a perfect detector would answer.
        setting: the scene.
    """

    name: str
    title: str
    shows: str
    right: str
    setting: Setting


def _turbines(stage: Stage) -> None:
    for line, sample in formations.lattice((430, 450), 5, 6, (900.0, 1000.0), 70.0):
        stage.add(objects.draw_turbine(stage.rng, PLAIN), line, sample)
    stage.ship(395, 520, 70, 30)  # a service vessel between the rows
    stage.ship(790, 150, 180, 110)


def _platform(stage: Stage) -> None:
    body = objects.draw_platform(stage.rng, PLAIN)
    stage.add(body, 400, 420)
    stage.add(objects.draw_platform(stage.rng, PLAIN), 425, 446)  # joined by a bridge
    stage.ship(395, 458, 75, 60)  # a supply vessel 350 m off
    stage.ship(650, 700, 60, 140)  # the standby vessel


def _ice(stage: Stage) -> None:
    stage.layers.append(ice.pack(stage.rng, stage.shape, 35.0, 90.0))
    stage.ship(700, 250, 150, 20)
    stage.ship(560, 130, 80, 100)
    stage.ship(300, 560, 110, 35)  # in the pack


def _fringe(stage: Stage) -> None:
    stage.border = legacy.Fringe(stage.rng, stage.shape, 20, 45)
    stage.ship(300, 420, 120, 70)
    stage.ship(640, 700, 60, 15)
    stage.ship(520, 118, 90, 0)  # 300 m inside the edge


def _ghost_of_ship(stage: Stage) -> None:
    big = objects.draw_ship(stage.rng, PLAIN, length_m=330, axis_deg=25, moving=False).brightened(6.0)
    source = stage.add(big, 750, 470)
    stage.ghosts(big, 750, 470, source.id, LOUD)
    stage.ship(1010, 500, 60, 80)
    stage.ship(1285, 640, 80, 120)  # beside a ghost, and none itself
    stage.ship(330, 200, 45, 10)


def _ghost_of_port(stage: Stage) -> None:
    box = (430, 440, 720, 640)
    stage.layers.append(harbour.built(stage.rng, stage.terrain, stage.shape, box, 0.0))
    inland = harbour.shore(stage.terrain, stage.shape)
    inside = np.argwhere(inland[box[0] : box[2], box[1] : box[3]] > 2) + box[:2]
    for line, sample in stage.rng.permutation(inside)[:4]:
        crane = objects.draw_platform(stage.rng, PLAIN).brightened(12.0)
        stage.add(replace(crane, class_="structure"), float(line), float(sample))
        stage.ghosts(crane, float(line), float(sample), "land", LOUD)
    for line, sample, length, axis in ((800, 300, 180, 60), (900, 760, 120, 65), (1330, 330, 90, 55)):
        stage.ship(line, sample, length, axis)


def _interference(stage: Stage) -> None:
    stage.layers.append(rfi.bands(stage.rng, stage.shape, list(range(150, 740, 48)), -15.5, 1))
    stage.interference = {"VH": 12.0}
    stage.ship(100, 300, 140, 40)
    stage.ship(820, 640, 90, 100)
    stage.ship(347, 500, 110, 75)  # in a band


def _port(stage: Stage) -> None:
    box = (330, 180, 840, 560)
    stage.layers.append(harbour.built(stage.rng, stage.terrain, stage.shape, box, 0.0))
    berths = harbour.moored(
        stage.rng, PLAIN, stage.terrain, stage.shape, box, [300.0, 240.0, 190.0, 150.0, 110.0, 80.0]
    )
    stage.objects.extend(berths)
    for line, sample, length, axis in (
        (180, 560, 220, 30),
        (300, 700, 180, 35),
        (420, 860, 120, 32),
        (640, 760, 90, 28),
        (820, 880, 60, 30),
    ):
        stage.ship(line, sample, length, axis)


def _rafts(stage: Stage) -> None:
    for number, (centre, ships) in enumerate(
        (((300, 300), 14), ((340, 560), 18), ((520, 420), 9), ((560, 660), 12)), 1
    ):
        stage.objects += formations.raft(stage.rng, PLAIN, f"raft-{number}", centre, ships, (32, 48), 20.0)
    for line, sample, length in ((430, 250, 45), (690, 380, 60), (200, 700, 38)):
        stage.ship(line, sample, length, 20)


def _cages(stage: Stage) -> None:
    for centre, rows, columns in (((330, 330), 9, 12), ((560, 560), 7, 10)):
        for line, sample in formations.lattice(centre, rows, columns, (180.0, 120.0), 65.0):
            stage.add(formations.draw_cage(stage.rng, (21.0, 1.5)), line, sample)
    stage.ship(700, 300, 30, 60)  # a work boat
    stage.ship(150, 700, 100, 130)


def _land(stage: Stage) -> None:
    box = (250, 300, 420, 560)
    stage.layers.append(harbour.built(stage.rng, stage.terrain, stage.shape, box, 0.0))  # a town


def _single(stage: Stage) -> None:
    stage.polarisations = ("VV",)
    for line, sample, length, axis in ((200, 250, 200, 20), (420, 640, 110, 80), (700, 400, 60, 140)):
        stage.ship(line, sample, length, axis)


def _antimeridian(stage: Stage) -> None:
    for line, sample, length, axis in (
        (180, 200, 160, 10),
        (260, 700, 90, 60),
        (470, 448, 230, 95),  # over the meridian itself
        (690, 180, 120, 45),
        (740, 720, 60, 120),
    ):
        stage.ship(line, sample, length, axis)


FRAMES = (
    Frame(
        "turbine_field",
        "Turbine field",
        "30 turbines in 5 rows, 1 km apart; a service vessel between the rows, a cargo ship lower left",
        "30 turbines, 2 ships",
        Setting(Site("German Bight", 6.60, 54.35), _turbines, 101, wind_m_s=7.0),
    ),
    Frame(
        "platform",
        "Platform",
        "Two platforms joined by a bridge, a supply vessel beside them, a standby vessel 3.5 km off",
        "2 platforms (or 1 complex), 2 ships",
        Setting(Site("Ekofisk", 3.22, 56.40), _platform, 102, (800, 900), False, wind_m_s=8.0),
    ),
    Frame(
        "ice_edge",
        "Ice edge",
        "Pack ice upper right: leads, ridges, old and broken floes; 2 ships on open water, 1 in the pack",
        "3 ships; everything in the ice marked as ice",
        Setting(Site("Barents Sea", 35.0, 77.0), _ice, 103, date=datetime(2024, 3, 20, tzinfo=timezone.utc)),
    ),
    Frame(
        "border_fringe",
        "Border fringe",
        "IPF 2.70: the swath's edge in steps at the left and top, a rim of low non-zero values along it; "
        "3 ships, one 300 m inside the edge",
        "3 ships, no candidate along the edge",
        Setting(
            Site("Biscay", -6.5, 45.3),
            _fringe,
            104,
            swath_sample=0,
            date=datetime(2015, 9, 10, tzinfo=timezone.utc),
            ipf="002.70",
        ),
    ),
    Frame(
        "ghost_of_ship",
        "Ghost beside a big ship",
        "A glaring 330 m ship in the middle, its two first azimuth ghosts 5 km up and down; 3 smaller ships",
        "4 ships; the 2 ghosts rejected or flagged, their source linked",
        Setting(Site("Arabian Sea", 62.0, 20.0), _ghost_of_ship, 105, (1500, 900), wind_m_s=4.0),
    ),
    Frame(
        "ghost_of_port",
        "Ghost of a port",
        "Tema: bright cranes on land, their ghosts in the open sea 4.6 km below; 3 ships at anchor",
        "3 ships; the ghosts rejected or flagged, their sources on land linked",
        Setting(Site("Tema", 0.02, 5.61), _ghost_of_port, 106, (1500, 900), False, 12_000, wind_m_s=4.0),
    ),
    Frame(
        "rfi",
        "Radio interference",
        "Bands across the range in VH, whole and in part, noted in annotation/rfi; 3 ships, one in a band",
        "3 ships, marked as standing in a disturbed burst",
        Setting(Site("Baltic Sea", 19.6, 56.6), _interference, 107),
    ),
    Frame(
        "port",
        "Port",
        "Las Palmas: quays and sheds on land, 6 ships along the quays, 5 in the roads",
        "5 ships in the roads; those along the quays as far as the coastline allows, nothing on the quays",
        Setting(Site("Las Palmas", -15.40, 28.14), _port, 108, (1000, 1000)),
    ),
    Frame(
        "rafted_fleet",
        "Rafted fleet",
        "53 fishing vessels of 32 to 48 m, side by side in 4 rafts, and 3 alone",
        "3 ships alone, and for each raft many ships, or one answer that says it is a lower bound",
        Setting(Site("East China Sea", 123.4, 29.6), _rafts, 109, wind_m_s=4.0),
    ),
    Frame(
        "aquaculture",
        "Aquaculture",
        "178 cages in two regular fields, each barely above the sea; a work boat and a coaster",
        "2 ships; the fields are no ships",
        Setting(Site("Sanggou Bay", 122.66, 37.08), _cages, 110, wind_m_s=4.0),
    ),
    Frame(
        "land_only",
        "Land only",
        "Inland Arabia with a town: no sea at all",
        "outcome irrelevant, no candidate",
        Setting(Site("Arabia", 45.0, 23.0), _land, 111, (700, 900), False),
    ),
    Frame(
        "single_polarisation",
        "Single polarisation",
        "A product of VV alone; 3 ships",
        "3 ships",
        Setting(Site("Western Mediterranean", 5.0, 38.6), _single, 112),
    ),
    Frame(
        "antimeridian",
        "Antimeridian",
        "The Koro Sea on both sides of 180 degrees; 5 ships, one on the meridian",
        "5 ships, longitudes on both sides, a footprint in two parts",
        Setting(Site("Koro Sea", 180.0, -17.6), _antimeridian, 113),
    ),
)


def frame(name: str) -> Frame:
    """Return the frame of a name."""
    return next(entry for entry in FRAMES if entry.name == name)
