"""The files of a product, wherever they lie: a folder, a zip, or a host that is allowed.

Metadata are read whole, bounded; pixels go to GDAL by name and are read by window.
"""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from daemon.errors import SceneCorrupt, SceneMissing, SceneUnsupported, SourceUnavailable
from daemon.scene.safe import safe_member

METADATA_LIMIT = 64 * 2**20  # bytes; the largest annotation is about 5 MB
ARCHIVE_MEMBERS_LIMIT = 10_000
ARCHIVE_BYTES_LIMIT = 64 * 2**30
TIMEOUT_S = 30.0
_CHUNK = 2**20

MANIFEST = "manifest.safe"
PRODUCT_INFO = "productInfo.json"  # marks the layout of AWS's sentinel-s1-l1c

DEFAULT_SCHEMES = ("file", "https", "s3")


class Files(ABC):
    """The files of one product, by their paths inside it.

    Attributes:
        name: of the product's folder.
        uri: where the product lies.
        remote: whether reading crosses a network.
    """

    name: str
    uri: str
    remote = False

    @abstractmethod
    def has(self, path: str) -> bool:
        """Whether there is a file."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return a metadata file.

        Raises:
            SceneCorrupt: it is not there, or larger than any metadata.
        """

    @abstractmethod
    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file of any size, piece by piece.

        Raises:
            SceneCorrupt: it is not there, or breaks off.
            SourceUnavailable: its host does not answer.
        """

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Return a file's size in bytes; None where it is not known without fetching."""

    @abstractmethod
    def gdal_name(self, path: str) -> str:
        """Return what GDAL opens the file by."""

    def _missing(self, path: str) -> SceneCorrupt:
        return SceneCorrupt(
            f"{self.name}: got no {path}, expected it in the product: fetch the product again"
        )

    def _bounded(self, path: str, size: int) -> None:
        if size > METADATA_LIMIT:
            raise SceneCorrupt(
                f"{self.name}: got {path} of {size} bytes, expected metadata of at most {METADATA_LIMIT}"
            )


class Folder(Files):
    """A product in a local folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.name, self.uri = root, root.resolve().name, str(root)

    def has(self, path: str) -> bool:
        """Whether there is a file."""
        return (self.root / path).is_file()

    def read(self, path: str) -> bytes:
        """Return a metadata file."""
        self._bounded(path, self.size(path))
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise SceneCorrupt(f"{self.name}: got {error} reading {path}") from None

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file piece by piece."""
        self.size(path)
        try:
            with (self.root / path).open("rb") as file:
                while piece := file.read(_CHUNK):
                    yield piece
        except OSError as error:
            raise SceneCorrupt(f"{self.name}: got {error} reading {path}") from None

    def size(self, path: str) -> int:
        """Return a file's size in bytes."""
        if not self.has(path):
            raise self._missing(path)
        return (self.root / path).stat().st_size

    def gdal_name(self, path: str) -> str:
        """Return what GDAL opens the file by."""
        return str((self.root / path).resolve())


class Archive(Files):
    """A product in a local zip. Nothing is unpacked; members that lie outside their folder are refused."""

    def __init__(self, path: Path) -> None:
        self.path, self.uri = path, str(path)
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise SceneCorrupt(f"{path.name}: got a zip that does not open ({error})") from None
        total = sum(member.file_size for member in members)
        if len(members) > ARCHIVE_MEMBERS_LIMIT or total > ARCHIVE_BYTES_LIMIT:
            raise SceneCorrupt(
                f"{path.name}: got {len(members)} members of {total} bytes in all, expected at most "
                f"{ARCHIVE_MEMBERS_LIMIT} and {ARCHIVE_BYTES_LIMIT}: refused"
            )
        self._members = {safe_member(member.filename, path.name): member for member in members}
        if len(self._members) != len(members):
            # Two readers could take different ones: we the last, GDAL the first.
            raise SceneCorrupt(
                f"{path.name}: got members of one name in the zip, expected each once: refused"
            )
        tops = {
            PurePosixPath(name).parent
            for name in self._members
            if PurePosixPath(name).name in (MANIFEST, PRODUCT_INFO) and len(PurePosixPath(name).parts) <= 2
        }
        if len(tops) != 1:
            raise SceneCorrupt(
                f"{path.name}: got {len(tops)} products in the zip, expected one folder with one"
            )
        self._top = tops.pop()
        self.name = self._top.name or path.name.removesuffix(".zip")

    def _member(self, path: str) -> zipfile.ZipInfo:
        member = self._members.get(str(self._top / path))
        if member is None:
            raise self._missing(path)
        return member

    def has(self, path: str) -> bool:
        """Whether there is a file."""
        return str(self._top / path) in self._members

    def read(self, path: str) -> bytes:
        """Return a metadata file."""
        self._bounded(path, self._member(path).file_size)
        with self._opened(path) as file:
            data = file.read(METADATA_LIMIT + 1)
        self._bounded(path, len(data))
        return data

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file piece by piece, unpacked."""
        with self._opened(path) as file:
            while piece := file.read(_CHUNK):
                yield piece

    @contextmanager
    def _opened(self, path: str) -> Iterator[IO[bytes]]:
        """Open a member; turn the zip's errors into ours."""
        member = self._member(path)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as file:
                yield file
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise SceneCorrupt(f"{self.name}: got {error} reading {path} from the zip") from None

    def size(self, path: str) -> int:
        """Return a file's size in bytes, unpacked."""
        return self._member(path).file_size

    def gdal_name(self, path: str) -> str:
        """Return what GDAL opens the file by."""
        return f"/vsizip/{{{self.path.resolve()}}}/{self._member(path).filename}"


class Remote(Files):
    """A product on an HTTPS host."""

    remote = True

    def __init__(self, url: str) -> None:
        self.uri = url.rstrip("/")
        self.name = unquote(PurePosixPath(urlsplit(self.uri).path).name)

    def _pieces(self, path: str) -> Generator[bytes, None, None]:
        """Yield a file; first an empty piece, which says that it is there."""
        import httpx

        try:
            with httpx.stream("GET", f"{self.uri}/{path}", timeout=TIMEOUT_S) as response:
                if response.status_code in (404, 410):
                    return
                if response.status_code != 200:
                    raise SourceUnavailable(
                        f"{self.uri}/{path}: got HTTP {response.status_code}, expected 200: try again "
                        "later, or read the product from a place that needs no credentials"
                    )
                yield b""
                yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise SourceUnavailable(f"{self.uri}/{path}: got {error!r}, expected an answer") from None

    def _fetch(self, path: str, limit: int) -> bytes | None:
        """Return at most ``limit`` bytes and a piece of a file, None where there is none."""
        data: bytes | None = None
        with closing(self._pieces(path)) as pieces:
            for piece in pieces:
                data = (data or b"") + piece
                if len(data) >= limit:
                    break
        return data

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file piece by piece."""
        pieces = self._pieces(path)
        if next(pieces, None) is None:
            raise self._missing(path)
        yield from pieces

    def has(self, path: str) -> bool:
        """Whether there is a file."""
        return self._fetch(path, 1) is not None

    def read(self, path: str) -> bytes:
        """Return a metadata file."""
        data = self._fetch(path, METADATA_LIMIT + 1)
        if data is None:
            raise self._missing(path)
        self._bounded(path, len(data))
        return data

    def size(self, path: str) -> None:
        """Return None: not known without fetching."""
        return None

    def gdal_name(self, path: str) -> str:
        """Return what GDAL opens the file by."""
        return f"/vsicurl/{self.uri}/{path}"


def find_files(uri: str, schemes: Collection[str] = DEFAULT_SCHEMES, hosts: Collection[str] = ()) -> Files:
    """Find a product's files.

    Args:
        uri: a path, or a URI of scheme file, https, http or s3 (a public bucket, read over HTTPS).
        schemes: what may be read.
        hosts: what hosts may be read from; those of s3 are buckets.

    Raises:
        SceneMissing: there is no product at that place.
        SceneCorrupt: there is something broken.
        SceneUnsupported: the scheme or host is not allowed.
        SourceUnavailable: the host does not answer.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme or "file"
    if scheme not in schemes:
        raise SceneUnsupported(f"got a URI of scheme {scheme!r}, expected one of {sorted(schemes)}")
    if scheme == "file":
        return _local(Path(unquote(parts.path) if parts.scheme else uri))
    host = parts.hostname or ""
    if parts.username or parts.password or parts.query:
        raise SceneUnsupported(f"got a URI of {host} with credentials or a query, expected a plain one")
    if host not in hosts:
        raise SceneUnsupported(
            f"got the host {host!r}, expected one of {sorted(hosts)}: allow it in the settings"
        )
    if parts.path.endswith(".zip"):
        raise SceneUnsupported(f"got the remote zip {uri}, expected a product's folder: fetch the zip first")
    url = f"https://{host}.s3.amazonaws.com{parts.path}" if scheme == "s3" else parts.geturl()
    files = Remote(url)
    if not (files.has(MANIFEST) or files.has(PRODUCT_INFO)):
        raise SceneMissing(f"got nothing at {uri}, expected a product's folder with {MANIFEST}")
    return files


def _local(path: Path) -> Files:
    if path.is_file():
        return Archive(path)
    if not path.is_dir():
        raise SceneMissing(f"got nothing at {path}, expected a product's folder or zip")
    files = Folder(path)
    if not (files.has(MANIFEST) or files.has(PRODUCT_INFO)):
        message = f"got {path} with neither {MANIFEST} nor {PRODUCT_INFO}, expected a Sentinel-1 product"
        raise SceneCorrupt(message) if files.name.endswith(".SAFE") else SceneMissing(message)
    return files
