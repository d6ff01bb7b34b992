"""Check that the kernel can confine engines, and what that means for inputs from the network."""

from __future__ import annotations

from qmrunner.confinement.policy import Kernel
from qmrunner.doctor.finding import Finding, fail, ok, warn
from qmrunner.guardian.landlock import SIGNALS_ABI, TCP_ABI

_NAME = "confinement"
_CALLS = '"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"'
_SECCOMP_LINE = f'{{"names": [{_CALLS}], "action": "SCMP_ACT_ALLOW"}}'
_CURE = (
    "use a kernel from 5.13 on with `landlock` in its `lsm=` list; in a container from Docker 23 on, or with "
    f"`--security-opt seccomp=deploy/seccomp.json`, or with this line in your own profile: {_SECCOMP_LINE}"
)
_WITHOUT = {
    "auto": "inputs from the network get a stricter check of their text instead",
    "require": "QMRUNNER_CONFINE=require refuses inputs from the network on this worker",
}


def confinement(kernel: Kernel, mode: str) -> Finding:
    """`mode` is QMRUNNER_CONFINE."""
    data = {"landlock_abi": kernel.abi, "seccomp": kernel.seccomp, "mode": mode}
    if mode == "off":
        text = "QMRUNNER_CONFINE=off: engines are kept in their folders only by the check of inputs"
        return warn(_NAME, "confinement_off", text, "unset QMRUNNER_CONFINE", **data)
    if kernel.abi is None:
        make = fail if mode == "require" else warn
        return make(_NAME, "confinement_missing", f"{kernel.words}: {_WITHOUT[mode]}", _CURE, **data)
    missing = [
        *(["TCP connections (ABI 4, Linux 6.7)"] if kernel.abi < TCP_ABI else []),
        *(["signals to other processes (ABI 6, Linux 6.12)"] if kernel.abi < SIGNALS_ABI else []),
        *(["local sockets and file modes (seccomp)"] if not kernel.seccomp else []),
    ]
    if missing:
        text = f"{kernel.words}: engines are confined except for {', '.join(missing)}"
        if kernel.holds:
            return warn(_NAME, "confinement_partial", text, "use a newer kernel", **data)
        make = fail if mode == "require" else warn
        return make(_NAME, "confinement_partial", f"{text}; {_WITHOUT[mode]}", "use a newer kernel", **data)
    return ok(_NAME, f"{kernel.words}: files, programs, TCP ports and signals of engines", **data)
