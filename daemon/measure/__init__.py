"""What the pixels say of an object: position, length with an interval, width and axis."""

from daemon.measure.patch import RESOLUTION_M, Measure, Patch, measure_patch
from daemon.measure.scene import measure, measure_candidates

__all__ = ["RESOLUTION_M", "Measure", "Patch", "measure", "measure_candidates", "measure_patch"]
