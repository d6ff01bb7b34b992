"""Two machines on one PostgreSQL store: separate homes, scratch, logs and names, and one artifact store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest

from qmrunner.artifacts.blobs import Blobs, connect
from tests.artifacts import s3
from tests.sampling import share
from tests.support import Home

STAND_IN = Path(__file__).parents[1] / "stand_ins" / "xtb"
WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


@dataclass(frozen=True)
class Place:
    """An artifact store: its URL, and the variables with which it is reached."""

    url: str
    variables: dict[str, str]

    opened: list[Blobs] = field(default_factory=list)

    def blobs(self) -> Blobs:
        self.opened.append(connect(self.url))
        return self.opened[-1]

    def overwrite(self, sha256: str, content: bytes) -> None:
        """What a bad disk does."""
        place = f"objects/{sha256[:2]}/{sha256[2:]}"
        if self.url.startswith("file://"):
            Path(unquote(self.url.removeprefix("file://")), place).write_bytes(content)
            return
        import s3fs

        files = s3fs.S3FileSystem(endpoint_url=self.variables["AWS_ENDPOINT_URL"], skip_instance_cache=True)
        files.pipe_file(f"{self.url.removeprefix('s3://')}/{place}", content)
        files.close_session(files.loop, files._s3creator)


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    """A folder that both machines mount."""
    path = tmp_path / "shared"
    path.mkdir()
    return Place(path.as_uri(), {})


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a server that speaks S3."""
    with s3.server() as endpoint:
        yield endpoint


@pytest.fixture
def wire(s3_server: str) -> Iterator[s3.Wire]:
    """The way to that server, which a test may cut."""
    found = s3.Wire(s3_server)
    yield found
    found.cut()


@pytest.fixture
def bucket(wire: s3.Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A separate bucket."""
    variables = {**s3.CREDENTIALS, "AWS_ENDPOINT_URL": wire.endpoint}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    name = f"results-{uuid.uuid4().hex[:8]}"
    s3.make_bucket(wire.endpoint, name)
    found = Place(f"s3://{name}/qm", variables)
    yield found
    for one in found.opened:
        one.close()


@pytest.fixture(params=share(["folder", "bucket"], 2))
def place(request: pytest.FixtureRequest) -> Place:
    """One kind of artifact store, and at the next commit the other."""
    found: Place = request.getfixturevalue(request.param)
    return found


class Machines:
    """Homes that share a store and an artifact store, and nothing else."""

    def __init__(self, root: Path, store_url: str, place: Place) -> None:
        self._root = root
        self._shared = {
            "QMRUNNER_STORE_URL": store_url,
            "QMRUNNER_ARTIFACTS": place.url,
            "QMRUNNER_CHECKPOINT_SECONDS": "0",
            "STAND_IN_GATE": str(root / "gate"),
            **place.variables,
        }

    def home(self, name: str, **extra: str) -> Home:
        (self._root / name).mkdir()
        return Home(self._root / name / "home", {**self._shared, "QMRUNNER_WORKER_NAME": name, **extra})

    def stand_in(self, name: str) -> Home:
        """A machine whose xTB is the stand-in."""
        return self.home(name, QMRUNNER_XTB=str(STAND_IN))

    def open_gate(self) -> None:
        (self._root / "gate").touch()

    def structure(self, **behaviour: object) -> str:
        """A file with water, and how the stand-in behaves."""
        path = self._root / f"mol-{uuid.uuid4().hex[:6]}.xyz"
        words = " ".join(f"{name}={value}" for name, value in behaviour.items()) or "water"
        path.write_text(WATER.replace("water", words))
        return str(path)


@pytest.fixture
def machines(tmp_path: Path, postgres_database: str, place: Place) -> Machines:
    return Machines(tmp_path, postgres_database, place)
