# Two commands for a newcomer: make demo, make test. Both create .venv when it is missing.
# pip's own variables are honoured: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS.
PYTHON ?= python3
SEED ?= 0
VENV := .venv
PY := $(VENV)/bin/python
# One process per core and one torch thread in each, files shared out whole: what a module prepares it prepares once.
SIDE_BY_SIDE := --numprocesses=logical --maxprocesses=8 --dist=loadfile
STAMP := $(VENV)/.installed

.PHONY: demo demo-seeds test lint clean

demo: $(STAMP)
	$(PY) -m g2rpo_env demo --seed $(SEED) --out runs/demo

demo-seeds: $(STAMP)
	$(PY) -m g2rpo_env demo-seeds --out runs/demo-seeds

test: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest $(SIDE_BY_SIDE)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) tests/check_types.py

# Torch comes first and alone: constraints.txt names the tested version, and a wheel found through PIP_FIND_LINKS or
# PIP_INDEX_URL (a CPU build, say) is then not replaced by what another package would pull in.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt torch
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev,benchmark]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
