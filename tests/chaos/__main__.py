"""`python -m tests.chaos --seed 1 --minutes 1`: one storm, its report as JSON, status 1 unless all counters are 0."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.storm import Storm


@contextmanager
def disk(mib: int) -> Iterator[Path]:
    """A folder, on a separate small filesystem where that may be mounted: so that it can be filled."""
    with tempfile.TemporaryDirectory(prefix="qmrunner-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", name]
        mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
        try:
            yield folder
        finally:
            if mounted:
                subprocess.run(["umount", "-l", name], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--keep", type=Path, help="leave the home here for a look")
    parser.add_argument("--report", type=Path, help="write the report here, too")
    chosen = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("QMRUNNER_")]:
        del os.environ[name]
    if chosen.keep:
        chosen.keep.mkdir(parents=True)
        report = Storm(chosen.keep.resolve(), chosen.seed, chosen.minutes * 60).run()
    else:
        with disk(2048) as folder:
            report = Storm(folder, chosen.seed, chosen.minutes * 60).run()
    print(json.dumps(report, indent=1))
    if chosen.report:
        chosen.report.write_text(json.dumps(report, indent=1) + "\n")
    if any(report["counters"].values()):
        print(f"replay with: make chaos SEED={chosen.seed} MINUTES={chosen.minutes:g}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
