#!/usr/bin/env bash
# demo.sh [--once]: the whole story on this machine alone. A local chain, the access contract, two nodes and a member
# with plain WireGuard; a grant opens the tunnel, a revoke closes it. Stays up until Ctrl-C; --once ends after the story.
# Everything runs in namespaces that vanish with it: no interface, process or file is left.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stop() {
  printf 'The demo cannot run here: %s\n' "$@" >&2
  exit 69
}

case "${1:-}" in
  "" | --once) ;;
  *)
    sed -n 's/^# //p' "$0" >&2
    exit 64
    ;;
esac
[ $# -le 1 ] || stop "it takes --once, or nothing."

why_not=$(agent/test/lab/enter.sh --why-not)
[ -z "$why_not" ] || stop "$why_not."

./scripts/install.sh wg wireguard-go ip nft conntrack ping
export PATH="$PWD/node_modules/.bin:$PATH"
exec node agent/test/demo.ts "$@"
