"""The cloud-optimised twin of a product, as the Copernicus Data Space makes it.

Each measurement file becomes a tiled, compressed GeoTIFF with overviews; the file of each polarisation gets
`-cog` at the end of its name, its metadata unchanged; the folder's name ends in `_COG.SAFE`, with four digits
of its own, since they are the checksum of the manifest. The pixels are the same.
"""

from __future__ import annotations

import binascii
import re
import shutil
import warnings
from pathlib import Path

from engine.errors import InputError
from engine.simulate.safe import md5

# What the Copernicus Data Space's converter uses.
COMPRESSION = "ZSTD"
BLOCK_PX = 1024
_OVERVIEWS = 6

_MEMBER = re.compile(
    r"(?P<folder>annotation/(calibration/(calibration|noise)-|rfi/rfi-)?|measurement/)s1\w-.*"
)
_NAME = re.compile(r"(?P<head>S1[A-D]_\w+)_[0-9A-F]{4}\.SAFE")


def to_cog(
    product: Path, out: Path, compression: str = COMPRESSION, block_px: int = BLOCK_PX, threads: int = 1
) -> Path:
    """Write a product in its cloud-optimised form; its truth too, where that lies beside it.

    Args:
        product: folder of a SAFE product.
        out: folder that receives the twin; made if missing.
        compression: of the tiles: ZSTD, DEFLATE, LZW.
        block_px: side of the tiles, a multiple of 16.
        threads: that compress.

    Returns:
        The twin's folder.

    Raises:
        InputError: not a SAFE product whose manifest lists its files with size and checksum.
    """
    named = _NAME.fullmatch(product.name)
    if named is None or not (product / "manifest.safe").is_file():
        raise InputError(f"got {product}, expected the folder of a SAFE product with its manifest")
    out.mkdir(parents=True, exist_ok=True)
    draft = out / f".{product.stem}.partial"
    shutil.rmtree(draft, ignore_errors=True)
    manifest = (product / "manifest.safe").read_text("utf-8")
    for path in sorted(product.rglob("*")):
        inside = path.relative_to(product).as_posix()
        if not path.is_file() or inside == "manifest.safe":
            continue
        twin = inside
        if _MEMBER.fullmatch(inside):
            twin = f"{inside.removesuffix(path.suffix)}-cog{path.suffix}"
        (draft / twin).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".tiff":
            _convert(path, draft / twin, compression, block_px, threads)
        else:
            shutil.copyfile(path, draft / twin)
        if twin != inside:
            manifest = _listed(manifest, inside, twin, draft / twin)
    data = manifest.encode()
    (draft / "manifest.safe").write_bytes(data)
    name = f"{named['head']}_{binascii.crc_hqx(data, 0xFFFF):04X}_COG"
    final = out / f"{name}.SAFE"
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    truth = product.with_name(f"{product.stem}.truth.geojson")
    if truth.is_file():
        text = truth.read_text("utf-8").replace(product.stem, name)
        (out / f"{name}.truth.geojson").write_text(text, "utf-8")
    return final


def _convert(source: Path, target: Path, compression: str, block_px: int, threads: int) -> None:
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.shutil import copy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        copy(
            str(source),
            str(target),
            driver="COG",
            COMPRESS=compression,
            BLOCKSIZE=block_px,
            OVERVIEW_COUNT=_OVERVIEWS,
            OVERVIEW_RESAMPLING="RMS",
            BIGTIFF="NO",
            NUM_THREADS=threads,
        )


def _listed(manifest: str, inside: str, twin: str, path: Path) -> str:
    """Return the manifest with a file's new path, size and checksum."""
    form = re.compile(
        r'(?P<size>size=")\d+(?P<between>"[^<>]*>\s*<fileLocation[^<>]*href="\./)'
        + re.escape(inside)
        + r'(?P<after>"\s*/>\s*<checksum[^<>]*>)[0-9a-fA-F]*<'
    )
    listed, found = form.subn(
        lambda m: f"{m['size']}{path.stat().st_size}{m['between']}{twin}{m['after']}{md5(path)}<", manifest
    )
    if found != 1:
        raise InputError(
            f"got a manifest that lists {inside} {found} times with size and checksum, expected once"
        )
    return listed
