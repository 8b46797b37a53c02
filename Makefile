# One command to a running system (`make run`), one to the tests (`make test`).
# All it needs beforehand is Python 3.11 or later with venv; everything else goes into .venv.

PORT ?= 8080
WORKERS ?= 4
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin

# Found at use, not here: `make help` needs no Python. PYTHON=/path/to/python3 names another one.
CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14

# uv fills this .venv with this .venv's Python, whatever the caller's environment says.
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/$(VENV)
export UV_PYTHON := $(CURDIR)/$(BIN)/python
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONHOME PYTHONPATH

# A virtual environment dies with its Python and does not survive being moved: make another then.
ifneq ($(wildcard $(BIN)/uv),)
DEAD := $(shell $(BIN)/python -c 'import sys; sys.exit(open("$(VENV)/.place").read() != "$(CURDIR)\n")' 2>/dev/null || { rm -f $(BIN)/uv; echo dead; })
endif

.DEFAULT_GOAL := help
.PHONY: help run test test-cluster chaos bench fast check compose e2e
.DELETE_ON_ERROR:

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.run ## start everything on 127.0.0.1:8080 (PORT=… for another); Ctrl-C ends it
	@exec $(BIN)/rdev up --port $(PORT)

# The tests wait more than they compute, so there are more of them at once than cores. Each worker
# has stores and a stack of its own.
test: $(VENV)/.dev ## run every test (WORKERS=4 at once)
	@exec $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-cluster: $(VENV)/.dev ## run the suite of workspaces on a cluster (KUBECONFIG=… IMAGE=…)
	@test -n "$(KUBECONFIG)" -a -n "$(IMAGE)" || { echo "rdev: say which cluster, and an image with a shell that it can pull: make test-cluster KUBECONFIG=… IMAGE=docker.io/library/debian:12" >&2; exit 1; }
	@RDEV_TEST_KUBECONFIG=$(abspath $(KUBECONFIG)) RDEV_TEST_IMAGE=$(IMAGE) exec $(BIN)/python -m pytest tests/conformance

chaos: $(VENV)/.dev ## kill everything at random under load, then compare (COMMANDS=… FAULTS=… SEED=…)
	@cd tests && exec ../$(BIN)/python -m chaos --commands $(or $(COMMANDS),500) --faults $(or $(FAULTS),200) $(if $(SEED),--seed $(SEED)) $(CHAOS)

bench: $(VENV)/.dev ## measure against the references, in one table of ratios (BENCH=… for one module; pods: KUBECONFIG=… IMAGE=…)
	@$(if $(IMAGE),export RDEV_TEST_KUBECONFIG=$(abspath $(KUBECONFIG)) RDEV_TEST_IMAGE=$(IMAGE);) cd tests && exec ../$(BIN)/python -m bench $(BENCH)

fast: $(VENV)/.dev ## run the tests that take seconds
	@exec $(BIN)/python -m pytest -m "not slow" tests/unit

check: $(VENV)/.dev ## lint, formatting, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

compose: ## start the whole system with Docker (docs/operations/compose.md)
	@deploy/compose/secrets.sh
	@exec docker compose up --build --detach --wait

# A network of its own, for the system beside it has the other.
E2E := RDEV_SUBNET=$${RDEV_E2E_SUBNET:-172.30.241.0/24} docker compose -f compose.yaml -f compose.e2e.yaml
e2e: ## run the end-to-end tests against the whole system in Docker, and remove it
	@deploy/compose/secrets.sh
	@$(E2E) run --build --rm e2e; status=$$?; $(E2E) down --volumes --remove-orphans; exit $$status

# --inexact: what the other of the two installed stays.
$(VENV)/.run: $(BIN)/uv uv.lock pyproject.toml
	@echo "Installing what rdev needs into $(VENV)"
	@$(BIN)/uv sync --quiet --frozen --inexact --no-dev --extra up
	@touch $@

$(VENV)/.dev: $(BIN)/uv uv.lock pyproject.toml
	@echo "Installing what rdev and its tests need into $(VENV)"
	@$(BIN)/uv sync --quiet --frozen --inexact --all-extras
	@touch $@

# Only an environment that is complete gets a uv; whatever else is in the way is half-made.
$(BIN)/uv:
	@fail() { echo "rdev: $$1" >&2; exit 1; }; \
	new='import sys; sys.exit(sys.version_info < (3, 11))'; \
	test -w . || fail "$(CURDIR) is not writable. Make it so, or work in a copy."; \
	for python in $(or $(PYTHON),$(CANDIDATES)); do \
	  "$$python" -c "$$new" 2>/dev/null && break; found=$${found:-$$(command -v "$$python")}; python=; \
	done; \
	test -n "$$python" -o -z "$$found" || fail "$$found is too old: $$("$$found" --version 2>&1). Install Python 3.11 or later, or name one: make PYTHON=/path/to/python3"; \
	test -n "$$python" || fail "No Python found. Install Python 3.11 or later, or name one: make PYTHON=/path/to/python3"; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$$python has no venv module. Debian, Ubuntu: sudo apt install $$("$$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])') (or python3-venv)"; \
	echo "Making $(VENV) with $$python"; \
	rm -rf $(VENV) && "$$python" -m venv $(VENV) || { rm -rf $(VENV); fail "$$python could not make $(CURDIR)/$(VENV); see above."; }; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input uv==$(UV_VERSION) || { rm -rf $(VENV); fail "uv could not be installed from PyPI; see above."; }; \
	echo "$(CURDIR)" > $(VENV)/.place
