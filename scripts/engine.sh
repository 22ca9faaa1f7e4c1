#!/usr/bin/env bash
# Makes sure that a container engine answers. Silent and quick when one does, whether here or at DOCKER_HOST.
set -euo pipefail
here=$(dirname "$0")

answers() { docker version >/dev/null 2>&1; }

answers_within() { # seconds
	local end=$((SECONDS + $1))
	until answers; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.3
	done
}

stop() {
	printf '%s\n' "$@" >&2
	exit 1
}

answers && exit

if ! command -v docker >/dev/null; then
	# From Debian 13 on the client is a package of its own.
	"$here/apt.sh" docker.io 'docker-cli?' || stop \
		"There is no container engine here. Install one, then run this again:" \
		"  Debian, Ubuntu    sudo apt-get install docker.io" \
		"  Fedora            sudo dnf install moby-engine" \
		"  macOS, Windows    Docker Desktop"
	answers_within 5 && exit
fi

why=$(docker version 2>&1 >/dev/null | tail -n 1) || true
[ -z "${DOCKER_HOST:-}" ] || stop "No engine answers at DOCKER_HOST=$DOCKER_HOST: $why"
case $why in
*"permission denied"*) stop "The engine runs, but not for $(id -un). Join its group, then log in again:" \
	"  sudo usermod -aG docker $(id -un)" ;;
esac
if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null; then
	stop "The engine does not answer: $why" \
		"Start it, then run this again:" \
		"  Linux             sudo systemctl start docker    (or: sudo service docker start)" \
		"  macOS, Windows    start Docker Desktop"
fi

echo "Starting the container engine ..." >&2
if [ -d /run/systemd/system ]; then
	systemctl start docker && answers_within 60 && exit
elif [ -x /etc/init.d/docker ]; then
	service docker start >/dev/null 2>&1 && answers_within 15 && exit
fi

# Neither an init system nor its script brought it up, as inside a bare container or chroot. It is started in its own
# session with no descriptor of ours, so that it outlives make and nothing waits for it.
log=/var/log/dockerd.log
setsid dockerd </dev/null >>"$log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
while kill -0 $! 2>/dev/null && [ "$SECONDS" -lt 120 ]; do
	answers_within 1 && exit
done
answers || stop "The engine did not come up. Its last words in $log:" "$(tail -n 4 "$log")"
