"""A product's files by their roles, checked against the manifest's checksums as they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping

from daemon.errors import SceneCorrupt
from daemon.scene.files import MANIFEST, PRODUCT_INFO, Files, find_files
from daemon.scene.names import ProductName, check_supported
from daemon.scene.raster import Raster
from daemon.scene.safe import Manifest, parse_manifest, role_of, safe_member

Roles = Mapping[tuple[str, str], str]

# As manifests name them, and as hashlib does.
_DIGESTS = {"MD5": "md5", "SHA-1": "sha1", "SHA1": "sha1", "SHA-256": "sha256", "SHA256": "sha256"}


class Source:
    """A product that is of a kind that is processed: what it is called, and what its files are.

    Attributes:
        files: where they lie.
        name: the product's.
        manifest: empty where there is none.
        roles: path by role (product, calibration, noise, rfi, measurement) and polarisation.
        verify_pixels: whether measurement files are checked too; that reads them once more.
        notes: what could not be checked.

    Raises:
        SceneCorrupt: neither name nor files are stated.
        SceneUnsupported: a product of another kind.
    """

    def __init__(self, files: Files, verify_pixels: bool = False) -> None:
        self.files, self.verify_pixels = files, verify_pixels
        self.notes: list[str] = []
        roles: Roles = {}
        if files.has(PRODUCT_INFO):
            self.name, roles = _aws(files)
        else:
            self.name = ProductName.parse(files.name)
        check_supported(self.name)
        self.manifest = Manifest("unknown", None, {})
        if files.has(MANIFEST):
            self.manifest = parse_manifest(files.read(MANIFEST), f"{files.name}/{MANIFEST}")
        self.roles = roles or self.manifest.files

    @property
    def annotated(self) -> bool:
        """Whether there is an annotation; only in AWS's layout may it be missing."""
        return self.name.kind != "AWS" or self.files.has(self.roles["product", self.name.polarisations[0]])

    def path(self, role: str, polarisation: str) -> str:
        """Return the path of a file.

        Raises:
            SceneCorrupt: the product has none of that role and polarisation.
        """
        if (role, polarisation) not in self.roles:
            raise SceneCorrupt(
                f"{self.name}: got no {role} of {polarisation}, expected "
                f"{' and '.join(self.name.polarisations)} as the name says: fetch the product again"
            )
        return self.roles[role, polarisation]

    def read(self, role: str, polarisation: str) -> tuple[bytes, str]:
        """Return a metadata file and what to call it in messages.

        Raises:
            SceneCorrupt: it is missing, too large, or not what the manifest's checksum says.
            SourceUnavailable: its host does not answer.
        """
        path = self.path(role, polarisation)
        data = self.files.read(path)
        self._compare(path, [data])
        return data, f"{self.name}/{path}"

    def raster(self, path: str) -> Raster:
        """Open a measurement file; checked where that is asked for.

        Raises:
            SceneCorrupt: it does not open, holds one number everywhere, or is not what the manifest's
                checksum says.
            SourceUnavailable: its host does not answer.
        """
        if self.verify_pixels:
            self._compare(path, self.files.chunks(path))
        name, size = self.files.gdal_name(path), self.files.size(path)
        raster = Raster(name, f"{self.files.name}/{path}", size, self.files.remote)
        try:
            raster.check_speckle()
        except BaseException:
            raster.close()
            raise
        return raster

    def _compare(self, path: str, pieces: Iterable[bytes]) -> None:
        algorithm, said = self.manifest.checksums.get(path, (None, ""))
        if algorithm is None:
            return
        if algorithm not in _DIGESTS:
            note = f"the manifest's checksums are {algorithm}: not verified"
            self.notes += [] if note in self.notes else [note]
            return
        digest = hashlib.new(_DIGESTS[algorithm], usedforsecurity=False)
        for piece in pieces:
            digest.update(piece)
        if digest.hexdigest() != said:
            raise SceneCorrupt(
                f"{self.files.name}/{path}: got {algorithm} {digest.hexdigest()}, expected {said} as "
                "manifest.safe says: changed or damaged, fetch the product again"
            )


def find_source(uri: str, schemes: Collection[str], hosts: Collection[str], verify_pixels: bool) -> Source:
    """Find a product's files; errors as of find_files and Source."""
    return Source(find_files(uri, schemes, hosts), verify_pixels)


def _aws(files: Files) -> tuple[ProductName, Roles]:
    """Return the name that AWS's layout states, and its paths: as mapped, else as the layout fixes them."""
    where = f"{files.name}/{PRODUCT_INFO}"
    try:
        info = json.loads(files.read(PRODUCT_INFO))
        name = ProductName.parse(str(info["id"]), "AWS")
    except (ValueError, KeyError, TypeError) as error:
        raise SceneCorrupt(f"{where}: got no product id ({error!r})") from None
    roles = {}
    for polarisation in name.polarisations:
        stem = f"{name.mode.lower()}-{polarisation.lower()}"
        roles["product", polarisation] = f"annotation/{stem}.xml"
        for lut in ("calibration", "noise"):
            roles[lut, polarisation] = f"annotation/calibration/{lut}-{stem}.xml"
        roles["rfi", polarisation] = f"annotation/rfi/rfi-{stem}.xml"
        roles["measurement", polarisation] = f"measurement/{stem}.tiff"
    renamed = info.get("filenameMap")
    for original, path in renamed.items() if isinstance(renamed, dict) else ():
        role = role_of(original)
        if role in roles:
            roles[role] = safe_member(str(path), where)
    return name, roles
