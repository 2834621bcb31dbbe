#!/usr/bin/env bash
# base-image.sh [--force]: makes the two base images of our Dockerfiles without an image registry.
#   dstack-vpn-debian:bookworm  stands in for debian:bookworm-slim: debootstrap from the mirror that this machine's apt uses
#   dstack-vpn-base:24          stands in for node:24-bookworm-slim: the same with Node and npm of this machine's npm packages
# They trust what this machine trusts (its CA bundle), so that npm and apt work in builds wherever they work here: for this
# machine only, never to be pushed. Needs root and Debian's debootstrap; DEBIAN_MIRROR names a mirror where apt has none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEBIAN=dstack-vpn-debian:bookworm
NODE=dstack-vpn-base:24

stop() {
  printf 'base-image: %s\n' "$@" >&2
  exit 69
}

exists() {
  docker image inspect "$1" >/dev/null 2>&1
}

[ "${1:-}" = --force ] || ! exists $DEBIAN || ! exists $NODE || exit 0

docker version >/dev/null 2>&1 || stop "no Docker engine answers: start one (scripts/docker-engine.sh start)"
[ "$(id -u)" = 0 ] || stop "debootstrap needs root: run this once with sudo"
export PATH="$PATH:/usr/sbin:/sbin"
missing=()
for command in debootstrap npm; do command -v $command >/dev/null || missing+=("$command"); done
[ ${#missing[@]} = 0 ] || ./scripts/install.sh "${missing[@]}"
node=$(find node_modules/node-linux-*/bin/node 2>/dev/null | head -n 1)
[ -x "$node" ] || { ./scripts/install.sh && node=$(find node_modules/node-linux-*/bin/node | head -n 1); }
npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")

# Every bookworm suite that apt knows here (the main one, updates, security), as "URI suite".
# shellcheck disable=SC2016 # apt-get expands these
suites=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 2>/dev/null |
  sed -nE 's/^(\S+) (bookworm(-updates|-security)?) main$/\1 \2/p' | sort -u)
mirror=${DEBIAN_MIRROR:-$(sed -n 's/ bookworm$//p' <<<"$suites" | head -n 1)}
[ -n "$mirror" ] || stop "apt knows no mirror of Debian 12 (bookworm) here: set DEBIAN_MIRROR to one"
[ -z "${DEBIAN_MIRROR:-}" ] || suites="$mirror bookworm"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
started=$SECONDS

make_debian() {
  local root=$work/root
  debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    stop "debootstrap failed: see above"
  }
  sed 's/^/deb /; s/$/ main/' <<<"$suites" >"$root/etc/apt/sources.list"
  # As Debian's own slim images: no documentation, now or in later layers.
  printf 'Dir::Cache { pkgcache ""; srcpkgcache ""; }\nAcquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/slim"
  printf 'path-exclude /usr/share/%s/*\n' doc man info locale lintian >"$root/etc/dpkg/dpkg.cfg.d/slim"
  rm -rf "$root"/usr/share/{doc,man,info,locale,lintian}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* \
    "$root"/var/cache/debconf/*-old "$root"/var/log/*
  cp "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
  tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - $DEBIAN >/dev/null
}

make_node() {
  local context=$work/context
  mkdir -p "$context/node_modules"
  cp "$node" "$context/node"
  cp -R "$npm" "$context/node_modules/npm"
  cat >"$context/Dockerfile" <<DOCKERFILE
FROM $DEBIAN
COPY node /usr/local/bin/node
COPY node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
 && groupadd --gid 1000 node && useradd --uid 1000 --gid node --create-home --shell /bin/bash node
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
CMD ["node"]
DOCKERFILE
  docker build --quiet --network none --tag $NODE "$context" >/dev/null
}

bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
[ -f "$bundle" ] || stop "no CA bundle at $bundle: install ca-certificates, or set SSL_CERT_FILE"
if [ "${1:-}" = --force ] || ! exists $DEBIAN; then make_debian; fi
make_node
docker image inspect --format '{{index .RepoTags 0}} {{.Size}}' $DEBIAN $NODE |
  awk '{ printf "%-28s %4d MB\n", $1, $2 / 1e6 }'
echo "made in $((SECONDS - started)) s from the mirror that apt uses and npm's packages"
