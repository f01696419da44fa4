# SPDX-License-Identifier: Apache-2.0
#
# Everything that one does with this repository. `make` alone explains. The machine needs Go and, for what
# starts a cluster, root on Debian: the packages that lack are installed, with progress shown.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT      := $(shell git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null)
LDFLAGS     := -s -w -X github.com/clbsync/clbsync/internal/version.version=$(VERSION) -X github.com/clbsync/clbsync/internal/version.commit=$(COMMIT) -X k8s.io/client-go/pkg/version.gitVersion=$(VERSION) -X k8s.io/client-go/pkg/version.gitCommit=$(COMMIT)
LINT        := go tool -modfile=go.tool.mod golangci-lint
LAB         := cd lab && CGO_ENABLED=0 go run ./cmd/lab
LAB_NAME    ?= default
PROXY       ?= agent
FUZZTIME    ?= 20s

export CGO_ENABLED ?= 0

##@ Try it

.PHONY: demo
demo: ## The main job as a story on a real three-node cluster, with what was measured; leaves nothing behind (PROXY=kube-proxy: without our node agent).
	@cd lab && go run ./demo --proxy $(PROXY)

.PHONY: lab-up
lab-up: ## Leave a real three-node Kubernetes running, to be used with kubectl (LAB_NAME=default, PROXY=agent, kube-proxy or none).
	@$(LAB) up --name $(LAB_NAME) --proxy $(PROXY)

.PHONY: lab-down
lab-down: ## Remove every trace of it.
	@$(LAB) down $(LAB_NAME)

.PHONY: sim
sim: ## Run the simulated CLB alone, on loopback.
	@go run ./cmd/clbsim

##@ Build

.PHONY: build
build: ## The programs, into bin/.
	go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: images
images: ## The container images, for amd64 and arm64, with no container engine, into bin/images/ (on Debian; IMAGES_FLAGS="-arch amd64").
	@go run ./images/build $(IMAGES_FLAGS)

# What a release consists of. The chart takes its version from the tag, and so do the images that it names. Helm takes no commit for a
# version: without a tag, as in a try, it is a prerelease of nothing.
CHART_VERSION = $(if $(filter v%,$(VERSION)),$(VERSION:v%=%),0.0.0-g$(VERSION))

.PHONY: dist
dist: ## All that a release has, into dist/: images with SBOMs, the chart, kubectl-clb for each system, checksums.
	@rm -rf dist && mkdir -p dist
	go run ./images/build -fresh -version $(VERSION) -out dist
	go tool -modfile=go.tool.mod helm package charts/clbsync --version $(CHART_VERSION) --app-version $(VERSION) --destination dist
	@for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64; do \
	  os=$${target%/*} arch=$${target#*/} out=kubectl-clb_$${target%/*}_$${target#*/}; [ $$os != windows ] || out=$$out.exe; \
	  GOOS=$$os GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o dist/$$out ./cmd/kubectl-clb; done
	@cd dist && rm -f SHA256SUMS && sha256sum -- * > SHA256SUMS

# Only the packages that have golden files: to any other one -update is a wrong flag, and its tests are said to fail.
.PHONY: update
update: ## Rewrite golden files and the reference pages that come out of the code.
	go test $$(git grep -l 'internal/golden"' -- '*_test.go' ':!lab' | xargs -n1 dirname | sort -u | sed 's|^|./|') -update

##@ Hold it to its word

.PHONY: test
test: test-unit test-lab ## Everything below: what a change must pass.

.PHONY: packages
packages:
	@$(LAB) packages

.PHONY: test-unit
test-unit: packages ## Pure parts, the real SDK against the simulated CLB, packets in namespaces.
	go test -timeout 30m ./...

# Vetting the lab would vet all of Kubernetes for its facts, which takes longer than the tests: make lint does it.
.PHONY: test-lab
test-lab: ## A real cluster: Services, packets, source addresses, crashes, the chart, what clients lose (PROXY=kube-proxy: without our node agent).
	@$(LAB) build --product
	@before="$$($(LAB) list)"; \
	(cd lab && CLBSYNC_E2E_PROXY=$(PROXY) go test -vet=off -count=1 -timeout 25m $$(go list ./... | grep -v -e /lab/churn -e /lab/install) && go test -vet=off -count=1 -p 1 -timeout 25m ./install ./churn); \
	if [[ "$$before" == "there is no lab" ]]; then $(LAB) check-clean; else echo "other labs were running before: not looking for traces"; fi

.PHONY: install-test
install-test: ## The chart by Helm on a real cluster, from our images: each preset, its upgrade under load, rights, what an uninstallation leaves.
	@cd lab && go test -vet=off -count=1 -v -timeout 25m ./install

.PHONY: churn
churn: ## What clients lose while pods, nodes, policies and controllers change, beside the stock behaviour, as a table.
	@$(LAB) build --product
	@cd lab/churn && go test -vet=off -count=1 -timeout 40m -args -full $(CHURN_FLAGS)

.PHONY: rig
rig: packages ## The node agent's tests with the real kube-proxy beside it: the same answers in every situation, from every place; what clients lose.
	@[ -x .lab/bin/kube-proxy ] || { $(LAB) build; }
	go test -count=1 -timeout 30m -v ./nodeagent/agent -run 'KubeProxy|Affinity|UDPFlows|EitherProxy' -kube-proxy "$(CURDIR)/.lab/bin/kube-proxy"

.PHONY: race
race: ## The unit tests under the race detector (needs a C compiler).
	CGO_ENABLED=1 go test -race ./...

.PHONY: injection
injection: ## Every error code of the table at every call of the life of a Service, and of two that share a CLB, and for as long as a stage of it lasts.
	go test ./lbsync/controller -run 'EveryCode|ACodeThatLasts' -timeout 60m -v -args -full | grep -v '^ *=== '

.PHONY: fuzz
fuzz: ## Each fuzz test for FUZZTIME.
	@for pkg in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	  go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; done; done

.PHONY: lint
lint: ## Formatting and linters, pinned in go.tool.mod.
	@bad=$$(git ls-files '*.go' | xargs gofmt -l); [ -z "$$bad" ] || { echo "gofmt would change: $$bad"; exit 1; }
	$(LINT) run ./...
	cd lab && go tool -modfile=../go.tool.mod golangci-lint run --config ../.golangci.yml ./...

.PHONY: bench
bench: ## From an endpoint's change to the request at CLB, and what the decisions cost.
	go test -run '^$$' -bench . -benchmem ./lbsync/...
	cd lab && go run ./bench
	cd lab && go run ./bench -churn 100 -n 300

.PHONY: bench-agent
bench-agent: packages ## The node agent beside the real kube-proxy, as a table (AGENT_BENCH="-services 300 -ports 1,100" for a quick one).
	@[ -x .lab/bin/kube-proxy ] || { $(LAB) build; }
	go test -run '^$$' -bench BesideKubeProxy -benchtime 1x -timeout 90m ./nodeagent/agent -kube-proxy "$(CURDIR)/.lab/bin/kube-proxy" $(AGENT_BENCH)

.PHONY: e2e
e2e: ## The upstream suite, [Feature:LoadBalancer], against the lab with our controller (E2E_FLAGS=--all for the slow ones).
	@cd lab && go run ./e2e/upstream $(E2E_FLAGS)

.PHONY: help
help: ## This page.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.DEFAULT_GOAL := help
