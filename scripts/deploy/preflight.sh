#!/usr/bin/env bash
# shellcheck disable=SC2154 # sourced by deploy-docker.sh, whose variables these are
# What has to be there before anything is done; all that is missing is named at once.

preflight() {
  local missing=()
  need() { missing+=("$1"); }

  check_docker
  case $verb in
    deploy | setup) check_settings ;;
  esac
  [ "$verb" != deploy ] || check_machine

  [ ${#missing[@]} = 0 ] && return
  printf 'deploy-docker: this is missing:\n' >&2
  printf '  - %s\n' "${missing[@]}" >&2
  exit 69
}

check_docker() {
  if ! command -v docker >/dev/null; then
    need "Docker: on Debian, apt-get install docker.io docker-compose (or scripts/docker-engine.sh start)"
  elif ! docker version >/dev/null 2>&1; then
    need "a Docker engine that answers (DOCKER_HOST=${DOCKER_HOST:-unset}): start it, join the group docker, or run scripts/docker-engine.sh start"
  fi
  "${compose[@]}" version >/dev/null 2>&1 || need "docker-compose 1.29 or the compose plugin: on Debian, apt-get install docker-compose"
  command -v flock >/dev/null || need "flock, of the package util-linux"
}

check_settings() {
  local network chain name unused=()
  check_secret ADMIN_TOKEN
  for name in LISTEN_PORT WG_INTERFACE WG_CONFIG_DIR STATE_DIR HEALTH_CHECK_HOST HEALTH_CHECK_PORT; do
    [ -z "$(setting $name)" ] || unused+=("$name")
  done
  [ ${#unused[@]} = 0 ] || say "note: not used here, where containers have ports, folders and names of their own: ${unused[*]}"
  [ -z "$devnet" ] || return 0
  network=$(setting NETWORK) chain=$(setting CHAIN_ID)
  [ -f .env ] || [ -n "$network$chain" ] || {
    need ".env: cp env.example .env and fill it in (or --devnet for a local chain)"
    return 0
  }
  [[ $network =~ ^(base|base-sepolia|devnet)$ || (-z $network && -n $chain) ]] ||
    need "NETWORK in .env: base, base-sepolia or devnet; or CHAIN_ID and CONTRACT_ADDRESS"
  [ "$network" != devnet ] || need "--devnet, for NETWORK=devnet in .env"
  [[ -n $(setting CONTRACT_ADDRESS) || $network =~ ^(base|devnet)$ || -z $network$chain ]] ||
    need "CONTRACT_ADDRESS in .env: ${network:-chain $chain} has no preset"
  for name in CONTRACT_ADDRESS NODE_OWNER; do
    [[ $(setting $name) =~ ^(0x[0-9a-fA-F]{40})?$ ]] || need "$name in .env as an address: 0x and 40 hex digits"
  done
  [ -n "$(setting RPC_URL)" ] || [ -n "$(setting RPC_URL_FILE)" ] || need "RPC_URL in .env: one or more JSON-RPC endpoints of the chain"
  check_secret RPC_URL
  check_secret CONTRACT_PRIVATE_KEY
  [ -z "$(setting WIREGUARD_PRIVATE_KEY)$(setting WIREGUARD_PRIVATE_KEY_FILE)" ] ||
    say "note: WIREGUARD_PRIVATE_KEY is not used here: each node makes its own key and keeps it in its volume"
  [ ! -f .env ] || [ -z "$(find .env -perm /077)" ] || ! grep -qE '^[A-Z_]*(PRIVATE_KEY|ADMIN_TOKEN)=.' .env ||
    say "note: .env holds secrets and others may read it: chmod 600 .env"
}

# check_secret <setting>: where a file holds it, that file can be read and nothing else says otherwise.
check_secret() {
  local file
  file=$(setting "$1_FILE")
  [ -n "$file" ] || return 0
  [[ -r $file && -s $file ]] || need "the file that $1_FILE names, readable and not empty"
  [ -z "$(setting "$1")" ] || need "one of $1 and $1_FILE, not both"
}

check_machine() {
  [ -c /dev/net/tun ] || need "/dev/net/tun: modprobe tun"
  local free
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
  [ "$free" -ge 2000 ] || need "2 GB of free disk (there are $free MB)"
  local i
  for ((i = 0; i < node_count; i++)); do
    port_free udp "$(wireguard_port "$i")" "the tunnel of ${nodes[i]}"
    port_free tcp "$(http_port "$i")" "HTTP of ${nodes[i]}"
  done
  port_free tcp 8082 "the dashboard"
  [ -z "$observability" ] || port_free tcp 9090 "Prometheus"
  [ -z "$observability" ] || port_free tcp 3000 "Grafana"
  port_free tcp "$(port_of PROXY_PORT 5001)" "the UDP-over-TCP proxy (PROXY_PORT)"
  [ -z "$devnet" ] || port_free tcp "$(port_of DEVNET_PORT 8545)" "the local chain (DEVNET_PORT)"
}

port_of() {
  local value
  value=$(setting "$1")
  [[ ${value:-$2} =~ ^[0-9]{1,5}$ ]] || value=$2
  echo "${value:-$2}"
}

# Taken by somebody else than our own containers.
port_free() {
  local state hex
  printf -v hex %04X "$2"
  state=$([ "$1" = tcp ] && echo 0A || echo 07) # TCP_LISTEN, TCP_CLOSE of net/tcp_states.h
  cat "/proc/net/$1" "/proc/net/${1}6" 2>/dev/null | awk -v port=":$hex" -v state="$state" '
    index($2, port) == length($2) - 4 && $4 == state { found = 1 } END { exit !found }' || return 0
  # Not grep -q, which stops reading: docker would fail of it, and with it the pipe.
  docker ps --filter "label=com.docker.compose.project=$PROJECT" --format '{{.Ports}}' 2>/dev/null | grep ":$2->" >/dev/null ||
    need "port $2/$1 for $3: another program has it"
}
