#!/usr/bin/env bash
# apt.sh PACKAGE...: installs packages where nobody has to be asked, as root on Debian or Ubuntu. A name that ends in
# "?" is skipped in releases that don't know it. Anywhere else this fails without a word, and the caller says what to do.
set -euo pipefail
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" >>"$log" 2>&1 </dev/null; }

echo "Installing ${*//\?/} ..." >&2
apt update || true # a broken third-party source fails this, and yet leaves Debian's own lists fresh
packages=()
for name in "$@"; do
	case $name in
	*\?) apt-cache show "${name%\?}" >/dev/null 2>&1 && packages+=("${name%\?}") ;;
	*) packages+=("$name") ;;
	esac
done
apt install --no-install-recommends "${packages[@]}" || {
	tail -n 20 "$log" >&2
	exit 1
}
