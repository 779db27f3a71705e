"""Measurement pixels, read by window: plain strips as they are, anything else through GDAL."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.errors import SceneCorrupt, SourceUnavailable
from daemon.scene.strips import strips_of

# Of decoded blocks, for all files together: GDAL would take a twentieth of the memory. rasterio hands a
# number on as bytes.
_CACHE_BYTES = 64 << 20
_REMOTE = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_TIMEOUT": "30",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "1",
}

# Where and how much is looked at to see that an image varies; of fewer pixels nothing is concluded.
_PLACES, _PLACE_PX, _FEW_PX = 16, 32, 64


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a scene, in pixels; it may reach beyond the scene."""

    line: int
    sample: int
    lines: int
    samples: int


class Raster:
    """One measurement file, opened once. Threads may share it: reads take turns.

    Attributes:
        shape: lines, samples.

    Raises:
        SceneCorrupt: empty, truncated, or not a single band of 16-bit unsigned integers.
        SourceUnavailable: its host does not answer.
    """

    def __init__(self, gdal_name: str, label: str, size: int | None, remote: bool = False) -> None:
        self.gdal_name, self.label, self._remote = gdal_name, label, remote
        self._lock = threading.Lock()
        self._opened: Any = None
        if size == 0:
            raise SceneCorrupt(
                f"{label}: got an empty file (0 bytes), expected pixels: fetch the product again"
            )
        self._strips = strips_of(gdal_name)
        if self._strips is not None:  # GDAL is not even loaded
            self.shape: tuple[int, int] = self._strips.shape
            end: int | None = self._strips.end
        else:
            self.shape = self._dataset.shape
            count, dtype = self._dataset.count, self._dataset.dtypes[0]
            if (count, dtype) != (1, "uint16"):
                self.close()
                raise SceneCorrupt(f"{self.label}: got {count} bands of {dtype}, expected one of uint16")
            end = self._end()
        if size is not None and (end is None or end > size):
            self.close()
            raise SceneCorrupt(f"{self.label}: got {size} bytes, expected more: truncated, fetch it again")

    @property
    def _dataset(self) -> Any:
        """The file as rasterio's, opened when it is first asked for."""
        with self._lock:
            if self._opened is None:
                import rasterio  # slow to load
                from rasterio.errors import NotGeoreferencedWarning

                with self._translated(), warnings.catch_warnings():
                    warnings.simplefilter("ignore", NotGeoreferencedWarning)
                    # No other driver: a file of another format could point GDAL to other places.
                    self._opened = rasterio.open(self.gdal_name, driver="GTiff")
            return self._opened

    def _end(self) -> int | None:
        """Return where the last block ends: a broken transfer cuts the tail."""
        height, width = self._dataset.block_shapes[0]
        block = f"{(self.shape[1] - 1) // width}_{(self.shape[0] - 1) // height}"
        offset, length = (
            self._dataset.get_tag_item(f"{item}_{block}", "TIFF", bidx=1)
            for item in ("BLOCK_OFFSET", "BLOCK_SIZE")
        )
        # Where the index of blocks itself is cut off, GDAL knows no offset.
        return None if offset is None or length is None else int(offset) + int(length)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn GDAL's errors into ours."""
        import rasterio
        from rasterio.errors import RasterioError

        try:
            with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES, **(_REMOTE if self._remote else {})):
                yield
        except (RasterioError, OSError) as error:
            # rasterio names GDAL's own error as the cause
            raise self._trouble(f"{error.__cause__ or error}") from None

    def _trouble(self, reason: str) -> SourceUnavailable | SceneCorrupt:
        if self._remote:
            return SourceUnavailable(f"{self.label}: got {reason!r} reading pixels")
        return SceneCorrupt(f"{self.label}: got {reason!r} reading pixels: fetch it again")

    def check_speckle(self) -> None:
        """Look at a few places, from the top on until one varies: every radar image speckles.

        Raises:
            SceneCorrupt: all of them hold one and the same number, other than 0.
            SourceUnavailable: the host does not answer.
        """
        values: set[int] = set()
        pixels = 0
        for place in range(1, 2 * _PLACES, 2):
            line, sample = (size * place // (2 * _PLACES) for size in self.shape)
            dn = self.read(Window(line, sample, _PLACE_PX, _PLACE_PX))
            values.update(np.unique(dn[dn > 0]).tolist())
            pixels += int(np.count_nonzero(dn))
            if len(values) > 1:
                return
        if pixels > _FEW_PX:
            raise SceneCorrupt(
                f"{self.label}: got the number {values.pop()} wherever there is data, expected speckle: no "
                "radar image, and nothing seen in it would say nothing; fetch the product again"
            )

    @property
    def software(self) -> str:
        """What the file says that wrote it; empty where it does not."""
        return str(self._dataset.tags().get("TIFFTAG_SOFTWARE", ""))

    @property
    def gcp_heights_m(self) -> NDArray[np.float64]:
        """Heights of the ground control points, [n]."""
        return np.array([point.z or 0.0 for point in self._dataset.gcps[0]])

    @property
    def gcps(self) -> NDArray[np.float64]:
        """Ground control points: line, sample (pixel centres), longitude, latitude, [n, 4]."""
        points = self._dataset.gcps[0]
        # GDAL counts from the first pixel's corner
        return np.array([[p.row - 0.5, p.col - 0.5, p.x, p.y] for p in points]).reshape(-1, 4)

    @property
    def plain(self) -> bool:
        """Whether lines are read as they stand on disk, anywhere at the same cost."""
        return self._strips is not None

    @property
    def block_lines(self) -> int:
        """Lines of a block of the file: reading them together decodes it once; 1 where nothing is decoded."""
        return 1 if self._strips is not None else int(self._dataset.block_shapes[0][0])

    def read_lines(self, first_line: int, out: NDArray[np.uint16]) -> None:
        """Fill whole lines of digital numbers, [lines, samples], contiguous, all within the scene.

        Raises:
            SceneCorrupt: the file breaks off or does not decode.
            SourceUnavailable: its host does not answer.
        """
        if self._strips is not None:
            try:  # without GDAL's environment, which would be entered for every piece
                self._strips.read_into(first_line, out)
            except OSError as error:
                raise self._trouble(f"{error}") from None
            return
        dataset, part = self._dataset, ((first_line, first_line + len(out)), (0, self.shape[1]))
        with self._lock, self._translated():
            dataset.read(1, window=part, out=out)

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return digital numbers, [h, w]; 0 beyond the scene.

        Raises:
            SceneCorrupt: the file breaks off or does not decode.
            SourceUnavailable: its host does not answer.
        """
        first, left = max(window.line, 0), max(window.sample, 0)
        last = min(window.line + window.lines, self.shape[0])
        right = min(window.sample + window.samples, self.shape[1])
        if first >= last or left >= right:
            return np.zeros((window.lines, window.samples), np.uint16)
        dn: NDArray[np.uint16]
        if self._strips is not None:
            dn = np.empty((last - first, right - left), np.uint16)
            try:
                self._strips.read_into(first, dn, left)
            except OSError as error:
                raise self._trouble(f"{error}") from None
        else:
            dataset, part = self._dataset, ((first, last), (left, right))
            with self._lock, self._translated():
                dn = dataset.read(1, window=part)
        if dn.shape == (window.lines, window.samples):
            return dn
        out = np.zeros((window.lines, window.samples), np.uint16)
        line, sample = first - window.line, left - window.sample
        out[line : line + dn.shape[0], sample : sample + dn.shape[1]] = dn
        return out

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
