"""Fixtures of the container tests. They need a container engine and the image: `make e2e` sees to both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.docker import IMAGE, Docker, Volumes, docker


@pytest.fixture(scope="session")
def engine() -> Iterator[Docker]:
    """The container engine. Nothing that the tests made there outlives them."""
    missing = None
    if shutil.which("docker") is None or docker("info", check=False).returncode != 0:
        missing = "no container engine answers"
    elif docker("image", "inspect", IMAGE, check=False).returncode != 0:
        missing = f"there is no image {IMAGE}"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{missing}; `make e2e` sees to it")
    if missing:
        pytest.skip(missing)
    made = Docker()
    try:
        yield made
    finally:
        made.remove_all()


@pytest.fixture
def containers(engine: Docker) -> Iterator[Docker]:
    """Start containers in a test; they are gone after it, so that one at a time computes."""
    yield engine
    engine.remove_containers()


@pytest.fixture
def volumes(containers: Docker) -> Volumes:
    """Fresh named volumes for data, scratch and logs."""
    return containers.volumes()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder, and only they, are of kind `e2e`; each may take minutes on a small machine."""
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(420))
