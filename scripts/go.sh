#!/usr/bin/env bash
# Makes sure of a Go that can fetch the exact toolchain which go.mod asks for (1.21 or newer), and, for `go.sh race`, of
# a C compiler, without which there is no race detector.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.tools/go/bin:$PATH:/usr/local/go/bin # as in the Makefile

stop() {
	printf '%s\n' "$@" >&2
	exit 1
}

minor() { GOTOOLCHAIN=local go version 2>/dev/null | sed -n 's/^go version go1\.\([0-9]*\).*/\1/p'; }

# An older Go knows nothing of toolchains, yet it can download one: it is a module like any other, checksum and all.
# Module archives carry no file modes, so the programs in it are made executable here.
fetch_toolchain() {
	local version module
	version=$(sed -n 's/^go \([0-9.]*\)$/\1/p' go.mod)
	module=golang.org/toolchain@v0.0.1-go$version.$(go env GOOS)-$(go env GOARCH)
	echo "Downloading Go $version ..." >&2
	(cd / && go mod download "$module")
	rm -rf .tools/go
	mkdir -p .tools
	cp -R "$(go env GOMODCACHE)/$module" .tools/go
	chmod -R u+w .tools/go
	chmod +x .tools/go/bin/* .tools/go/pkg/tool/*/*
}

if ! command -v go >/dev/null; then
	scripts/apt.sh golang-go ca-certificates || stop \
		"Go is missing. Install it, 1.21 or newer, then run this again:" \
		"  Debian, Ubuntu    sudo apt-get install golang-go" \
		"  Fedora            sudo dnf install golang" \
		"  macOS             brew install go"
fi
[ "$(minor)" -ge 21 ] || fetch_toolchain

if [ "${1:-}" = race ] && ! command -v gcc >/dev/null && ! command -v cc >/dev/null; then
	scripts/apt.sh gcc libc6-dev || stop "The race detector needs a C compiler:  sudo apt-get install gcc libc6-dev"
fi
