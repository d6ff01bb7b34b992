"""Take the pictures of the pages from real runs: `python docs/screenshots.py [--out DIR] [--url URL]`.

Without `--url` it makes a home in a temporary folder, starts daemon and server there, runs real jobs with xTB and
NWChem (about ten minutes on two cores), and takes every page in light, dark and at 360 pixels. With `--url` it takes
them from a server that has these jobs. `--keep` also renews the four pictures of the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
# In the documentation: file, page, scheme, whether the window starts at the element with this id.
KEPT = {
    "page-overview.png": ("overview", "light", ""),
    "page-running.png": ("running", "light", "h-time"),
    "page-result.png": ("result", "light", ""),
    "page-why.png": ("why", "dark", ""),
}
KEPT_HEIGHT = {"result": 1180, "overview": 900}
# The engines of the pictures, and others, may have all cores for long.
_LOADED_MS = 180_000
_LOOKS = (("light", 1280, 860), ("dark", 1280, 860), ("light", 360, 740), ("dark", 360, 740))
_GEOMETRY = "\n".join(
    (" C 0 0 0", " H 0.629 0.629 0.629", " H -0.629 -0.629 0.629", " H -0.629 0.629 -0.629", " H 0.629 -0.629 -0.629")
)
_TRIMER = "\n".join(
    (
        " O 1.50 0.00 0.10", " H 1.00 0.82 0.05", " H 2.10 0.05 0.85", " O -0.75 1.30 -0.10", " H -1.20 0.46 -0.05",
        " H -1.00 1.80 0.68", " O -0.75 -1.30 0.10", " H 0.20 -1.25 0.05", " H -1.00 -1.85 -0.65",
    )
)  # fmt: skip
_FAILING = (
    f'start methane\ntitle "methane, energy"\ngeometry units angstroms\n{_GEOMETRY}\nend\n'
    "basis spherical\n * library def2-tzpv\nend\ntask dft energy\n"
)
_LONG = (
    f'start trimer\ntitle "water trimer"\ngeometry units angstroms\n{_TRIMER}\nend\nbasis spherical\n'
    " * library 6-311++g**\nend\ndft\n xc b3lyp\n grid fine\nend\ndriver\n maxiter 60\nend\ntask dft optimize\n"
)
_OPENER = build_opener(ProxyHandler({}))


def ask(url: str) -> Any:
    with _OPENER.open(url, timeout=60) as answer:
        return json.load(answer)


def wait_for(url: str, name: str, states: tuple[str, ...], seconds: float) -> str:
    """The id of the job with this name, once it is in one of these states."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for job in ask(f"{url}/v1/jobs?limit=100")["jobs"]:
            if job["name"] == name and job["state"] in states:
                return str(job["id"])
        time.sleep(1.0)
    raise SystemExit(f"no job {name} became {' or '.join(states)} within {seconds:g} s")


@contextmanager
def running(home: Path) -> Iterator[str]:
    """The address of a server with a daemon that has run the jobs of the pictures."""
    environment = {**os.environ, "QMRUNNER_HOME": str(home), "QMRUNNER_WORKER_NAME": "worker-1"}
    qmrunner = [sys.executable, "-m", "qmrunner"]

    def submit(*words: str) -> None:
        subprocess.run([*qmrunner, "submit", *words], check=True, env=environment, stdout=subprocess.DEVNULL)

    home.parent.joinpath("methane.nw").write_text(_FAILING)
    home.parent.joinpath("trimer.nw").write_text(_LONG)
    with open(home.parent / "daemon.out", "wb") as sink:
        daemon = subprocess.Popen([*qmrunner, "run"], env=environment, stdout=sink, stderr=sink)
    server = subprocess.Popen([*qmrunner, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = next(json.loads(line)["url"] for line in server.stdout if '"api_started"' in line)
        submit("nwchem", str(home.parent / "methane.nw"), "--name", "methane def2-TZVP")
        submit("nmr", "CCO", "--level", "draft", "--conformers", "rdkit", "--name", "ethanol", "--group", "solvents")
        for smiles, name in (("c1cncnc1", "pyrimidine"), ("c1ccnnc1", "pyridazine")):
            submit("nmr", smiles, "--level", "draft", "--name", name, "--group", "diazines")
        for name in ("ethanol", "pyrimidine", "pyridazine"):
            wait_for(url, name, ("succeeded",), 1800.0)
        submit("nwchem", str(home.parent / "trimer.nw"), "--name", "water trimer", "--group", "clusters")
        submit(
            "nmr", "CCCCO", "--level", "draft", "--conformers", "rdkit", "--name", "butan-1-ol", "--group", "alcohols"
        )
        job = wait_for(url, "water trimer", ("running",), 60.0)
        end = time.monotonic() + 600.0
        while time.monotonic() < end and len(ask(f"{url}/v1/jobs/{job}/steps/nwchem/trace")["points"]) < 25:
            time.sleep(1.0)
        yield url
    finally:
        for process in (server, daemon):
            process.terminate()
        server.wait(60)
        daemon.wait(120)


def pages(url: str) -> dict[str, str]:
    """The path of each page by its name."""
    done = {name: wait_for(url, name, ("succeeded",), 5.0) for name in ("ethanol", "pyrimidine", "pyridazine")}
    failed = wait_for(url, "methane def2-TZVP", ("failed",), 5.0)
    live = wait_for(url, "water trimer", ("running", "succeeded", "cancelled"), 5.0)
    peaks = quote("13C: 159.0, 156.9, 121.7")
    return {
        "overview": "/", "jobs": "/jobs", "running": f"/jobs/{live}", "why": f"/jobs/{failed}/why",
        "failed": f"/jobs/{failed}", "result": f"/jobs/{done['ethanol']}/result",
        "compare": f"/compare?jobs={done['pyrimidine']},{done['pyridazine']}&text={peaks}",
        "new": "/jobs/new", "many": "/jobs/new/many", "workers": "/workers", "worker": "/workers/1",
        "system": "/system", "doctor": "/system/doctor", "disks": "/system/scratch", "activity": "/activity",
        "docs": "/docs", "help": "/help",
    }  # fmt: skip


def take(url: str, out: Path, keep: bool, only: list[str]) -> None:
    """Every page in every look, as files in `out`."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium")
    if browser_path is None:
        raise SystemExit("Chromium is not installed")
    paths = {name: path for name, path in pages(url).items() if not only or name in only}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for scheme, width, height in _LOOKS:
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": height}, locale="en-GB"
            )
            context.set_default_timeout(_LOADED_MS)
            page = context.new_page()
            for name, path in paths.items():
                page.goto(url + path)
                if name == "new":
                    page.locator("#structure").fill("CC(C)Cc1ccc(cc1)C(C)C(=O)O")
                    page.locator("#verdict dl").wait_for()
                if name == "result" and page.locator("#show-3d").count():
                    page.locator("#show-3d").click()
                    page.wait_for_selector("#viewer canvas")
                    page.locator("table.shifts tr[data-atoms='7 8'] button").click()
                    page.evaluate("scrollTo(0, 0)")
                page.wait_for_timeout(2500)  # curves and ages
                page.screenshot(path=out / f"{name}-{scheme}-{width}.png", full_page=name not in ("docs", "activity"))
                for file, (wanted, look, start) in KEPT.items() if keep and width == 1280 else ():
                    if (wanted, look) == (name, scheme):
                        if start:
                            page.evaluate("id => document.getElementById(id).scrollIntoView()", start)
                        page.set_viewport_size({"width": width, "height": KEPT_HEIGHT.get(name, height)})
                        page.wait_for_timeout(500)
                        page.screenshot(path=PICTURES / file)
                        page.set_viewport_size({"width": width, "height": height})
                        shrink(PICTURES / file)
            context.close()
        browser.close()


def shrink(path: Path) -> None:
    """The same picture with 128 colours: text needs no more, and the file is a third."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("screenshots"))
    parser.add_argument("--url")
    parser.add_argument("--keep", action="store_true", help="also renew the pictures of the documentation")
    parser.add_argument("--only", action="append", default=[], help="only this page")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.url:
        take(asked.url.rstrip("/"), asked.out, asked.keep, asked.only)
        return
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home") as url:
        take(url, asked.out, asked.keep, asked.only)


if __name__ == "__main__":
    main()
