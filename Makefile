# `make run` serves the page, `make test` runs every test. Each sets up what it needs: the first takes no torch, the
# second all extras. For the loop of a change and its test: `make unit`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Tests without browsers, checkpoints, real-time calls and other machines: half a minute. A new module in one of these
# folders is among them; what is slow is left out by name.
UNIT := tests/audio tests/decisions tests/engine tests/fleet tests/http \
	tests/media/test_{decoder,localaddresses,negotiation,opus,outbox,pauses,places,rtp}.py \
	tests/peer/test_{faults,meter,pacer,player,report,whip}.py tests/deploy/test_{agreement,environment}.py \
	tests/test_{documents,errors,onnxsession,options,protocol,received,sdp,settings}.py tests/webhooks/test_{queues,signing}.py
SLOW := tests/audio/test_{files,hostile_files,quietvoice}.py tests/decisions/test_timing.py \
	tests/engine/test_{files,loading,pace,stream,track}.py tests/fleet/test_{directory,liars,registry,router,streams}.py \
	tests/http/test_{calloptions,connections,events,follow,gateways,listen,operators,rates,slow_clients,tickets,whip}.py

.PHONY: setup run docs unit pythons browsers test test-client test-browsers test-calls test-programs test-rest coverage lint lint-types lint-python \
	lint-client format sdks bench fuzz soak audit sbom clean
.DEFAULT_GOAL := run

$(BIN)/voxgender: pyproject.toml constraints.txt tools/system-packages
	tools/system-packages base
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(PIP) install --constraint constraints.txt --editable '.[media]'
	@touch $@

$(VENV)/.dev: $(BIN)/voxgender package.json tools/system-packages
	tools/system-packages tests
	npm install --no-audit --no-fund --loglevel=error & \
	  $(PIP) install --constraint constraints.txt --editable '.[dev]' && wait $$!
	@touch $@

$(VENV)/.integrations: $(VENV)/.dev tests/integrations/requirements.txt
	rm -rf $(VENV)/integrations
	$(PIP) install --no-deps --target $(VENV)/integrations --requirement tests/integrations/requirements.txt
	@touch $@

setup: $(VENV)/.integrations

run: $(BIN)/voxgender
	$(BIN)/voxgender serve

unit: setup
	$(BIN)/python -m pytest -q --hypothesis-profile=unit $(UNIT) $$(printf -- '--ignore=%s ' $(SLOW))

# The same tests by other interpreters, each with an environment of its own and without torch:
# make pythons PYTHONS='/opt/3.13/bin/python3'. By default, those of these versions that are found.
PYTHONS ?= $(shell for version in 3.12 3.13 3.14; do python$$version --version >/dev/null 2>&1 && echo python$$version; done)
pythons:
	@test -n "$(PYTHONS)" || { echo "No Python 3.12 or newer was found: name one, as PYTHONS=/path/to/python3.13" >&2; exit 1; }
	tools/system-packages base
	for python in $(PYTHONS); do \
	  folder=.cache/pythons/$$($$python -c 'import platform; print(platform.python_version())') && \
	  $$python -m venv $$folder && \
	  $$folder/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt \
	    --editable '.[media,registry]' --requirement tests/pythons.txt && \
	  $$folder/bin/python -m pytest -q --hypothesis-profile=unit $(UNIT) $$(printf -- '--ignore=%s ' $(SLOW)) || exit 1; \
	done

# The site in build/site; a link that leads nowhere fails.
docs: setup
	npm run --silent --workspace docs/site build
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# The checks first, side by side, so that a slip is told within a minute or two. Then four parts of the tests at once, on
# two cores too, because most tests wait for a call to go by: browsers and hosts; calls from other programs and to other
# processes; programs, packages, models and recordings; and the rest. The hosts come after the browsers, because Chromium
# drops requests that wait while a network interface of the machine comes or goes.
AT_ONCE := --no-print-directory --output-sync=target
BROWSERS := tests/browser tests/hosts
CALLS := $(addprefix tests/,integrations media peer publishers roles)
PROGRAMS := $(addprefix tests/,examples deploy doctor pool realspeech training)
test: setup
	$(MAKE) $(AT_ONCE) --jobs=3 lint-types lint-python lint-client docs test-client
	$(MAKE) $(AT_ONCE) --jobs=4 test-browsers test-calls test-programs test-rest

# A test that fails is run once more by itself when its part is over: the parts share the machine, and browsers and hosts
# have faults of their own. The run fails if it fails again; if not, the first report names it, as one to be mended. One
# that hangs ends its part, which goes on with it and those to come (tests/watchdog.py).
define run_tests
$(BIN)/python -m pytest -o cache_dir=.cache/pytest/$@ $(1) || { test $$? = 1 && echo "The tests that failed, once more:" && \
  $(BIN)/python -m pytest -o cache_dir=.cache/pytest/$@ --last-failed --last-failed-no-failures=none $(1); }
endef

# Nightly. Each browser test in Chromium and in Firefox, where `make test` runs one of each kind in Firefox.
browsers: setup
	$(BIN)/python -m pytest tests/browser --all-browsers

test-client: setup
	node --test --test-timeout=120000 client/test/*.test.js

test-browsers: setup
	$(call run_tests,$(BROWSERS))

test-calls: setup
	$(call run_tests,$(CALLS))

test-programs: setup
	$(call run_tests,$(PROGRAMS))

test-rest: setup
	$(call run_tests,$(BROWSERS:%=--ignore=%) $(CALLS:%=--ignore=%) $(PROGRAMS:%=--ignore=%))

# Apart from `make test`: tracing slows every line down, and tests of real-time calls would feel it. Servers that tests
# start as processes of their own are not counted.
coverage: setup
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage report

lint: lint-python lint-types lint-client

lint-python: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck tools/system-packages .ci/run docs/deployment/*/*.sh
	$(BIN)/lint-imports

lint-types: setup
	$(BIN)/mypy
	MYPYPATH=examples $(BIN)/mypy examples/*.py

lint-client: setup
	npx --no-install tsc --project client
	npx --no-install eslint .
	npx --no-install prettier --check client eslint.config.js package.json

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	npx --no-install prettier --write client eslint.config.js package.json

# Other people's SDKs and frameworks, 200 MB of them, each with its line of docs/embedding.md in a real browser.
sdks: setup
	npx --no-install tsc --project client/tsconfig.types.json
	cd tests/sdks && npm ci --install-links --no-audit --no-fund --loglevel=error && npm run build
	$(BIN)/python -m pytest tests/browser/sdks.py

bench: setup
	$(BIN)/python -m tests.benchmarks

# Nightly. A million made-up inputs for the parsers; goes on from what the last run learned (.cache/fuzz).
CASES ?= 1000000
fuzz: setup
	$(BIN)/python -m tests.fuzz --cases $(CASES)
	$(BIN)/python -m pytest -q --hypothesis-profile=nightly --timeout=3600 tests/test_openapi_fuzzed.py

# An hour: make soak MINUTES=60
MINUTES ?= 10
soak: setup
	$(BIN)/python -m pytest tests/soak --timeout=0 -s --soak-minutes=$(MINUTES)

# Known vulnerabilities, of what the images and the client's tools install. A package that the advisory service does not
# answer for counts as a failure: it was not looked at.
audit: setup
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner=off --requirement locks/media-checkpoints-torch.txt
	npm audit

# The parts of each image, in CycloneDX, with their hashes.
sbom: setup
	mkdir -p artifacts/sbom
	for lock in signaling media media-checkpoints media-checkpoints-torch; do \
	  $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	    --output-file artifacts/sbom/$$lock.cdx.json locks/$$lock.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) node_modules
