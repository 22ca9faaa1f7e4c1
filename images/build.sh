#!/usr/bin/env bash
# build.sh [NAME...]: makes the images attune/NAME and what they stand on; without a name, all of them.
#
# Each folder here with a Dockerfile is an image. Its context is that folder, the project's files that its list `context`
# names, and ca.pem: the certificates of this host, for stages that fetch something and are thrown away.
# The label attune.inputs holds a digest of all that went into an image, so that one that is up to date is left alone.
#
# shellcheck disable=SC2046,SC2086 # names of images are split on purpose, they hold no spaces
set -euo pipefail
cd "$(dirname "$0")"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

sha256=$(command -v sha256sum || echo "shasum -a 256")

say() { printf '%4ds  %-8s  %s\n' "$SECONDS" "$1" "$2"; }

stop() {
	printf '%s\n' "$@" >&2
	exit 1
}

parents() { sed -nE 's,^(FROM |.*--from=)attune/([a-z0-9-]+).*,\2,p' "$1/Dockerfile"; }

# An image and all that it stands on.
lineage() {
	local parent
	for parent in $(parents "$1"); do lineage "$parent"; done
	echo "$1"
}

borrowed() { [ ! -f "$1/context" ] || sed 's,^,../,' "$1/context"; }

fingerprint() {
	local name
	for name in $(lineage "$1" | sort -u); do
		find "$name" -type f
		borrowed "$name"
	done | LC_ALL=C sort | tr '\n' '\0' | xargs -0 $sha256 | $sha256 | cut -c 1-64
}

# Those of the named images that are missing or made from something else than what is here now.
stale() {
	local name made
	made=$(docker image inspect --format '{{.RepoTags}} {{index .Config.Labels "attune.inputs"}}' \
		$(printf 'attune/%s ' "$@") 2>/dev/null) || true
	for name in "$@"; do
		grep -q "attune/$name:latest.* $(fingerprint "$name")\$" <<<"$made" || echo "$name"
	done
}

# Gives a registry 20 s to answer, and then the download the time that it takes.
pull() {
	local ticks=0
	docker pull "$1" >"$tmp/pull.log" 2>&1 &
	while kill -0 $! 2>/dev/null; do
		sleep 0.2
		ticks=$((ticks + 1))
		[ $ticks -ne 100 ] || grep -q 'Pulling from' "$tmp/pull.log" || kill $!
	done
	wait $!
}

# Debian itself: pulled, or made here where nothing can be pulled. Sets $debian.
find_debian() {
	debian=$(sed -n 's/^ARG DEBIAN=//p' base/Dockerfile)
	docker image inspect "$debian" >/dev/null 2>&1 && return
	local made=attune/debian:trixie
	if docker image inspect "$made" >/dev/null 2>&1; then
		debian=$made
		return
	fi
	say base "pulling $debian"
	if pull "$debian"; then return; fi
	say base "no registry answers ($(tail -n 1 "$tmp/pull.log" | cut -c 1-80)...)"
	debian=$made
	[ "$(id -u)" = 0 ] || stop "Debian can be made from its packages instead, by root, once:  sudo $PWD/build.sh base"
	command -v debootstrap >/dev/null || ../scripts/apt.sh debootstrap debian-archive-keyring || stop \
		"Debian can be made from its packages instead, with the program debootstrap. Install that, then run this again."
	say base "making Debian from its packages"
	local verb last=
	base/debootstrap.sh "$debian" 2>&1 | tee "$tmp/debootstrap.log" | while read -r _ verb _; do
		case $verb in
		"$last") ;;
		Resolving | Extracting | Unpacking | Configuring) last=$verb && say base "$verb packages" ;;
		esac
	done || {
		tail -n 20 "$tmp/debootstrap.log" >&2
		stop "debootstrap did not succeed, see above."
	}
}

build() {
	local name=$1 context=$tmp/$1 line args=()
	cp -R "$name" "$context"
	cat "$(../scripts/ca-bundle.sh)" >"$context/ca.pem"
	for line in $(borrowed "$name"); do
		[ -f "$line" ] || stop "${line#../} is missing, \`make build\` makes it."
		cp "$line" "$context"
	done
	# The ways out that this host has. No builder records a proxy, and the stages that use an index are thrown away.
	for line in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL NPM_CONFIG_REGISTRY; do
		[ -z "${!line:-}" ] || args+=(--build-arg "$line")
	done
	[ "$name" != base ] || args+=(--build-arg "DEBIAN=$debian")

	local started=$SECONDS
	BUILDKIT_PROGRESS=plain docker build --tag "attune/$name" --label "attune.inputs=$(fingerprint "$name")" \
		${args[@]+"${args[@]}"} "$context" 2>&1 | tee "$tmp/$name.log" | while IFS= read -r line; do
		case $line in
		"Step "*" : RUN "* | "Step "*" : COPY "*) line=${line#Step } ;;    # the classic builder
		"#"*" ["*"] RUN "* | "#"*" ["*"] COPY "*) line=${line#* } ;; # BuildKit
		*) continue ;;
		esac
		say "$name" "${line:0:90}"
	done || {
		tail -n 30 "$tmp/$name.log" >&2
		stop "attune/$name could not be built, see above."
	}
	say "$name" "ready in $((SECONDS - started)) s, $(($(docker image inspect --format '{{.Size}}' "attune/$name") / 1000000)) MB"
}

[ $# -gt 0 ] || set -- $(for file in */Dockerfile; do dirname "$file"; done)
for name in "$@"; do [ -f "$name/Dockerfile" ] || stop "There is no image \"$name\". There are: $(echo */Dockerfile)"; done
set -- $(for name in "$@"; do lineage "$name"; done | sort -u)

[ -n "$(stale "$@")" ] || exit 0
# Two builds at once would do everything twice, and the one that ends first would sweep away what the other is at: also
# where they come from different work trees.
if command -v flock >/dev/null; then
	lock=/tmp/attune-images.lock
	[ -e $lock ] || (umask 0 && : >$lock)
	exec 9<$lock
	flock -n 9 || { echo "Waiting for another build of the images ..." && flock 9; }
fi

# In waves: everything whose parents are there, side by side.
todo=$(stale "$@")
while [ -n "$todo" ]; do
	wave=() rest=()
	for name in $todo; do
		if grep -qxF -e "$(parents "$name")" <<<"$todo"; then rest+=("$name"); else wave+=("$name"); fi
	done
	jobs=()
	for name in "${wave[@]}"; do
		[ "$name" != base ] || find_debian
		build "$name" &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do wait "$job" || failed=1; done
	[ -z "${failed:-}" ] || exit 1
	todo=${rest[*]-}
	todo=${todo// /$'\n'}
done
docker image prune --force --filter label=attune.stage=fetch >/dev/null
