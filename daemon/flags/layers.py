"""The dated layers that flags are taken from, opened once; and what is known of them for one scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.flags.ice import Chart, IceView, NoChart, SeaIce
from daemon.flags.infrastructure import Infrastructure, infrastructure_status
from daemon.flags.rfi import rfi_status

if TYPE_CHECKING:
    from daemon.scene.product import Scene

Status = Mapping[str, Mapping[str, float | int | str]]


@dataclass(frozen=True, eq=False)
class Layers:
    """What there is; each may be missing, and then nothing is known of it."""

    infrastructure: Infrastructure | None = None
    infrastructure_radius_m: float = 200.0
    sea_ice: SeaIce | None = None

    @classmethod
    def open(
        cls,
        infrastructure: Path | None = None,
        infrastructure_radius_m: float = 200.0,
        sea_ice: Path | None = None,
        sea_ice_max_age_days: int = 3,
    ) -> Layers:
        """Open the layers that are set.

        Raises:
            ConfigError: the layer of infrastructure cannot be read.
        """
        return cls(
            Infrastructure.open(infrastructure) if infrastructure else None,
            infrastructure_radius_m,
            SeaIce(sea_ice, sea_ice_max_age_days) if sea_ice else None,
        )

    def chart(self, when: datetime) -> Chart | NoChart | None:
        """Return the ice chart that holds for a time, or why there is none; None without the layer."""
        return self.sea_ice.chart(when) if self.sea_ice else None

    def version(self, when: datetime, chart: Chart | NoChart | None = None) -> str | None:
        """Return what a result depends on, of the layers that hold for a time; None without any.

        Args:
            when: time of the acquisition.
            chart: that holds then, where it is known: a newer one may come while a scene is looked at.
        """
        parts = []
        if self.infrastructure is not None:
            parts.append(f"infrastructure {self.infrastructure.version} {self.infrastructure_radius_m:g} m")
        if self.sea_ice is not None:
            chart = chart or self.chart(when)
            parts.append(
                f"ice {chart.source} {chart.day} {chart.digest}"
                if isinstance(chart, Chart)
                else "ice unknown"
            )
        return "; ".join(parts) or None

    def ice_view(self, scene: Scene) -> IceView:
        """Return what is known of ice over a scene."""
        _, south, _, north = scene.footprint.bounds
        when = scene.name.start
        return IceView(self.chart(when), when, (south, north))

    def status(self, scene: Scene, ice: IceView) -> Status:
        """Say what is known for a scene: infrastructure, sea ice, interference."""
        return {
            "infrastructure": infrastructure_status(self.infrastructure),
            "sea_ice": ice.status(),
            "rfi": rfi_status(scene),
        }
