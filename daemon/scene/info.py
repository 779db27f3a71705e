"""What identifies a scene, apart from its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.domain import SceneInfo

if TYPE_CHECKING:
    from daemon.scene.product import Scene


def scene_info(scene: Scene) -> SceneInfo:
    """Take what identifies a scene."""
    name = scene.name
    return SceneInfo(
        product=name.id,
        uri=scene.uri,
        kind=name.kind,
        platform=name.platform,
        mode=name.mode,
        product_type=name.product_type,
        resolution=name.resolution,
        polarisations=tuple(scene.polarisations),
        start=name.start,
        stop=name.stop,
        absolute_orbit=name.absolute_orbit,
        relative_orbit=scene.relative_orbit,
        orbit_direction=scene.orbit_direction,
        datatake=name.datatake,
        unique_id=name.unique_id,
        ipf=scene.ipf,
        shape=scene.shape,
        spacing_m=scene.spacing_m,
        footprint=scene.footprint,
        annotated=scene.annotation is not None,
    )
