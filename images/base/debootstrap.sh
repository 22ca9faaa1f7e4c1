#!/usr/bin/env bash
# Makes Debian from its package mirror and imports it as the image $1, where no image registry can be reached.
# Needs root and debootstrap.
set -euo pipefail
image=$1 suite=trixie

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase --include=ca-certificates "$suite" "$root"

# debootstrap knows the default mirror and writes it here; its neighbours carry the fixes made since the release.
read -r _ mirror _ <"$root/etc/apt/sources.list"
cat >"$root/etc/apt/sources.list" <<EOF
deb $mirror $suite main
deb $mirror $suite-updates main
deb $mirror-security $suite-security main
EOF

# What Debian's own slim images leave out, now and in every package installed later.
cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'EOF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/groff/*
path-exclude /usr/share/info/*
path-exclude /usr/share/linda/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
EOF

rm -rf "$root"/usr/share/{groff,info,lintian,man}/* \
	"$root"/var/{cache/apt/archives,cache/debconf,cache/ldconfig,lib/apt/lists,log}/* "$root"/var/cache/apt/*.bin \
	"$root"/etc/{hostname,resolv.conf}
find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/usr/share/locale" -mindepth 1 -maxdepth 1 ! -name locale.alias -exec rm -rf {} +
find "$root/usr/share/doc" -type d -empty -delete

tar --numeric-owner -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$image" >/dev/null
