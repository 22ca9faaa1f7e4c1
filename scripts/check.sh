#!/usr/bin/env bash
# Everything that a change has to pass, cheapest first. What fails says how to cure it.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { # name, cure, command...
	local name=$1 cure=$2 started=$SECONDS
	shift 2
	echo "== $name"
	"$@" || {
		printf '\n%s: not passed. Cure: %s\n' "$name" "$cure" >&2
		exit 1
	}
	echo "   $((SECONDS - started)) s"
}

# The state of the work tree, to see what the checks themselves leave behind.
tree() { git status --porcelain && git diff | git hash-object --stdin; }

formatted() {
	local files
	files=$(go list -f '{{.Dir}}' ./... | tr '\n' '\0' | xargs -0 gofmt -l)
	[ -z "$files" ] || { echo "$files" && return 1; }
}

# In CI nothing may differ from what is committed; elsewhere work goes on.
untouched() {
	diff <(echo "$before") <(tree)
	[ -z "${CI:-}" ] || [ -z "$(git status --porcelain)" ]
}

before=$(tree)
step tidy "go mod tidy" go mod tidy -diff
step format "make fmt" formatted
step vet "mend what go vet names above" go vet ./...
step staticcheck "mend what staticcheck names above" "$STATICCHECK" ./...
step tests "make test RACE=1 shows the same; one test alone: go test -race -run NAME ./PACKAGE" make --no-print-directory test RACE=1
step chaos "the failed test prints its schedule, and the command that repeats it" make --no-print-directory chaos RACE=1
step judges "scripts/judges/NAME.sh shows the same; its findings name the request" make --no-print-directory judges
step "clean tree" "have the test clean up after itself, or add the file to .gitignore" untouched
