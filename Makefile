# Everything sets itself up: `make` builds .venv when it is missing or pyproject.toml changed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv/bin/python -m
SEEDS ?= 3
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
PARALLEL ?= -n $(shell expr $(CORES) + 1) --dist worksteal # one more than cores: some tests wait

FIG ?= cpaior-2
INSIDE = table2_50x4 constraints_only_50x4 dynamics_50x4

.DEFAULT_GOAL := help
.PHONY: help setup heatmaps scatters tables report figure inspect gallery bench gpu-check test soak fuzz test-cluster lint format docs clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

setup: .venv/installed ## virtual environment and installation, in .venv

heatmaps: .venv/installed ## the CPAIOR figure: ReLU and Sep-UP on MOONS, SEEDS=3 seeds, under results/figures
	$(RUN) jumpstart_exp -m +experiment=cpaior_moons 'seed=range($(SEEDS))' redraw=true
	$(RUN) jumpstart_exp.report only=heatmaps

scatters: .venv/installed ## CPAIOR's figure 3 in small: CIFAR-10, accuracy against parameters, under results/figures
	$(RUN) jumpstart_exp -m +experiment=cpaior_cifar10_small
	$(RUN) jumpstart_exp.report only=scatters

tables: .venv/installed ## CPAIOR's table 1 in small: MNIST, and what the penalty costs, under results/tables
	$(RUN) jumpstart_exp -m +experiment=mnist_table1_small
	$(RUN) jumpstart_exp.report only=tables

report: .venv/installed ## all that is stored as one page that opens offline, and as figures and tables: results/report.html
	$(RUN) jumpstart_exp.report

figure: .venv/installed ## one figure or table of the papers from what is stored: FIG=cpaior-2, iclr-12, sepcons-2, cpaior-table-1
	$(RUN) jumpstart_exp.report figure=$(FIG)

inspect: .venv/installed ## inside the networks of 50 layers of 4: data layer by layer, decision surfaces, dead units over time
	for study in $(INSIDE); do $(RUN) jumpstart_exp -m +experiment=$$study seed=0 || exit 1; done
	for study in $(INSIDE); do $(RUN) jumpstart_exp.inspect study=$$study seed=0 || exit 1; done
	$(RUN) jumpstart_exp.report only=inside

gallery: .venv/installed ## docs/gallery.md anew, from what is stored
	.venv/bin/python scripts/gallery.py results

bench: .venv/installed ## the engines side by side, the penalty's cost on images, estimators, start-up, report: results/bench*.json (minutes)
	.venv/bin/python scripts/bench.py --json results/bench.json
	.venv/bin/python scripts/bench_images.py --json results/bench_images.json
	.venv/bin/python scripts/bench_library.py --threads 1 2 --json results/bench_library.json
	.venv/bin/python scripts/bench_geometry.py
	.venv/bin/python scripts/bench_estimator.py --json results/bench_estimator.json
	.venv/bin/python scripts/bench_startup.py --json results/bench_startup.json
	.venv/bin/python scripts/bench_report.py --json results/bench_report.json

gpu-check: ## what a GPU has to show, in 8 minutes at most: results/gpu_check.md; by .venv where it is, else by PYTHON
	$(if $(wildcard .venv/bin/python),.venv/bin/python,$(PYTHON)) scripts/gpu_check.py $(GPU_CHECK)

test: .venv/installed ## everything once, on all cores (about ten minutes on two)
	$(RUN) pytest $(PARALLEL) -m "not soak and not cluster"

soak: .venv/installed ## what only repeats or is large: random kills, 100,000 cells, fuzzing, benchmarks, studies (about a quarter of an hour)
	$(RUN) pytest $(PARALLEL) -m "soak and not cluster"

fuzz: .venv/installed ## the property tests with draws of their own, other ones each time (about 10 minutes)
	$(RUN) pytest $(PARALLEL) --hypothesis-profile=random -m "not cluster" $$(grep -rl '^from hypothesis import' tests --include='test_*.py')

test-cluster: .venv/installed ## the tests that need a SLURM, on a private one (about 6 minutes; root on Debian)
	scripts/slurm/with_slurm.sh $(RUN) pytest -m cluster -p no:xdist

lint: .venv/installed ## style, format and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: .venv/installed ## format the code
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

docs: .venv/installed ## the documentation as a site, build/site: python -m http.server --directory build/site shows it
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet

clean: ## remove the virtual environment and caches; results stay
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml CMakeLists.txt constraints.txt $(wildcard jumpstart_exp/engines/native/cpp/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo 'Python has no venv: install it (Debian and Ubuntu: apt install python3-venv)'; exit 1; }
	@echo 'setting up .venv: a few minutes, once'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
