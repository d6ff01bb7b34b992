"""What is kept in a folder or in S3: whole, found again by its hash, and never believed without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmrunner.artifacts.blobs import IDENTITY, ArtifactsUnavailable, Stored, connect, digest
from qmrunner.artifacts.files import Artifacts
from qmrunner.errors import NotReadyError, UsageError
from qmrunner.store import schema
from qmrunner.store.artifacts import JOB, File
from qmrunner.store.session import Store
from tests.artifacts.conftest import Place
from tests.artifacts.s3 import Wire


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'store.db'}")
    schema.upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
def artifacts(place: Place, store: Store) -> Artifacts:
    found = Artifacts(place.blobs(), store)
    found.verify_pairing()
    return found


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def row(path: str, content: Stored) -> File:
    return File("j1", JOB, path, "xtb", 1, content.sha256, content.bytes)


@pytest.fixture
def kept(artifacts: Artifacts, tmp_path: Path) -> File:
    """A file that was sent: 20 MiB, more than is read at once."""
    source = written(tmp_path / "sent", "big", bytes(range(256)) * 80 * 1024)
    return row("xtb/big", artifacts.put({"xtb/big": source})["xtb/big"])


def test_a_file_comes_back_as_it_was(artifacts: Artifacts, kept: File, tmp_path: Path) -> None:
    assert artifacts.bring([kept], tmp_path / "there") == []
    found = digest(tmp_path / "there" / "xtb" / "big")
    assert (found.sha256, found.bytes) == (kept.sha256, 20 << 20)
    assert [path.name for path in (tmp_path / "there" / "xtb").iterdir()] == ["big"]


@pytest.mark.parametrize("damage", ["other bytes", "cut short", "nothing left", "one bit"])
def test_a_damaged_content_is_never_used(
    artifacts: Artifacts, kept: File, place: Place, tmp_path: Path, damage: str
) -> None:
    whole = (tmp_path / "sent" / "big").read_bytes()
    bad = {
        "other bytes": b"x" * len(whole),
        "cut short": whole[: len(whole) // 2],
        "nothing left": b"",
        "one bit": bytes([whole[0] ^ 1]) + whole[1:],
    }[damage]
    place.overwrite(kept.sha256, bad)
    there = tmp_path / "there"
    assert artifacts.bring([kept], there) == [kept]
    assert list(there.rglob("*.part")) == []
    assert not (there / kept.path).exists()


def test_a_content_sent_again_mends_a_damaged_one(
    artifacts: Artifacts, kept: File, place: Place, tmp_path: Path
) -> None:
    place.overwrite(kept.sha256, b"damaged")
    artifacts.put({"again": tmp_path / "sent" / "big"})
    assert artifacts.bring([kept], tmp_path / "there") == []


def test_a_content_that_is_gone_is_missing(artifacts: Artifacts, kept: File, tmp_path: Path) -> None:
    artifacts.blobs.remove(kept.sha256)
    artifacts.blobs.remove(kept.sha256)  # nothing to remove is no error
    assert artifacts.blobs.stat(kept.sha256) is None
    assert artifacts.bring([kept], tmp_path / "there") == [kept]


def test_a_file_here_is_used_only_when_it_has_that_content(artifacts: Artifacts, kept: File, tmp_path: Path) -> None:
    there = tmp_path / "there"
    stale = written(there, kept.path, b"of an attempt that was never committed")
    assert artifacts.bring([kept], there) == []
    assert digest(stale).sha256 == kept.sha256
    stale.write_bytes(b"stale again")
    artifacts.blobs.remove(kept.sha256)
    assert artifacts.bring([kept], there) == [kept]
    assert not stale.exists()


def test_a_file_here_with_that_content_is_not_fetched(artifacts: Artifacts, kept: File, tmp_path: Path) -> None:
    artifacts.blobs.remove(kept.sha256)
    written(tmp_path / "there", kept.path, (tmp_path / "sent" / "big").read_bytes())
    assert artifacts.bring([kept], tmp_path / "there") == []


def test_every_content_is_listed_with_its_size(artifacts: Artifacts, kept: File, tmp_path: Path) -> None:
    small = artifacts.put({"s": written(tmp_path, "small", b"abc")})["s"]
    listed = {blob.sha256: blob.bytes for blob in artifacts.blobs.every()}
    assert listed == {kept.sha256: 20 << 20, small.sha256: 3}


def test_the_place_of_another_store_is_refused(artifacts: Artifacts, place: Place, tmp_path: Path) -> None:
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    schema.upgrade(other)
    try:
        with pytest.raises(NotReadyError) as caught:
            Artifacts(place.blobs(), other).verify_pairing()
        assert caught.value.code == "artifacts_foreign"
        assert caught.value.remedy
    finally:
        other.close()
    Artifacts(place.blobs(), artifacts._store).verify_pairing()  # another machine of the same store


def test_an_empty_mount_point_is_not_taken_for_a_place_where_all_is_missing(
    folder: Place, store: Store, tmp_path: Path
) -> None:
    artifacts = Artifacts(folder.blobs(), store)
    artifacts.verify_pairing()
    kept = row("a", artifacts.put({"a": written(tmp_path, "a", b"a")})["a"])
    (tmp_path / "shared").rename(tmp_path / "elsewhere")
    (tmp_path / "shared").mkdir()
    with pytest.raises(ArtifactsUnavailable):
        artifacts.bring([kept], tmp_path / "there")
    with pytest.raises(ArtifactsUnavailable):
        artifacts.put({"a": tmp_path / "a"})
    assert list((tmp_path / "shared").iterdir()) == []
    with pytest.raises(NotReadyError) as caught:
        artifacts.verify_pairing()
    assert caught.value.code == "artifacts_missing"
    assert IDENTITY in str(caught.value.evidence)


def test_a_bucket_out_of_reach_is_lost_and_found_again(
    bucket: Place, wire: Wire, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Artifacts(bucket.blobs(), store)
    artifacts.verify_pairing()
    source = written(tmp_path, "a", b"a")
    wire.cut()
    with pytest.raises(ArtifactsUnavailable) as caught:
        artifacts.put({"a": source})
    assert caught.value.code == "artifacts_unavailable"
    assert bucket.url in caught.value.message
    assert not artifacts.answers()
    wire.mend()
    monkeypatch.setattr("qmrunner.artifacts.files._ASK_AGAIN_S", 0.0)
    assert artifacts.answers()
    assert artifacts.lost_s() is None
    artifacts.put({"a": source})


def test_without_the_optional_part_the_remedy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError) as caught:
        connect("s3://results/qm")
    assert caught.value.code == "artifacts_driver_missing"
    assert caught.value.exit_code == 2
    assert "qmrunner[s3]" in str(caught.value.remedy)
