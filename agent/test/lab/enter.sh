#!/usr/bin/env bash
# enter.sh <script.ts> [argument...]: runs node in network, mount and PID namespaces of its own.
# Whatever was started in them ends with this process, however it ends: --kill-child covers even SIGKILL.
# enter.sh --why-not: prints why that is not possible here, or nothing.
set -euo pipefail

namespaces=(unshare --net --mount --pid --fork --kill-child --mount-proc)

why_not() {
  if [ "$(uname -s)" != Linux ]; then
    echo "it needs Linux, for WireGuard interfaces and network namespaces"
  elif [ "$(id -u)" != 0 ]; then
    echo "it needs root, for WireGuard interfaces and network namespaces"
  elif ! [ -c /dev/net/tun ]; then
    echo "there is no /dev/net/tun (try: modprobe tun; in a container: --device /dev/net/tun)"
  elif ! (: <>/dev/net/tun) 2>/dev/null; then
    echo "/dev/net/tun cannot be opened (in a container: --device /dev/net/tun)"
  elif ! "${namespaces[@]}" true 2>/dev/null; then
    echo "it may not make namespaces (in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN)"
  fi
}

if [ "$1" = --why-not ]; then
  why_not
  exit
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
export PATH="$root/node_modules/.bin:$PATH:/usr/sbin:/sbin" DSTACK_VPN_LAB=1
# bash stays as PID 1 (no exec) because it reaps the daemons that are orphaned to it, and node would not.
# shellcheck disable=SC2016
exec "${namespaces[@]}" -- bash -c '
  mount -t tmpfs -o mode=755 lab /run && ip link set lo up || exit 71
  node "$@"
  exit $?' lab "$@"
