#!/usr/bin/env bash
# soak.sh MINUTES [--seed S]: a chain, two nodes and ten members with real WireGuard, faults everywhere, grants and revokes.
# Tells every half minute how it goes, and in the end what differed, what was lost and what leaked. The seed decides what
# is tried in which order; when a process comes to it, and which command fails, is the machine's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  sed -n 's/^# //p' "$0" >&2
  exit 64
}

minutes=${1:-} seed=$RANDOM
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage
shift
if [ $# -gt 0 ]; then
  if [ $# != 2 ] || [ "$1" != --seed ] || ! [[ $2 =~ ^[0-9]{1,9}$ ]]; then usage; fi
  seed=$2
fi

why_not=$(agent/test/lab/enter.sh --why-not)
[ -z "$why_not" ] || { echo "The soak cannot run here: $why_not." >&2 && exit 69; }

./scripts/install.sh wg wireguard-go ip nft conntrack ping
export PATH="$PWD/node_modules/.bin:$PATH"
exec agent/test/lab/enter.sh agent/test/soak.ts "$minutes" "$seed"
