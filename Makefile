# Every target works on a fresh machine: `setup` makes what the others need and is quick when that is done.
PY := .venv/bin/python
PYTEST := $(PY) -m pytest $(PYTEST_ARGS)
# Tests wait more than they compute, so more of them run at a time than there are cores: see tests/lanes.py.
WORKERS ?= 6
# Pure tests: values in, values out, and recorded outputs; no daemon, server or engine.
QUICK := tests/model tests/workflows tests/test_imports.py tests/test_masking.py tests/docs \
  $(addprefix tests/engines/,test_signatures.py test_xtb_recorded.py test_crest_recorded.py test_flags.py test_nwchem_memory.py)
QUICK_MARKS := not slow and not e2e and not faults and not engine and not alone
CODE := qmrunner tests docs/generate.py docs/screenshots.py docs/wording.py $(wildcard benchmarks examples migrations)

.DEFAULT_GOAL := help
.PHONY: help setup demo quick test browser docs docs-write changelog hostile slow faults slurm image services e2e e2e-trixie chaos diagnosis check format lock wheel sbom audit clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## make .venv and install the engines (quick when done)
	@deploy/setup.sh

demo: setup  ## ethanol from SMILES to NMR shifts, through the real daemon and engines
	@$(PY) examples/demo.py

quick: setup  ## the pure tests: under a minute on two cores
	$(PYTEST) -n 2 -m "$(QUICK_MARKS)" $(QUICK)

test: setup  ## the tests, without the slow ones (WORKERS=6 side by side; TESTS_ALL=1: whole families of engine runs)
	$(PYTEST) -n $(WORKERS) -m "not slow and not e2e and not faults and not slurm and not browser"

browser: setup  ## the pages in Debian's Chromium, with the real daemon and engines
	$(PYTEST) -n $(if $(filter 0,$(WORKERS)),0,2) -m browser

hostile: setup  ## the same in a hostile environment: variables, language, zone, umask, homes (SEED=1)
	$(PY) -m tests.hostile --seed $(or $(SEED),1) -- $(PYTEST_ARGS) -n $(WORKERS) -m "not slow and not e2e and not faults and not slurm and not browser"

slow: setup  ## the tests that take minutes
	@$(PYTEST) -n $(if $(filter 0,$(WORKERS)),0,2) -m "slow and not e2e and not slurm and not browser"; code=$$?; if [ $$code -eq 5 ]; then echo "no slow tests"; else exit $$code; fi

image: setup  ## build the container image (TAG=qmrunner:latest BASE=debian:bookworm-slim TARGET=worker)
	@deploy/image.sh $(TAG)

services: setup  ## build qmrunner-postgres and qmrunner-redis, for deploy/compose.scale.yaml without a registry
	@deploy/services/build.sh

e2e: setup  ## the image and its tests with real containers (starts an engine where none runs; root)
	@deploy/e2e.sh $(PYTEST_ARGS)

e2e-trixie: setup  ## the same on Debian 13: NWChem 7.2.3 and Open MPI 5
	@BASE=debian:trixie-slim E2E_IMAGE=qmrunner:e2e-trixie deploy/e2e.sh $(PYTEST_ARGS)

faults: setup  ## partitions, failovers and lost machines, with real servers in namespaces (12 minutes, root)
	$(PYTEST) -m faults

slurm: setup  ## pilots under a real Slurm of two nodes (5 minutes, root; installs Debian's slurmctld, slurmd and munge)
	@deploy/setup.sh slurm
	$(PYTEST) -n $(if $(filter 0,$(WORKERS)),0,2) -m slurm tests/slurm

chaos: setup  ## kill, freeze and starve a real daemon for a while (SEED=1 MINUTES=1)
	@$(PY) -m tests.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),1)

diagnosis: setup  ## how well failures are diagnosed (QMRUNNER_ERRQUIT_TSV=FILE: messages of NWChem's errquit)
	@$(PY) benchmarks/diagnosis.py

docs: setup  ## build the documentation into site/ and fail on drift from the program (offline)
	$(PY) docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

docs-write: setup  ## write the generated parts of the documentation
	$(PY) docs/generate.py

check: setup  ## lint, formatting, wording and types
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) docs/wording.py
	$(PY) -m mypy

format: setup  ## put the code in its standard form
	$(PY) -m ruff check --fix $(CODE)
	$(PY) -m ruff format $(CODE)

lock: setup  ## renew constraints.txt from pyproject.toml (UPGRADE=1 takes the newest versions)
	CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m piptools compile --quiet --all-extras --generate-hashes --strip-extras \
	  --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-annotate \
	  $(if $(UPGRADE),--upgrade) --output-file constraints.txt pyproject.toml

wheel: setup  ## build the wheel into dist/
	$(PY) -m build --no-isolation --wheel

sbom: setup  ## what a worker is made of, as CycloneDX: dist/sbom.cdx.json and dist/sbom-web.cdx.json
	@deploy/sbom.sh

audit: setup  ## look up known vulnerabilities of the same packages (needs the databases of PyPI and npm)
	@deploy/sbom.sh audit

clean:  ## remove .venv, caches and built files (never qmrunner-data)
	rm -rf .venv dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
