# SPDX-License-Identifier: GPL-3.0-or-later
# The developer's entry points. What they do lives in the scripts that they call.

export PATH := $(CURDIR)/.build/venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.build/collections

FLEET ?= demo
PREFIX ?= slipway
SIZES ?= 1 5

.DEFAULT_GOAL := help
.PHONY: help env env-run env-oldest hosts-up hosts-down hosts-status demo demo-down test test-all bench bench-backup bench-celery faults clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

env: ## make the private Python environment with all tools (.build/venv)
	@requirements/environment.sh test ""

env-run: ## make it with only what the demo needs
	@requirements/environment.sh run ""

env-oldest: ## make the oldest supported pair of Python and ansible-core (.build/venv-oldest)
	@requirements/environment.sh test -oldest 3.11

hosts-up: env-run ## bring up test hosts: FLEET=demo|staging|production|bench, PREFIX=slipway
	@python -m tests.hosts up $(FLEET) --prefix $(PREFIX)

hosts-down: env-run ## remove them
	@python -m tests.hosts down $(FLEET) --prefix $(PREFIX)

hosts-status: env-run ## show engine and test hosts
	@python -m tests.hosts status

demo: env-run ## provision a host, deploy, redeploy and roll back under load
	@python -m tests.demo

demo-down: env-run ## remove test hosts, networks, caches, images, and the engine if it was started here
	@python -m tests.hosts purge

test: env ## run all checks and tests
	@tests/run

test-all: env ## these, and the tests that need hosts for long
	@tests/run --all

bench: env ## measure against the budgets
	@python -m tests.bench

bench-backup: env ## measure backups and their proof against pg_dump: SIZES="1 5" (GB)
	@python -m tests.bench.backup --sizes $(SIZES)

bench-celery: env ## measure what becomes of tasks when their worker is replaced, in six ways
	@python -m tests.bench.celery

faults: env ## break the production fleet at every step of a deploy: ONLY="step=gate fault=disk_full" RESUME=1 RUNTIME=docker
	@python -m tests.faults $(addprefix --only ,$(ONLY)) $(addprefix --runtime ,$(RUNTIME)) $(if $(RESUME),--resume)

clean: ## remove everything that was made inside the checkout
	@rm -rf .build tests/output
