"""Contents in S3-compatible object storage, by s3fs; imported only if a setting selects it.

Credentials, region and endpoint are those of the AWS_* variables and files, as every S3 client reads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qmrunner.artifacts.blobs import IDENTITY, OBJECTS, ArtifactsUnavailable, Blob, is_sha256
from qmrunner.errors import UsageError

_PIECE = 8 << 20
_AT_ONCE = 64 << 20  # in one PUT; larger ones in parts, which become visible together
_CONNECT_S, _READ_S = 5, 30
_RETRIES = 2
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class S3Blobs:
    """See `blobs.Blobs`. An object appears with its whole content or not at all."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._root = f"{bucket}/{prefix}" if prefix else bucket
        self.where = f"s3://{self._root}"
        try:
            import aiohttp
            import botocore.exceptions
            import s3fs
        except ModuleNotFoundError as missing:
            raise UsageError(
                "artifacts_driver_missing",
                f"what {self.where} needs is not installed",
                evidence=str(missing),
                remedy="install the optional part: `pip install 'qmrunner[s3]'`",
            ) from None
        self._failures: tuple[type[Exception], ...] = (
            OSError, TimeoutError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError,
            aiohttp.ClientError,
        )  # fmt: skip
        self._s3: Any = s3fs.S3FileSystem(
            endpoint_url=next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None),
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "connect_timeout": _CONNECT_S,
                "read_timeout": _READ_S,
                "retries": {"mode": "standard", "max_attempts": _RETRIES},
            },
        )
        self._s3.retries = _RETRIES  # its own, around those

    def put(self, source: Path, sha256: str) -> None:
        size = source.stat().st_size
        content = source.read_bytes() if size <= _AT_ONCE else None
        with self._translated():
            if content is not None:
                self._s3.pipe_file(self._place(sha256), content)
            else:
                self._s3.put_file(str(source), self._place(sha256))

    def read(self, sha256: str) -> Iterator[bytes]:
        found = self.stat(sha256)
        if found is None:
            raise FileNotFoundError(sha256)
        start = 0
        while start < found.bytes:
            with self._translated():
                piece: bytes = self._s3.cat_file(self._place(sha256), start=start, end=start + _PIECE)
            if not piece:
                return
            start += len(piece)
            yield piece

    def stat(self, sha256: str) -> Blob | None:
        with self._translated():
            try:
                found = self._s3.info(self._place(sha256))
            except FileNotFoundError:
                return None
        return _blob(sha256, found)

    def remove(self, sha256: str) -> None:
        with self._translated():
            try:
                self._s3.rm_file(self._place(sha256))
            except FileNotFoundError:
                return

    def every(self) -> Iterator[Blob]:
        with self._translated():
            try:
                found: dict[str, Any] = self._s3.find(f"{self._root}/{OBJECTS}", detail=True)
            except FileNotFoundError:
                return
        for path, info in found.items():
            sha256 = "".join(path.rsplit("/", 2)[-2:])
            if is_sha256(sha256):
                yield _blob(sha256, info)

    def leftovers(self) -> Iterator[tuple[str, float]]:
        """None are visible: parts of an interrupted upload are removed by the bucket's lifecycle rules."""
        return iter(())

    def remove_leftover(self, name: str) -> None:
        raise AssertionError(name)

    def identity(self) -> str | None:
        with self._translated():
            try:
                content: bytes = self._s3.cat_file(f"{self._root}/{IDENTITY}")
            except FileNotFoundError:
                return None
        return content.decode(errors="replace").strip()

    def set_identity(self, identity: str) -> None:
        with self._translated():
            self._s3.pipe_file(f"{self._root}/{IDENTITY}", f"{identity}\n".encode())

    def close(self) -> None:
        creator = getattr(self._s3, "_s3creator", None)  # None before the first call
        if creator is not None:
            self._s3.close_session(self._s3.loop, creator)

    def _place(self, sha256: str) -> str:
        return f"{self._root}/{OBJECTS}/{sha256[:2]}/{sha256[2:]}"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._failures as problem:
            raise ArtifactsUnavailable(self.where, problem) from problem


def _blob(sha256: str, info: dict[str, Any]) -> Blob:
    return Blob(sha256, int(info["size"]), info["LastModified"].timestamp())
