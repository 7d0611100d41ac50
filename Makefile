# make run: a hub in development mode. make test: everything that a change must pass.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test types system

run: .venv/installed
	$(BIN)/bellhub serve --dev --data-dir .bellhub

test: .venv/for-tests system tests/js/node_modules/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# The type declarations of static/, made of the comments there; the tests check that they are fresh.
types: tests/js/node_modules/installed
	rm -rf static/types
	tests/js/node_modules/.bin/tsc -p tests/js --declaration --emitDeclarationOnly --outDir static/types

# Stamps: a second run installs nothing, a changed pyproject.toml does.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is: $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	touch $@

.venv/installed: pyproject.toml | .venv/made
	$(BIN)/pip install --quiet -e .
	touch $@

.venv/for-tests: pyproject.toml | .venv/made
	$(BIN)/pip install --quiet -e . --group test
	touch $@ .venv/installed

# What the tests of the browser's side need; nothing of it is shipped.
tests/js/node_modules/installed: tests/js/package-lock.json | system
	npm ci --prefix tests/js --silent
	touch $@

# Programs that pip cannot bring. Only root and CI install them; everybody else is told how to.
system:
	@missing=; command -v redis-server >/dev/null || missing="redis-server"; \
	for browser in chromium google-chrome chromium-browser none; do command -v $$browser >/dev/null && break; done; \
	test $$browser != none || missing="$$missing chromium"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	test -n "$$missing" || exit 0; \
	case "$$(uname)" in \
		Darwin) install="brew install $$(echo $$missing | sed 's/redis-server/redis/; s/nodejs/node/; s/ npm//')";; \
		*) install="apt-get install -y --no-install-recommends $$missing";; \
	esac; \
	if test "$$(uname)" = Linux && test "$$(id -u)" = 0; then apt-get update -q && $$install; \
	elif test "$$(uname)" = Linux && test -n "$$CI"; then sudo apt-get update -q && sudo $$install; \
	else echo "The tests need$$( printf ' %s' $$missing ): run  $$install" >&2; exit 1; fi
