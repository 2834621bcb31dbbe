#!/usr/bin/env bash
# shellcheck disable=SC2154 # sourced by deploy-docker.sh, whose variables these are
# Building: a tag says which contents an image has, so that compose replaces a container only when its image changed.

readonly OFFICIAL_NODE=node:24-bookworm-slim OFFICIAL_DEBIAN=debian:bookworm-slim
readonly LOCAL_NODE=dstack-vpn-base:24 LOCAL_DEBIAN=dstack-vpn-debian:bookworm # of scripts/base-image.sh

# Setting of docker-compose.yml, image, directory of its Dockerfile, and what else goes into it.
images() {
  echo "NODE_IMAGE dstack-vpn-node wireguard agent package-lock.json"
  echo "PROXY_IMAGE dstack-vpn-mullvad-proxy mullvad-proxy agent/proxy agent/model.ts package-lock.json"
  echo "MONITORING_IMAGE dstack-vpn-monitoring monitoring monitoring"
  [ -z "$devnet" ] || echo "DEVNET_IMAGE dstack-vpn-devnet devnet contracts/abi scripts/devnet.ts package-lock.json"
}

build_images() {
  local started=$SECONDS name directory inputs id size
  find_bases
  while read -r _ name directory inputs; do
    if [ -n "$dry_run" ]; then
      say "would: build $name from docker/$directory/Dockerfile on $BASE and $RUNTIME"
      continue
    fi
    # shellcheck disable=SC2086 # a list
    build "$name" "$directory" $inputs
    id=$(docker image inspect -f '{{.Id}}' "$name:latest" | cut -d : -f 2 | cut -c 1-12)
    docker tag "$name:latest" "$name:$id"
    size=$(($(docker image inspect -f '{{.Size}}' "$name:latest") / 1000000))
    printf '  %-26s %-14s %4d MB\n' "$name" "$id" "$size"
  done < <(images)
  [ -z "$observability" ] || fetch_images
  [ -n "$dry_run" ] || say "built in $((SECONDS - started)) s"
}

# Prometheus and Grafana are taken as they are, and before anything is started: there may be no registry.
fetch_images() {
  local setting image
  while read -r setting image; do
    [ -z "$(setting "$setting")" ] || image=$(setting "$setting")
    has_image "$image" || act docker pull --quiet "$image" ||
      stop "$image cannot be pulled, and nothing was started: load it (docker load), name another with $setting, or leave out --observability"
  done < <(sed -nE 's/.*\$\{((PROMETHEUS|GRAFANA)_IMAGE):-([^}]+)\}.*/\1 \3/p' docker-compose.yml)
}

build() {
  local log
  log=$(mktemp)
  DOCKER_BUILDKIT=$(buildkit) docker build "${build_network[@]}" \
    --build-arg "BASE=$BASE" --build-arg "RUNTIME=$RUNTIME" \
    --build-arg "VERSION=$(sed -nE 's/^  "version": "([^"]+)".*/\1/p' package.json)" --build-arg "REVISION=$(revision "docker/$2" "${@:3}")" \
    --file "docker/$2/Dockerfile" --tag "$1:latest" . >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    rm -f "$log"
    stop "$1 could not be built: see above"
  }
  rm -f "$log"
}

# The last commit that touched what goes into the image: a commit elsewhere makes no new image.
revision() {
  git log -1 --format=%h -- "$@" 2>/dev/null || echo unknown
}

# A client from 23 on needs the plugin buildx for BuildKit; the builder before it does the same, more slowly.
buildkit() {
  if docker buildx version >/dev/null 2>&1; then echo 1; else
    [ "$(docker version -f '{{.Client.Version}}' | cut -d . -f 1)" -lt 23 ] && echo 1 || echo 0
  fi
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

find_bases() {
  build_network=()
  if [ -n "${BASE:-}" ] && [ -n "${RUNTIME:-}" ]; then return; fi
  if has_image $OFFICIAL_NODE && has_image $OFFICIAL_DEBIAN; then
    BASE=$OFFICIAL_NODE RUNTIME=$OFFICIAL_DEBIAN
  elif has_image $LOCAL_NODE && has_image $LOCAL_DEBIAN; then
    use_local_bases
  elif [ -n "$dry_run" ]; then
    say "would: pull $OFFICIAL_NODE and $OFFICIAL_DEBIAN, or make both with scripts/base-image.sh"
    BASE=$OFFICIAL_NODE RUNTIME=$OFFICIAL_DEBIAN
  elif timeout 120 docker pull --quiet $OFFICIAL_DEBIAN >/dev/null 2>&1 && timeout 300 docker pull --quiet $OFFICIAL_NODE >/dev/null 2>&1; then
    BASE=$OFFICIAL_NODE RUNTIME=$OFFICIAL_DEBIAN
  else
    say "$OFFICIAL_NODE cannot be pulled: making a base from Debian's and npm's packages (about a minute, once)"
    ./scripts/base-image.sh || stop "there is no base image, and none could be made: see above"
    use_local_bases
  fi
}

use_local_bases() {
  say "building on the local base images $LOCAL_NODE and $LOCAL_DEBIAN (scripts/base-image.sh)"
  BASE=$LOCAL_NODE RUNTIME=$LOCAL_DEBIAN
  # Where no registry is reached, the network of the machine itself is what apt and npm are set up for.
  build_network=(--network host)
}

image_settings() {
  local setting name
  while read -r setting name _; do
    echo "$setting=$name:$(docker image inspect -f '{{.Id}}' "$name:latest" | cut -d : -f 2 | cut -c 1-12)"
  done < <(images)
}

# Keeps the images of this deployment and of the one before.
forget_images() {
  local tag
  for tag in $(docker images --format '{{.Repository}}:{{.Tag}}' | grep -E '^dstack-vpn-(node|mullvad-proxy|monitoring|devnet):[0-9a-f]{12}$'); do
    grep -qs "=$tag\$" "$STATE"/*/env || docker rmi "$tag" >/dev/null 2>&1 || true
  done
}

# What this deployment built; an image that another one uses stays.
remove_images() {
  local tag
  for tag in $(cat "$STATE"/*/env 2>/dev/null | sed -nE 's/^[A-Z]+_IMAGE=(dstack-vpn-[a-z-]+):([0-9a-f]+)$/\1:\2 \1:latest/p' | tr ' ' '\n' | sort -u); do
    docker rmi "$tag" >/dev/null 2>&1 || ! has_image "$tag" || say "kept $tag: something uses it"
  done
}
