# `make` alone lists what there is.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK_VERSION := v0.8.2

# Where scripts/go.sh finds or puts Go. Debian's default is GOTOOLCHAIN=local, which can't follow go.mod.
export PATH := $(CURDIR)/.tools/go/bin:$(PATH):/usr/local/go/bin
export GOTOOLCHAIN ?= auto
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"

# The images in which the example packs run.
RUNTIME_IMAGES := shell python node

# Reaping is left to the tests themselves: testcontainers' own reaper is an image from a registry.
TEST := TESTCONTAINERS_RYUK_DISABLED=true ATTUNE_REQUIRE_DOCKER=1 go test -timeout 30m $(if $(RACE),-race)

export STATICCHECK := $(CURDIR)/.tools/staticcheck-$(STATICCHECK_VERSION)

.PHONY: help run up down build images test chaos judges check bench fuzz fmt clean engine go runtime-images linux-programs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: engine go ## start a gateway at 127.0.0.1:8080 with the example packs, and nothing else
	@$(MAKE) --no-print-directory -j2 build runtime-images
	@exec bin/attune serve --config attune.yaml

up: engine linux-programs ## start gateway and Redis by Compose (ATTUNE_PORT=8080)
	@images/build.sh $(RUNTIME_IMAGES) redis gateway
	@scripts/up.sh

down: engine ## stop what `make up` started, keep its volumes
	@scripts/down.sh

build: go ## build both programs into bin/
	@$(GO_BUILD) -o bin/ ./cmd/...

images: engine linux-programs ## build all images
	@images/build.sh

test: engine images ## run all tests (RACE=1: with the race detector)
	@scripts/compose.sh version >/dev/null
	@$(if $(RACE),scripts/go.sh race)
	$(TEST) $$(go list ./... | grep -v '^attune/tests')
	@# One after the other: each of them keeps the whole machine busy.
	$(TEST) -p 1 ./tests/...

chaos: engine images ## crash gateways in 200 random ways (RACE=1; a failure prints its seed)
	@$(if $(RACE),scripts/go.sh race)
	$(TEST) ./tests/crash -run '^TestRandomCrashes$$' -crash.schedules=200

judges: go ## hold a gateway against others' programs: schemathesis, MCP conformance, Chromium, Standard Webhooks
	@scripts/judges/schemathesis.sh
	@scripts/judges/mcp.sh
	@scripts/judges/docs.sh
	@scripts/judges/webhooks.sh

check: engine go $(STATICCHECK) ## tidy, format, vet, staticcheck, tests with -race, clean tree
	@scripts/check.sh

bench: engine images ## run all benchmarks (BENCH="-n 10 -update": see tests/bench)
	$(TEST) -bench . -run '^$$' ./...
	@go run ./tests/bench $(BENCH)

fuzz: go ## run each fuzz target for FUZZTIME=30s (FUZZ=Digest: those of that name)
	@scripts/fuzz.sh

fmt: go ## format the code and tidy go.mod
	go fmt ./...
	go mod tidy

clean: ## remove what was built and kept here: programs, tools, environments, state
	rm -rf bin .tools runtime_envs state

engine:
	@scripts/engine.sh

go:
	@scripts/go.sh

runtime-images: engine
	@images/build.sh $(RUNTIME_IMAGES)

# The programs for the gateway's image, which is Linux whatever this host is.
linux-programs: build
	@mkdir -p bin/linux
ifeq ($(shell uname -s),Linux)
	@ln -f bin/attune bin/attune-agent bin/linux/
else
	@GOOS=linux GOARCH=$$(docker version --format '{{.Server.Arch}}') $(GO_BUILD) -o bin/linux/ ./cmd/...
endif

$(STATICCHECK): | go
	@echo "Installing staticcheck $(STATICCHECK_VERSION) ..."
	@GOBIN=$(CURDIR)/.tools GOTOOLCHAIN=$$(go env GOVERSION) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@mv .tools/staticcheck $@
