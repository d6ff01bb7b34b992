"""The kernels of OpenBLAS, with which NWChem multiplies matrices, for processors that OpenBLAS does not know.

OpenBLAS recognises a processor by its model number, and takes one that it does not know for an older one: 0.3.21 used
the kernels for AVX2 on an AMD processor with AVX-512.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
# The kernels for AVX-512 were compiled for these features; an OpenBLAS without such kernels chooses by itself.
_AVX512 = ("SkylakeX", frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}))
_CPUINFO = Path("/proc/cpuinfo")
_FIRST_PROCESSOR_BYTES = 16384


def variables() -> dict[str, str]:
    """The variable that names this machine's kernels; empty where OpenBLAS's own choice is the best one.

    Measured (ethanol and 1-propanol, AMD with AVX-512, OpenBLAS 0.3.21): a fifth less CPU for a shielding on average, a
    tenth for an optimisation, the same results in all digits.
    """
    kernels = _of_this_machine()
    return {VARIABLE: kernels} if kernels else {}


def kernels_of(cpuinfo: str) -> str | None:
    """The kernels for the first processor of `cpuinfo` (`/proc/cpuinfo`); None to let OpenBLAS choose."""
    name, needed = _AVX512
    lines = (line.partition(":") for line in cpuinfo.split("\n\n", 1)[0].splitlines())
    features = next((value.split() for key, _, value in lines if key.strip() == "flags"), [])
    return name if needed <= frozenset(features) else None


@lru_cache(maxsize=1)
def _of_this_machine() -> str | None:
    try:
        with _CPUINFO.open("rb") as stream:
            return kernels_of(stream.read(_FIRST_PROCESSOR_BYTES).decode("utf-8", "replace"))
    except OSError:
        return None
