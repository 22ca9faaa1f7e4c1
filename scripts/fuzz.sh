#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME. What one finds is kept as a seed under testdata/fuzz, and fails `go test` until it is mended.
set -euo pipefail
cd "$(dirname "$0")/.."

for package in $(go list ./...); do
	dir=$(go list -f '{{.Dir}}' "$package")
	targets=$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$dir"/*_test.go 2>/dev/null) || continue
	for target in $targets; do
		[[ $target =~ ${FUZZ:-.} ]] || continue
		echo "== $package $target"
		# Minimizing each input that is only interesting would take most of the time.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" -fuzzminimizetime 100x "$package"
	done
done
