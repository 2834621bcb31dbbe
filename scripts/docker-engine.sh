#!/usr/bin/env bash
# docker-engine.sh: a Docker engine where none answers, installed with apt-get where there is none (root, Debian).
#
#   docker-engine.sh start               an engine for this machine, on its network, until stop or the next boot
#   docker-engine.sh stop                ends the engine that start started
#   docker-engine.sh with <command>...   runs the command with the engine that answers; where none does, with one in
#                                        namespaces of its own, which vanish with the command: no port, interface or
#                                        firewall rule of this machine is touched, and published ports are the command's
#
# Images stay in DOCKER_ENGINE_DATA (/var/lib/dstack-vpn-docker) for the next time. Exit: 69 where none can be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly DATA=${DOCKER_ENGINE_DATA:-/var/lib/dstack-vpn-docker}
readonly PACKAGES=(docker.io docker-compose iptables debootstrap)

stop() {
  printf 'docker-engine: %s\n' "$@" >&2
  exit 69
}

answers() {
  docker version >/dev/null 2>&1 && { docker-compose version >/dev/null 2>&1 || docker compose version >/dev/null 2>&1; }
}

# Debian's client before any other, which may lack what it needs to build; nothing else of /usr/bin gets ahead.
prefer_debian() {
  export PATH=$PATH:/usr/sbin:/sbin
  [ -x /usr/bin/docker ] && mkdir -p "$DATA/bin" 2>/dev/null || return 0
  ln -sf /usr/bin/docker "$DATA/bin/docker"
  PATH=$DATA/bin:$PATH
}

install_packages() {
  local package missing=()
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || stop "missing: ${missing[*]}. This is no Debian: install Docker with its own package manager."
  [ "$(id -u)" = 0 ] || stop "missing: ${missing[*]}. Run this as root, or: sudo apt-get install ${missing[*]}"
  echo "installing ${missing[*]}" >&2
  apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >/dev/null; }
  apt install -y --no-install-recommends "${missing[@]}" 2>/dev/null ||
    { apt update && apt install -y --no-install-recommends "${missing[@]}"; } || stop "apt-get could not install ${missing[*]}: see above"
}

# engine <socket>: becomes dockerd.
engine() {
  mkdir -p "$DATA"
  exec dockerd --host "unix://$1" --data-root "$DATA/data" --exec-root "$DATA/run" --pidfile "$DATA/pid"
}

wait_for_engine() {
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    ! docker version >/dev/null 2>&1 || return 0
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$DATA/log" >&2
  stop "dockerd did not start: see above"
}

verb_start() {
  prefer_debian
  if answers; then
    echo "an engine answers already"
    return
  fi
  [ "$(id -u)" = 0 ] || stop "no engine answers. As root this would start one."
  install_packages "${PACKAGES[@]}"
  prefer_debian
  ! answers || return 0 # Debian starts what it installs, where systemd runs
  mkdir -p "$DATA"
  setsid "$0" engine /var/run/docker.sock >"$DATA/log" 2>&1 </dev/null &
  DOCKER_HOST=unix:///var/run/docker.sock wait_for_engine $!
  echo "started, on unix:///var/run/docker.sock; its log is $DATA/log"
}

verb_stop() {
  local pid
  pid=$(cat "$DATA/pid" 2>/dev/null) || stop "docker-engine.sh started no engine here"
  grep -qs dockerd "/proc/$pid/comm" || stop "the engine is gone already"
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

verb_with() {
  prefer_debian
  ! answers || exec "$@"
  [ "$(id -u)" = 0 ] || stop "no Docker engine answers, and only root may start one."
  [ -c /dev/net/tun ] || stop "there is no /dev/net/tun, which containers need here. Try: modprobe tun"
  unshare --net --mount --pid --fork true 2>/dev/null || stop "no permission to make namespaces (CAP_SYS_ADMIN)"
  install_packages "${PACKAGES[@]}" slirp4netns
  prefer_debian
  ! answers || exec "$@" # Debian starts what it installs, where systemd runs
  mkdir -p "$DATA"
  exec 9>"$DATA/lock"
  flock 9
  # A network of its own, joined to this machine's in user space: what the engine does to it is seen nowhere else.
  unshare --net sleep infinity 9>&- &
  local network=$! slirp inside status=0
  until [ "$(readlink "/proc/$network/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
  slirp4netns --configure --mtu=65520 --disable-host-loopback "$network" tap0 9>&- >"$DATA/slirp.log" 2>&1 &
  slirp=$!
  nsenter --net="/proc/$network/ns/net" unshare --mount --pid --fork --kill-child --mount-proc -- "$0" inside "$@" <&0 &
  inside=$!
  # unshare takes no SIGTERM; with it goes everything inside, however this script is told to end.
  # shellcheck disable=SC2064 # these processes, whatever happens to the variables
  trap "kill -KILL $inside 2>/dev/null || true; kill $slirp $network 2>/dev/null || true" EXIT
  trap 'exit 143' INT TERM HUP
  wait $inside || status=$?
  exit $status
}

# PID 1 of the engine's namespaces: when it ends, everything in them does.
verb_inside() {
  local tries pid status=0
  ip link set lo up
  for ((tries = 0; tries < 100; tries++)); do ! ip -4 addr show tap0 2>/dev/null | grep -q inet || break; sleep 0.05; done
  echo nameserver 10.0.2.3 >"$DATA/resolv.conf" # slirp4netns answers there
  mount --bind "$DATA/resolv.conf" "$(realpath /etc/resolv.conf)"
  rm -f "$DATA/pid"
  "$0" engine "$DATA/docker.sock" >"$DATA/log" 2>&1 9>&- &
  pid=$!
  export DOCKER_HOST=unix://$DATA/docker.sock
  wait_for_engine $pid
  "$@" 9>&- || status=$?
  kill $pid
  wait $pid || true
  exit $status
}

usage() {
  sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0" >&2
  exit 64
}

case "${1:-}:$#" in
  start:1 | stop:1) "verb_$1" ;;
  with:1 | inside:1) usage ;;
  with:* | inside:*) "verb_$1" "${@:2}" ;;
  engine:2) engine "$2" ;; # of start and with
  *) usage ;;
esac
