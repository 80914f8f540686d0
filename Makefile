# `make help` lists the verbs. Everything runs in .venv, made on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BOOK   := _build/html/index.html
PORT   ?= 8000
JOBS   ?= 2
NOTEBOOKS ?= $(shell find book -name '*.ipynb' -not -path '*/.*' -not -path '*_build*' | sort)

export PYTHONHASHSEED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help book pdf serve lab test lint refresh bench address clean

help:            ## list the verbs
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): requirements.txt constraints.txt pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement requirements.txt
	@touch $@

book: $(READY)   ## build the book (warnings are errors) and say where it is
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	@echo "Open file://$(CURDIR)/$(BOOK)"

pdf: book        ## the book as one PDF, _build/book.pdf (needs Chromium)
	$(BIN)/python book/_tools/pdf.py

serve: book      ## build, then serve the book at http://localhost:8000
	$(BIN)/python -m http.server $(PORT) --directory _build/html

lab: $(READY)    ## open the notebooks in JupyterLab
	$(BIN)/python -m pip install --quiet --constraint constraints.txt jupyterlab
	$(BIN)/jupyter lab book

test: export OMP_NUM_THREADS := 1   # one core for each of the JOBS
test: $(READY) lint   ## lint, unit and browser tests, every notebook run alone, compared and solved
	$(BIN)/python -m pytest tests book -n $(JOBS) --dist loadfile -p tests.notebooks \
	    --nbval --nbval-kernel-name alone --nbval-cell-timeout 300 \
	    --nbval-sanitize-with tests/nbval_sanitize.cfg

lint: $(READY)   ## ruff, mypy and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check ece661_sparse tests book/_tools
	$(BIN)/mypy
	$(BIN)/lint-imports

refresh: export OMP_NUM_THREADS := 1
refresh: $(READY)   ## run the notebooks and store their outputs, normalised
	$(BIN)/python book/_tools/refresh.py -j $(JOBS) $(NOTEBOOKS)

bench: $(READY)  ## measure every speed bar for the page of benchmarks, on a quiet machine
	$(BIN)/python -m tests.benchmarks --json book/results/bench.json

address: $(READY)   ## set the repository's public address everywhere: make address URL=https://...
	$(BIN)/python book/_tools/address.py $(URL)

clean:           ## remove what make made (the environment stays: rm -r .venv)
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
