"""The parts of the Kubernetes API that deploy/k8s uses, as JSON Schema: every field that is not here is a slip.

Written from the API reference (v1, apps/v1, policy/v1, keda.sh/v1alpha1): the tests need no cluster and no network.
"""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]
TEXT: Shape = {"type": "string", "minLength": 1}
NAME: Shape = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
COUNT: Shape = {"type": "integer", "minimum": 0}
FLAG: Shape = {"type": "boolean"}
QUANTITY: Shape = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$"}
WORDS: Shape = {"type": "array", "items": TEXT, "minItems": 1}
TEXTS: Shape = {"type": "object", "additionalProperties": {"type": "string"}}


def obj(required: str = "", **fields: Shape) -> Shape:
    """An object of exactly these fields, of which those named in `required` must be there."""
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


def many(shape: Shape) -> Shape:
    return {"type": "array", "items": shape, "minItems": 1}


META = obj("name", name=NAME, labels=TEXTS, annotations=TEXTS)
SELECTOR = obj("matchLabels", matchLabels=TEXTS)
SIZES = {
    "type": "object",
    "properties": dict.fromkeys(("cpu", "memory", "ephemeral-storage", "storage"), QUANTITY),
    "additionalProperties": False,
}
RESOURCES = obj(requests=SIZES, limits=SIZES)
EXEC = obj("command", command=WORDS)
PROBE: Shape = {
    **obj(
        exec=EXEC,
        httpGet=obj("path port", path={"type": "string", "pattern": "^/"}, port={"type": ["string", "integer"]}),
        periodSeconds=COUNT,
        timeoutSeconds=COUNT,
        failureThreshold=COUNT,
        initialDelaySeconds=COUNT,
    ),
    "oneOf": [{"required": ["exec"]}, {"required": ["httpGet"]}],
}
RIGHTS = obj(
    "readOnlyRootFilesystem allowPrivilegeEscalation capabilities",
    readOnlyRootFilesystem={"const": True},
    allowPrivilegeEscalation={"const": False},
    capabilities=obj("drop", drop={"const": ["ALL"]}),
)
VARIABLE = obj(
    "name", name=TEXT, value={"type": "string"}, valueFrom=obj("fieldRef", fieldRef=obj("fieldPath", fieldPath=TEXT))
)
CONTAINER = obj(
    "name image securityContext",
    name=NAME,
    image=TEXT,
    imagePullPolicy={"enum": ["IfNotPresent", "Always", "Never"]},
    command=WORDS,
    args=WORDS,
    envFrom=many(obj("configMapRef", configMapRef=obj("name", name=NAME))),
    env=many(VARIABLE),
    ports=many(obj("containerPort", name=NAME, containerPort=COUNT)),
    lifecycle=obj(preStop=obj("exec", exec=EXEC)),
    startupProbe=PROBE,
    livenessProbe=PROBE,
    readinessProbe=PROBE,
    resources=RESOURCES,
    securityContext=RIGHTS,
    volumeMounts=many(obj("name mountPath", name=NAME, mountPath={"type": "string", "pattern": "^/"}, readOnly=FLAG)),
)
CLAIM = obj(
    "accessModes resources",
    accessModes=many({"enum": ["ReadWriteOnce", "ReadWriteMany"]}),
    storageClassName=TEXT,
    resources=RESOURCES,
)
VOLUME: Shape = {
    **obj(
        "name",
        name=NAME,
        emptyDir=obj(medium={"const": "Memory"}, sizeLimit=QUANTITY),
        persistentVolumeClaim=obj("claimName", claimName=NAME),
        ephemeral=obj("volumeClaimTemplate", volumeClaimTemplate=obj("spec", spec=CLAIM)),
        secret=obj("secretName", secretName=NAME, defaultMode=COUNT, items=many(obj("key path", key=TEXT, path=TEXT))),
    ),
    "minProperties": 2,
    "maxProperties": 2,
}
POD = obj(
    "containers securityContext automountServiceAccountToken enableServiceLinks",
    terminationGracePeriodSeconds=COUNT,
    automountServiceAccountToken={"const": False},
    enableServiceLinks={"const": False},
    securityContext=obj(
        "runAsNonRoot seccompProfile",
        runAsNonRoot={"const": True},
        runAsUser={"type": "integer", "minimum": 1},
        runAsGroup=COUNT,
        fsGroup=COUNT,
        fsGroupChangePolicy={"enum": ["Always", "OnRootMismatch"]},
        seccompProfile=obj("type", type={"enum": ["RuntimeDefault", "Localhost"]}),
    ),
    initContainers=many(CONTAINER),
    containers=many(CONTAINER),
    volumes=many(VOLUME),
)
ROLLING = obj(maxSurge={"type": ["integer", "string"]}, maxUnavailable={"type": ["integer", "string"]})
POLICY = obj("type value periodSeconds", type={"enum": ["Pods", "Percent"]}, value=COUNT, periodSeconds=COUNT)
SCALING = obj(
    "",
    stabilizationWindowSeconds=COUNT,
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies=many(POLICY),
)
SPECS: dict[tuple[str, str], Shape] = {
    ("v1", "PersistentVolumeClaim"): CLAIM,
    ("apps/v1", "Deployment"): obj(
        "selector template",
        replicas=COUNT,
        strategy=obj("type", type={"enum": ["RollingUpdate", "Recreate"]}, rollingUpdate=ROLLING),
        selector=SELECTOR,
        template=obj("metadata spec", metadata=obj("labels", labels=TEXTS, annotations=TEXTS), spec=POD),
    ),
    ("policy/v1", "PodDisruptionBudget"): obj(
        "selector",
        maxUnavailable=COUNT,
        unhealthyPodEvictionPolicy={"enum": ["AlwaysAllow", "IfHealthyBudget"]},
        selector=SELECTOR,
    ),
    ("v1", "Service"): obj(
        "ports",
        selector=TEXTS,
        ports=many(obj("port", name=NAME, port=COUNT, targetPort={"type": ["string", "integer"]})),
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): obj(
        "scaleTargetRef triggers",
        scaleTargetRef=obj("name", name=NAME),
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        pollingInterval=COUNT,
        cooldownPeriod=COUNT,
        advanced=obj(horizontalPodAutoscalerConfig=obj("behavior", behavior=obj(scaleUp=SCALING, scaleDown=SCALING))),
        triggers=many(
            obj(
                "type metadata",
                type={"const": "prometheus"},
                metadata=obj(
                    "serverAddress query threshold",
                    serverAddress=TEXT,
                    query=TEXT,
                    threshold={"type": "string", "pattern": "^[0-9.]+$"},
                    activationThreshold={"type": "string", "pattern": "^[0-9.]+$"},
                ),
            )
        ),
    ),
}


def of(api: str, kind: str) -> Shape:
    """The schema of a whole object. Raises KeyError when nothing of ours is of that kind."""
    head = {"apiVersion": {"const": api}, "kind": {"const": kind}, "metadata": META}
    if (api, kind) == ("v1", "ConfigMap"):
        return obj("apiVersion kind metadata data", **head, data=TEXTS)
    return obj("apiVersion kind metadata spec", **head, spec=SPECS[api, kind])
