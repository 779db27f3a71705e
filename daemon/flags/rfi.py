"""Radio interference: detections in bursts that the product itself reports as disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daemon.domain import Flag
from daemon.flags.ghosts import swath_of

if TYPE_CHECKING:
    from daemon.measure import Measure
    from daemon.scene.product import Scene

# A burst counts as disturbed where the noise pulse beside it says so, or where more of its data than this is
# affected. Lines alone say little: in one product 95% of them, in every burst, hold some percent of the band.
SHARE_PERCENT = 15.0


def rfi_flag(scene: Scene, size: Measure) -> Flag | None:
    """Return the flag of a detection in a disturbed burst; the worst polarisation speaks."""
    if not scene.rfi or scene.annotation is None:
        return None
    swath = swath_of(scene.annotation, size.line_px, size.sample_px) or scene.name.mode
    when = scene.geometry.time_utc(size.line_px)
    found = [
        (burst, name, report)
        for name, report in scene.rfi.items()
        if (burst := report.burst(swath, when)) is not None
        and (burst.detected or burst.share_percent >= SHARE_PERCENT)
    ]
    if not found:
        return None
    burst, name, report = max(found, key=lambda item: (item[0].detected, item[0].share_percent, item[1]))
    return Flag(
        "rfi",
        {
            "polarisation": name,
            "affected_lines_percent": burst.lines_percent,
            "affected_share_percent": burst.share_percent,
            "noise_detected": int(burst.detected),
            "mitigation": report.mitigation,
            "burst": burst.start.isoformat(),
        },
    )


def rfi_status(scene: Scene) -> Mapping[str, float | int | str]:
    """Say what is known of interference in a scene: unknown is not none."""
    if not scene.rfi:
        return {"status": "unknown", "reason": "the product holds no report on interference"}
    looked = {name: report for name, report in scene.rfi.items() if report.bursts}
    if not looked:
        return {"status": "unknown", "reason": "the processor did not look for interference"}
    bursts = [burst for report in looked.values() for burst in report.bursts]
    disturbed = sum(burst.detected or burst.share_percent >= SHARE_PERCENT for burst in bursts)
    return {
        "status": "known",
        "source": f"annotation, IPF {scene.ipf}",
        "polarisations": "+".join(looked),
        "bursts": len(bursts),
        "bursts_disturbed": disturbed,
        "fraction": round(disturbed / len(bursts), 4),
        "mitigation": "+".join(sorted({report.mitigation for report in looked.values()})),
    }
