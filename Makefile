# Holdfast. `make help` lists what can be done.

GO      ?= go
BIN     := build/bin
STATE   ?= build/demo
PORT    ?= 13700
# The demo's directory: sandbox, or openldap for a real slapd.
DIRECTORY ?= sandbox
# Who keeps the demo's key: connector, or kms for a real Vault (OpenBao).
KEY ?= connector
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help build temporal-server key-server demo test check unit race end-to-end kill-tests fuzz bench lint clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build holdfast and holdfastd into build/bin
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/holdfast ./starter
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/holdfastd ./worker

temporal-server: ## Build the Temporal server for one machine, once per version, into the user's cache
	@scripts/temporal-server.sh

key-server: ## Build the OpenBao that tests and the demo use as a Vault, once per version, into the user's cache
	@scripts/key-server.sh

demo: temporal-server build ## Protect a sandbox company end to end (STATE=dir PORT=13700 DIRECTORY=openldap KEY=kms)
	@$(GO) build -trimpath -o $(BIN)/demo ./demo
	@[ "$(DIRECTORY)" != openldap ] || scripts/install-test-servers.sh
	@[ "$(KEY)" != kms ] || scripts/key-server.sh >/dev/null
	@$(BIN)/demo --state $(STATE) --port $(PORT) --directory $(DIRECTORY) --key $(KEY) --bin $(BIN)

test: ## Install what the tests need, and run all of them
	@scripts/test.sh

lint: ## Format, vet, determinism and style
	@scripts/lint.sh

end-to-end: temporal-server key-server ## The scripts over the built programs, and a few kills
	$(GO) test -count=1 -timeout 30m -v ./test/...

kill-tests: temporal-server key-server ## Kill worker and dev 20 times each, at random moments, and changes of keys at every boundary
	HOLDFAST_KILLS=20 $(GO) test -count=1 -timeout 90m -v -run 'TestKill|TestKeyChanges' ./test/
	HOLDFAST_KILLS=20 $(GO) test -count=1 -timeout 30m -run 'Killed' ./activities ./integrations/kopia

fuzz: ## Fuzz every parser for a minute (FUZZTIME=1m)
	@scripts/fuzz.sh

bench: temporal-server ## First backup and unchanged run against kopia's own command line
	@bench/first-light.sh

clean: ## Remove what was built, and the demo's state
	rm -rf build
