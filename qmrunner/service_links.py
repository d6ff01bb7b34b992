"""Variables that Kubernetes and Docker add for each service of a namespace: `QMRUNNER_API_PORT=tcp://…` and others.

A service whose name begins with `qmrunner` puts its host and ports into the environment of every container next to it
(https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables). They are no settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# SERVICE_HOST, SERVICE_PORT, SERVICE_PORT_HTTP, PORT_8642_TCP, PORT_8642_TCP_ADDR …: no setting is named like these.
_NAME = re.compile(r"(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)")
# PORT, API_PORT: the same name as a setting may have, so the value decides.
_PORT = re.compile(r"(?:.*_)?PORT")
_URL = re.compile(r"(?:tcp|udp|sctp)://")


def is_service_link(name: str, value: str, prefix: str) -> bool:
    """Whether the variable describes a service, rather than a misspelled setting."""
    rest = name.removeprefix(prefix)
    return bool(_NAME.fullmatch(rest) or (_PORT.fullmatch(rest) and _URL.match(value)))


def links_of(environment: Iterable[tuple[str, str]], prefix: str) -> list[str]:
    """The names of all variables with `prefix` that describe services."""
    return sorted(
        name for name, value in environment if name.startswith(prefix) and is_service_link(name, value, prefix)
    )
