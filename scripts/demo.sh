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

[ "$(uname -s)" = Linux ] || stop "it needs Linux, for WireGuard interfaces and network namespaces."
[ "$(id -u)" = 0 ] || stop "it needs root, for WireGuard interfaces and network namespaces. Try: sudo $0 $*"
[ -c /dev/net/tun ] || stop "there is no /dev/net/tun. Try: modprobe tun; in a container: --device /dev/net/tun"
(: <>/dev/net/tun) 2>/dev/null || stop "/dev/net/tun cannot be opened. In a container: --device /dev/net/tun"
unshare --net --mount --pid --fork true 2>/dev/null ||
  stop "it may not make network namespaces. In a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN"

./scripts/install.sh wg wireguard-go ip nft conntrack ping
export PATH="$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin"
exec node agent/test/demo.ts "$@"
