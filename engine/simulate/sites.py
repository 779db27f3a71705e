"""Real coastal seas to simulate scenes over, far enough apart for splits by site."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """A piece of coastal sea: its name, and a place on the water near the shore in degrees."""

    name: str
    lon_deg: float
    lat_deg: float


SITES = (
    Site("Oresund", 12.72, 55.80),
    Site("Gibraltar", -5.45, 36.02),
    Site("Singapore", 103.85, 1.18),
    Site("Palau", 134.50, 7.25),
    Site("Hatteras", -75.45, 35.20),
    Site("Dover", 1.45, 51.05),
    Site("Marmara", 28.85, 40.90),
    Site("Hormuz", 56.35, 26.95),
    Site("Galveston", -94.65, 29.30),
    Site("Tokyo Bay", 139.75, 35.25),
    Site("Las Palmas", -15.38, 28.15),
    Site("Durban", 31.12, -29.88),
    Site("Valparaiso", -71.62, -32.98),
    Site("Busan", 129.12, 35.02),
    Site("Piraeus", 23.55, 37.85),
    Site("Santos", -46.30, -24.05),
)
