#!/usr/bin/env bash
# dev.sh: one node against a local chain of its own; the agent starts again whenever a file of it changes.
# Needs root, for an interface; wgdev is taken down again at the end. Its state is in a folder that vanishes with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ "$(id -u)" = 0 ] || {
  echo "dev.sh: needs root, for a WireGuard interface. Try: sudo $0" >&2
  exit 69
}
./scripts/install.sh wg wireguard-go ip nft conntrack
export PATH="$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin"

work=$(mktemp -d)
finish() {
  trap - EXIT INT TERM
  # shellcheck disable=SC2046 # a list of process ids
  kill $(jobs -p) 2>/dev/null || true
  wait || true
  ip link del wgdev 2>/dev/null || true
  nft delete table inet dstack_vpn_wgdev 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 0' INT TERM

# The chain grants the node by the name under which it finds it: this machine's.
DEVNET_NODES=localhost:51899:gateway node scripts/devnet.ts &
until (exec 3<>/dev/tcp/127.0.0.1/8545) 2>/dev/null; do sleep 0.1; done

export NODE_ID=localhost NETWORK=devnet RPC_URL=http://127.0.0.1:8545 LOG_LEVEL=${LOG_LEVEL:-debug}
export WG_INTERFACE=wgdev LISTEN_PORT=51899 STATE_DIR=$work/state WG_CONFIG_DIR=$work/config ADMIN_TOKEN=${ADMIN_TOKEN:-dev}
echo "node: http://127.0.0.1:8080/health   chain: http://127.0.0.1:8545   admin token: $ADMIN_TOKEN   Ctrl-C ends both"
node --watch --watch-preserve-output agent/main.ts &
wait -n
