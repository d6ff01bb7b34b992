"""deploy/k8s: the shape of every object, and that they fit each other and the program."""

from __future__ import annotations

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from qmrunner.settings import load
from tests.deploy import shapes

FOLDER = Path(__file__).parents[2] / "deploy" / "k8s"
OVERLAYS = sorted(path for path in (FOLDER / "overlays").iterdir())
FILES = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml"]
OBJECTS: list[dict[str, Any]] = [one for path in FILES for one in yaml.safe_load_all(path.read_text())]
VERSIONS = ("1.31", "1.34")  # of Kubernetes, whose schemas are in the package


def found(kind: str, name: str) -> dict[str, Any]:
    return next(one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name))


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = found("Deployment", name)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_every_object_has_the_shape_that_the_api_wants(one: dict[str, Any]) -> None:
    jsonschema.validate(one, shapes.of(one["apiVersion"], one["kind"]), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_every_object_passes_the_strict_schema_of_kubernetes(one: dict[str, Any], version: str) -> None:
    if "keda.sh" in one["apiVersion"]:
        return  # no kind of Kubernetes: `shapes` has what its reference documents
    kubernetes_validate.validate(one, version, strict=True)


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


def kustomization(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return read


@pytest.mark.parametrize("folder", [FOLDER / "base", *OVERLAYS], ids=lambda path: path.name)
def test_a_kustomization_names_what_is_there(folder: Path) -> None:
    custom = kustomization(folder)
    for resource in custom["resources"]:
        path = folder / resource
        assert path.is_file() or (path / "kustomization.yaml").is_file(), path
    for patch in custom.get("patches", ()):
        change = yaml.safe_load(patch["patch"])
        if isinstance(change, list):  # operations on paths of objects of one kind
            assert set(patch["target"]) == {"kind"}
            continue
        assert found(change["kind"], change["metadata"]["name"])["apiVersion"] == change["apiVersion"]
    for change in custom.get("replicas", ()):
        assert found("Deployment", change["name"])
    images = {container["image"].partition(":")[0] for name in WORKLOADS for container in containers(name)}
    assert {change["name"] for change in custom.get("images", ())} <= images == {"qmrunner"}


@pytest.mark.parametrize("folder", [FOLDER / "base", *OVERLAYS], ids=lambda path: path.name)
def test_what_kustomize_builds_is_valid_and_of_the_class_that_is_promised(folder: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; the files themselves are checked by the other tests")
    built = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert (built.returncode, built.stderr) == (0, "")
    objects = list(yaml.safe_load_all(built.stdout))
    for one in objects:
        if "keda.sh" not in one["apiVersion"]:
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    pods = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"}
    assert qos(pods["qmrunner-worker"]) == "Guaranteed"


def test_the_base_needs_nothing_that_a_plain_cluster_lacks() -> None:
    kinds = {
        (one["apiVersion"], one["kind"])
        for name in kustomization(FOLDER / "base")["resources"]
        for one in yaml.safe_load_all((FOLDER / "base" / name).read_text())
    }
    assert {api for api, _ in kinds} == {"v1", "apps/v1", "policy/v1"}


WORKLOADS = ("qmrunner-worker", "qmrunner-api")


def test_on_openshift_no_pod_names_a_user_or_a_group() -> None:
    """Its namespaces have ranges of ids, and a pod that names another id is refused."""
    (patch,) = kustomization(FOLDER / "overlays" / "openshift")["patches"]
    for name in WORKLOADS:
        deployment = copy.deepcopy(found(patch["target"]["kind"], name))
        for change in yaml.safe_load(patch["patch"]):
            *folders, last = change["path"].strip("/").split("/")
            at: Any = deployment
            for folder in folders:
                at = at[folder]
            assert change["op"] == "remove"
            del at[last]  # kustomize, too, fails for a path that is not there
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
        ids = {"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"}
        spec = deployment["spec"]["template"]["spec"]
        parts = [spec, *spec["containers"], *spec.get("initContainers", ())]
        assert not any(ids & part.get("securityContext", {}).keys() for part in parts)
        assert spec["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_container_has_the_sizes_that_a_resource_quota_asks_for(name: str) -> None:
    """A namespace with a quota refuses a pod with a container that lacks a size which the quota counts."""
    for container in containers(name):
        for kind in ("requests", "limits"):
            sizes = container["resources"][kind].keys()
            assert sizes >= {"cpu", "memory", "ephemeral-storage"}, (container["name"], kind)


def containers(name: str) -> list[dict[str, Any]]:
    spec = pod(name)
    return [*spec.get("initContainers", ()), *spec["containers"]]


def qos(spec: dict[str, Any]) -> str:
    """The class of a pod by the rules of Kubernetes (qos.go): init containers count as well."""
    sized = [container.get("resources", {}) for container in [*spec.get("initContainers", ()), *spec["containers"]]]
    parts = [resources.get(kind, {}) for resources in sized for kind in ("requests", "limits")]
    if not any(part.get(name) for part in parts for name in ("cpu", "memory")):
        return "BestEffort"
    for resources in sized:
        limits = resources.get("limits", {})
        requests = {**limits, **resources.get("requests", {})}
        if any(not limits.get(name) or limits[name] != requests[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def test_the_class_of_a_pod_is_computed_as_kubernetes_does() -> None:
    size = {"cpu": "1", "memory": "1Gi"}
    equal = {"resources": {"requests": size, "limits": size}}
    assert qos({"containers": [{}]}) == "BestEffort"
    assert qos({"containers": [equal]}) == "Guaranteed"
    assert qos({"containers": [{"resources": {"limits": size}}]}) == "Guaranteed"
    assert qos({"containers": [equal], "initContainers": [{}]}) == "Burstable"
    assert qos({"containers": [{"resources": {"requests": size}}]}) == "Burstable"
    assert qos({"containers": [{"resources": {"requests": size, "limits": {"cpu": "1"}}}]}) == "Burstable"


def test_the_worker_is_guaranteed_and_its_init_container_fits_into_its_share() -> None:
    spec = pod("qmrunner-worker")
    assert qos(spec) == "Guaranteed"
    (init,), (worker,) = spec["initContainers"], spec["containers"]
    for name in ("cpu", "memory", "ephemeral-storage"):
        assert amount(init["resources"]["limits"][name]) <= amount(worker["resources"]["limits"][name])


def amount(text: str) -> float:
    units = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    number = text.rstrip("KMGTim")
    return float(number) * units.get(text[len(number) :], 1)


@pytest.mark.parametrize("name", WORKLOADS)
def test_ephemeral_storage_holds_the_volumes_that_count_as_such(name: str) -> None:
    """An emptyDir on disk does, one in memory and a claim do not. A pod above its limit is evicted."""
    spec = pod(name)
    disks = [volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume]
    wanted = sum(amount(disk["sizeLimit"]) for disk in disks if disk.get("medium") != "Memory")
    asked = amount(spec["containers"][0]["resources"]["requests"]["ephemeral-storage"])
    assert wanted < asked  # the rest is for logs of the container
    for claim in (volume["ephemeral"]["volumeClaimTemplate"] for volume in spec["volumes"] if "ephemeral" in volume):
        assert asked < amount(claim["spec"]["resources"]["requests"]["storage"])


def test_a_sick_worker_does_not_block_the_drain_of_its_node() -> None:
    """The budget counts ready pods: without this policy one that cannot start is never evicted."""
    assert found("PodDisruptionBudget", "qmrunner-worker")["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_variables_of_services_beside_a_pod_break_nothing(name: str) -> None:
    """Links are off; a pod of another manifest has them, and starts all the same."""
    assert pod(name)["enableServiceLinks"] is False
    links = {}
    for service in (one for one in OBJECTS if one["kind"] == "Service"):
        prefix = service["metadata"]["name"].upper().replace("-", "_")
        for port in service["spec"]["ports"]:
            url = f"tcp://10.0.0.1:{port['port']}"
            at = f"{prefix}_PORT_{port['port']}_TCP"
            links |= {f"{prefix}_SERVICE_HOST": "10.0.0.1", f"{prefix}_SERVICE_PORT": str(port["port"])}
            links |= {
                f"{prefix}_SERVICE_PORT_{port['name'].upper()}": str(port["port"]),
                f"{prefix}_PORT": url,
                at: url,
            }
            links |= {f"{at}_PROTO": "tcp", f"{at}_PORT": str(port["port"]), f"{at}_ADDR": "10.0.0.1"}
    assert "QMRUNNER_API_PORT" in links
    assert load(links) == load({})


def test_the_api_takes_its_first_token_from_the_secret_that_no_worker_has() -> None:
    (api,) = pod("qmrunner-api")["containers"]
    (file,) = (entry["value"] for entry in api["env"] if entry["name"] == "QMRUNNER_API_TOKEN_FILE")
    mount = next(mount for mount in api["volumeMounts"] if mount["name"] == "secrets")
    assert file == f"{mount['mountPath']}/api_token"
    (kept,) = (volume["secret"] for volume in pod("qmrunner-worker")["volumes"] if "secret" in volume)
    assert {item["key"] for item in kept["items"]} == {"postgres_password", "redis_password"}
    assert "--from-literal=api_token=" in (FOLDER / "base" / "kustomization.yaml").read_text()


def test_checkpoints_outlive_a_pod_and_its_scratch() -> None:
    spec = pod("qmrunner-worker")
    store = found("ConfigMap", "qmrunner")["data"]["QMRUNNER_ARTIFACTS"]
    mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    volume = next(volume for volume in spec["volumes"] if volume["name"] == mounts["/jobs"])
    assert store.startswith("file:///jobs/")
    assert "persistentVolumeClaim" in volume
    assert f"mkdir -p {store.removeprefix('file://')}" in " ".join(spec["initContainers"][0]["command"])


def test_the_autoscaler_stops_no_busy_worker() -> None:
    """It removes workers only by KEDA's way to zero, when every trigger is inactive; one of them sees what runs."""
    spec = found("ScaledObject", "qmrunner-worker")["spec"]
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"
    running = [
        trigger["metadata"] for trigger in spec["triggers"] if "qmrunner_running" in trigger["metadata"]["query"]
    ]
    assert [float(trigger["activationThreshold"]) for trigger in running] == [0]
