#!/usr/bin/env bash
# enter.sh <script.ts> [argument...]: runs node in network, mount and PID namespaces of its own.
# Whatever was started in them ends with this process, however it ends: --kill-child covers even SIGKILL.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
export PATH="$root/node_modules/.bin:$PATH" DSTACK_VPN_LAB=1
# bash stays as PID 1 (no exec) because it reaps the daemons that are orphaned to it, and node would not.
# shellcheck disable=SC2016
exec unshare --net --mount --pid --fork --kill-child --mount-proc -- bash -c '
  mount -t tmpfs -o mode=755 lab /run && ip link set lo up || exit 71
  node "$@"
  exit $?' lab "$@"
