# Everything a developer repeats. `make run` and `make test` set themselves up on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
KILLS ?= 1000
WORKERS ?= 2
READY := $(VENV)/.ready

.PHONY: run test torture check docs bench clean

run: $(READY)  ## the main job, offline: bundled sentences and models → runs/bundled
	$(BIN)/multicsr run --limit 200 -o runs/bundled

test: $(READY)  ## all tests, in two processes; WORKERS=0 for one
	$(BIN)/pytest -q --numprocesses $(WORKERS) --dist loadfile

torture: $(READY)  ## the full counts of docs/reliability.md, which `make test` tries in small; KILLS=100 for fewer
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.torture --kills $(KILLS)
	TORTURE_EXAMPLES=500 $(BIN)/pytest -q --timeout 3600 tests/store/test_machine.py tests/torture/test_resume_machine.py
	TORTURE=200 $(BIN)/pytest -q --timeout 3600 tests/backends/llamacpp/test_broken_files.py tests/security/test_checkpoints.py
	TORTURE_KILLS=10 $(BIN)/pytest -q --timeout 3600 tests/executors/test_ray.py
	TORTURE=10 $(BIN)/pytest -q --timeout 3600 tests/train/test_resume.py
	$(BIN)/python -m benchmarks.hostile
	$(BIN)/python -m benchmarks.lines

check: $(READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## the generated pages, then the site in build/site; a warning is an error
	$(BIN)/python -m tools.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: $(READY)  ## how fast the engine writes and scores and the trainer trains, what contrast does to copies, whether the two engines agree
	$(BIN)/multicsr bench generate
	$(BIN)/multicsr bench score
	$(BIN)/multicsr bench train
	$(BIN)/python -m benchmarks.copies
	$(BIN)/python -m benchmarks.agreement

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
