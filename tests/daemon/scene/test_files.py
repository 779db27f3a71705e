from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from daemon.errors import SceneCorrupt, SceneMissing, SceneUnsupported, SourceUnavailable
from daemon.scene import files
from daemon.scene.product import Window, open_scene
from tests.support.safe import build_safe


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return build_safe(tmp_path, layout="zip")


@pytest.mark.parametrize(
    "member", ["../outside.txt", "/etc/outside", "a/../../b", "..\\outside", "C:/outside"]
)
def test_zip_with_a_member_outside_its_folder(packed: Path, member: str) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(member, "x")
    with pytest.raises(SceneCorrupt, match="inside the product") as caught:
        open_scene(str(packed))
    assert repr(member) in str(caught.value)


def test_zip_bombs(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10_000_000))
    with open_scene(str(packed)) as scene:
        assert scene.polarisations == ("VV", "VH")  # never unpacked
    monkeypatch.setattr(files, "ARCHIVE_BYTES_LIMIT", 10_000_000)
    with pytest.raises(SceneCorrupt, match="expected at most"):
        open_scene(str(packed))


@pytest.mark.parametrize("layout", ["SAFE", "zip"])
def test_metadata_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    product = build_safe(tmp_path, layout=layout)  # type: ignore[arg-type]
    monkeypatch.setattr(files, "METADATA_LIMIT", 3000)
    with pytest.raises(SceneCorrupt, match="at most 3000"):
        open_scene(str(product))


def test_broken_zips(packed: Path, tmp_path: Path) -> None:
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SceneCorrupt, match="does not open"):
        open_scene(str(packed))
    empty = tmp_path / "empty.zip"
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(SceneCorrupt, match="0 products"):
        open_scene(str(empty))


def test_zip_with_damaged_metadata(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        member = next(m for m in archive.infolist() if m.filename.endswith("manifest.safe"))
    data = bytearray(packed.read_bytes())
    start = member.header_offset + 30 + len(member.filename)
    data[start + 20 : start + 60] = bytes(40)
    packed.write_bytes(bytes(data))
    with pytest.raises(SceneCorrupt, match=r"manifest\.safe"):
        open_scene(str(packed))


@pytest.mark.parametrize("uri", ["ftp://host/x", "http://host/x", "gs://bucket/x", "javascript:x"])
def test_schemes_are_allowed_by_list(uri: str) -> None:
    with pytest.raises(SceneUnsupported, match="scheme"):
        open_scene(uri)


@pytest.mark.parametrize(
    "uri", ["https://evil.example/x.SAFE", "s3://bucket/x", "https://good.example.evil.example/x"]
)
def test_hosts_are_allowed_by_list(uri: str) -> None:
    with pytest.raises(SceneUnsupported, match="allow it"):
        open_scene(uri, hosts=["good.example"])


@pytest.mark.parametrize("uri", ["https://me:secret@good.example/x", "https://good.example/x?token=secret"])
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(SceneUnsupported, match="plain") as caught:
        open_scene(uri, hosts=["good.example"])
    assert "secret" not in str(caught.value)


def test_remote_zip_is_refused() -> None:
    with pytest.raises(SceneUnsupported, match="fetch the zip"):
        open_scene("https://good.example/x.zip", hosts=["good.example"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A host on this machine that serves a folder, with ranges, as object stores do."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self, body: bool = True) -> None:
            path = tmp_path / self.path.lstrip("/")
            if "broken" in self.path:
                return self.answer(503, b"later", body)
            if not path.is_file():
                return self.answer(404, b"no such file", body)
            data, span = path.read_bytes(), self.headers.get("Range")
            if span is None:
                return self.answer(200, data, body)
            first, last = span.removeprefix("bytes=").split("-")
            part = data[int(first) : int(last or len(data)) + 1]
            where = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
            return self.answer(206, part, body, where)

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def answer(self, status: int, data: bytes, body: bool, where: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Accept-Ranges", "bytes")
            if where:
                self.send_header("Content-Range", where)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", tmp_path
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("layout", ["SAFE", "AWS"])
def test_remote_products(server: tuple[str, Path], layout: str) -> None:
    url, folder = server
    product = build_safe(folder, layout=layout)  # type: ignore[arg-type]
    window = Window(10, 20, 30, 40)
    with (
        open_scene(str(product)) as here,
        open_scene(f"{url}/{product.name}", schemes=["http"], hosts=["127.0.0.1"]) as there,
    ):
        assert there.name == here.name
        assert np.array_equal(there.read("VH", window).sigma0, here.read("VH", window).sigma0)


def test_remote_failures(server: tuple[str, Path]) -> None:
    url, folder = server
    product = build_safe(folder)
    allowed = {"schemes": ["http"], "hosts": ["127.0.0.1"]}
    with pytest.raises(SceneMissing, match="nothing at"):
        open_scene(f"{url}/absent.SAFE", **allowed)
    with pytest.raises(SourceUnavailable, match="503"):
        open_scene(f"{url}/broken.SAFE", **allowed)
    with pytest.raises(SourceUnavailable, match="expected an answer"):
        open_scene("http://127.0.0.1:9/x.SAFE", **allowed)
    next(product.glob("annotation/*-vh-*.xml")).unlink()
    with pytest.raises(SceneCorrupt, match="got no annotation"):
        open_scene(f"{url}/{product.name}", **allowed)
