"""Real metadata with pixels of our own: the test data hold no measurement files."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterWindow

from daemon.scene.raster import Window
from daemon.scene.safe import parse_annotation, parse_manifest


def with_pixels(product: Path, out: Path, pixels: dict[str, list[tuple[Window, NDArray[np.uint16]]]]) -> Path:
    """Copy a product's metadata and write full-size measurement files that are empty but for some windows."""
    copy = out / product.name
    shutil.copytree(product, copy, ignore=shutil.ignore_patterns("measurement", "preview", "*.pdf"))
    (copy / "measurement").mkdir()
    manifest = parse_manifest((copy / "manifest.safe").read_bytes())
    for polarisation, parts in pixels.items():
        lines, samples = parse_annotation((copy / manifest.files["product", polarisation]).read_bytes()).shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                copy / manifest.files["measurement", polarisation],
                "w",
                driver="GTiff",
                height=lines,
                width=samples,
                count=1,
                dtype="uint16",
                tiled=True,
                blockxsize=512,
                blockysize=512,
                compress="deflate",
                sparse_ok=True,
            ) as dataset:
                last = Window(lines - 1, samples - 1, 1, 1), np.ones((1, 1), np.uint16)
                for window, dn in (last, *parts):
                    where = RasterWindow(window.sample, window.line, window.samples, window.lines)
                    dataset.write(dn, 1, window=where)
    return copy
