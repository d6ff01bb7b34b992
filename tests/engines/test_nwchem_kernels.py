"""NWChem multiplies matrices with the kernels of its processor, also where OpenBLAS does not know the model."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from pathlib import Path

import pytest

from qmrunner.engines.base import Installed
from qmrunner.engines.nwchem import kernels, launch
from tests.support import missing
from tests.surroundings import plain

SHOW = """
import ctypes, sys
name = ctypes.CDLL(sys.argv[1]).openblas_get_corename
name.restype = ctypes.c_char_p
print(name().decode())
"""
AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"
ONE = """\
processor\t: {number}
vendor_id\t: {vendor}
model\t\t: {model}
flags\t\t: fpu sse4_2 avx2 fma {flags}
bogomips\t: 1
"""


def machine(flags: str, vendor: str = "AuthenticAMD", model: int = 2, processors: int = 2) -> str:
    return "\n".join(ONE.format(number=n, vendor=vendor, model=model, flags=flags) for n in range(processors))


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (machine(AVX512), "SkylakeX"),
        (machine(f"{AVX512} avx512_bf16 avx512_vnni", "GenuineIntel", 207), "SkylakeX"),
        (machine(AVX512, processors=1).rstrip("\n"), "SkylakeX"),
        (machine("avx512f avx512cd avx512er avx512pf", "GenuineIntel", 87), None),  # Knights Landing
        (machine(""), None),
        (machine("xavx512f " + AVX512.replace("avx512f ", "")), None),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\n", None),
        ("processor\t: 0\n\n" + machine(AVX512), None),  # only the first is read, and all are alike
        ("flags\n", None),
        ("", None),
    ],
)
def test_kernels_are_chosen_by_what_the_processor_can(cpuinfo: str, expected: str | None) -> None:
    assert kernels.kernels_of(cpuinfo) == expected


def test_a_cut_list_of_features_chooses_nothing() -> None:
    whole = machine(AVX512, processors=1)
    needed = whole.index("avx512vl") + len("avx512vl")
    assert all(kernels.kernels_of(whole[:end]) is None for end in range(needed))


def test_nwchem_gets_them_and_the_operators_choice_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chosen in ("SkylakeX", None):
        monkeypatch.setattr(kernels, "_of_this_machine", lambda chosen=chosen: chosen)
        found = launch.environment(Installed("nwchem", "/opt/nwchem", facts={"launcher_flavour": "openmpi4"}), tmp_path)
        assert found.get(kernels.VARIABLE) == chosen


def test_the_installed_openblas_knows_the_name() -> None:
    """A name that it does not know would be ignored, and all speed lost without a message."""
    library = ctypes.util.find_library("openblas") or missing("no OpenBLAS on this machine")
    chosen = kernels.variables()
    environment = {**plain(), "OPENBLAS_NUM_THREADS": "1", **chosen}
    shown = subprocess.run([sys.executable, "-S", "-c", SHOW, library], env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    if chosen:
        assert shown.stdout.strip() == chosen[kernels.VARIABLE]
