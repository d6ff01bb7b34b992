"""deploy/k8s: the shape of every object, and that they fit each other and the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from qmrunner.settings import load
from tests.deploy import shapes

FOLDER = Path(__file__).parents[2] / "deploy" / "k8s"
OBJECTS: list[dict[str, Any]] = [
    one for path in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())
]


def found(kind: str, name: str) -> dict[str, Any]:
    return next(one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name))


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = found("Deployment", name)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_every_object_has_the_shape_that_the_api_wants(one: dict[str, Any]) -> None:
    jsonschema.validate(one, shapes.of(one["apiVersion"], one["kind"]), cls=jsonschema.Draft202012Validator)


def test_the_shapes_refuse_what_is_not_there() -> None:
    wrong = found("Deployment", "qmrunner-worker")
    wrong = {**wrong, "spec": {**wrong["spec"], "replica": 2}}
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(wrong, shapes.of("apps/v1", "Deployment"))


@pytest.mark.parametrize("name", ["qmrunner-worker", "qmrunner-api"])
def test_what_is_mounted_is_there_and_selectors_select(name: str) -> None:
    deployment, spec = found("Deployment", name)["spec"], pod(name)
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert {source["configMapRef"]["name"] for source in container["envFrom"]} == {"qmrunner"}
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    for volume in spec["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert found("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])


def test_what_points_at_others_finds_them() -> None:
    worker = found("Deployment", "qmrunner-worker")["spec"]["template"]["metadata"]["labels"]
    assert found("PodDisruptionBudget", "qmrunner-worker")["spec"]["selector"]["matchLabels"].items() <= worker.items()
    api = found("Deployment", "qmrunner-api")["spec"]["template"]["metadata"]["labels"]
    assert found("Service", "qmrunner-api")["spec"]["selector"].items() <= api.items()
    assert found("Deployment", found("ScaledObject", "qmrunner-worker")["spec"]["scaleTargetRef"]["name"])


def test_the_settings_are_ones_that_the_program_takes(tmp_path: Path) -> None:
    """With the secrets where the pod has them."""
    settings = dict(found("ConfigMap", "qmrunner")["data"])
    keys = {"QMRUNNER_STORE_PASSWORD_FILE": "postgres_password", "QMRUNNER_QUEUE_PASSWORD_FILE": "redis_password"}
    mount = next(m for m in pod("qmrunner-worker")["containers"][0]["volumeMounts"] if m["name"] == "secrets")
    for name, key in keys.items():
        assert settings[name] == f"{mount['mountPath']}/{key}"
        (tmp_path / key).write_text("secret")
        settings[name] = str(tmp_path / key)
    taken = load(settings)
    assert taken.store == "postgresql://qmrunner:secret@postgres:5432/qmrunner"
    assert taken.queue == "redis://:secret@redis:6379/0"


def test_a_pod_outlives_the_stop_grace_and_its_memory_holds_shared_memory() -> None:
    spec = pod("qmrunner-worker")
    grace = float(found("ConfigMap", "qmrunner")["data"]["QMRUNNER_STOP_GRACE_SECONDS"])
    assert spec["terminationGracePeriodSeconds"] >= grace + 20
    shm = next(volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == "shm")
    assert shm["medium"] == "Memory"
    (worker,) = spec["containers"]
    memory = worker["resources"]["limits"]["memory"]
    assert 2 * int(shm["sizeLimit"].removesuffix("Gi")) <= int(memory.removesuffix("Gi"))
    assert worker["resources"]["limits"] == worker["resources"]["requests"]
    assert worker["lifecycle"]["preStop"]["exec"]["command"] == ["qmrunner", "drain"]
