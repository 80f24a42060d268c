# Needs python >= 3.11 with pip, git and make. Everything is installed into .venv, nothing elsewhere.
# PYTHON picks another interpreter, PIP_ARGS goes to pip, for example to fetch the CPU build of torch on Linux:
#   make setup PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
# Tests share the cores, up to four of them; PARALLEL= runs them one after the other.
PARALLEL ?= -n auto --maxprocesses 4 --dist worksteal

.PHONY: setup demo test check bench codes docs clean

setup: .venv/ready

.venv/ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "onsphere needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make setup PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@# torch first and alone: with its version fixed nothing later can pull another build.
	$(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -c constraints.txt torch
	$(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup
	$(BIN)/onsphere compare

test: setup
	$(BIN)/python -m pytest $(PARALLEL)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(PARALLEL) --doctest-modules src/onsphere tests
	$(BIN)/python -m onsphere.report --check README.md

bench: setup
	$(BIN)/python benchmarks/diversity.py
	$(BIN)/python benchmarks/heads.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/orthogonal.py
	$(BIN)/python benchmarks/orthogonal.py --orthogonality
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/verification.py
	$(BIN)/python -m onsphere.report README.md

codes: setup
	$(BIN)/python benchmarks/codes.py d3
	$(BIN)/python -m onsphere.report README.md

docs: setup
	$(BIN)/python -m onsphere.report --picture results/table3-digits.json docs/demo.svg
	$(BIN)/python -m onsphere.report --reconstructions results/mnist-reconstruction.json docs/figure1.1.png
	$(BIN)/python -m onsphere.report --strengths results/thesis-table4.7-cifar10-width-0.25-400-steps.json docs/figureC.1.png
	$(BIN)/python -m onsphere.report --features results/thesis-figure5.4-mnist.json docs/figure5.4.png
	$(BIN)/python -m onsphere.report --features results/mnist-features-2d.json docs/figure2.2.png
	$(BIN)/python -m onsphere.report --features results/mnist-features-3d.json docs/figure2.10.png
	$(BIN)/python -m onsphere.report --confusion results/mnist-features-3d.json docs/figure2.5.png
	$(BIN)/python -m onsphere.report --margins docs/figure2.3.svg
	$(BIN)/python -m onsphere.report --regions docs/figure2.4.svg
	$(BIN)/python -m onsphere.report --sphere-regions docs/figure2.8.png
	$(BIN)/python -m onsphere.report --operators docs/figure4.3.svg
	$(BIN)/python -m onsphere.report --energies results/thesis-figure7.3-cifar100-400-steps.json docs/figure7.3.svg
	$(BIN)/python -m onsphere.report README.md
	$(BIN)/onsphere code --figure 5.1 --save docs/figure5.1.png
	$(BIN)/onsphere code --figure D.1 --save docs/figureD.1.png
	$(BIN)/onsphere code --figure D.2 --save docs/figureD.2.png
	$(BIN)/onsphere code --figure 2 --save docs/figure2.svg
	@# The variable silences an advertisement of mkdocs-material's.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist site .mypy_cache .ruff_cache .hypothesis
