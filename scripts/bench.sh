#!/usr/bin/env bash
# bench.sh [--quick] [--only NAME]... [--json FILE]: measures the agent, and prints one table; --help says more.
# Everything runs in namespaces of its own that end with it. A goal that is missed is shown and is no failure.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$root/node_modules/.bin:$PATH:/usr/sbin:/sbin"

why_not=$("$root/agent/test/lab/enter.sh" --why-not)
[ -z "$why_not" ] || {
  echo "The benchmarks cannot run here: $why_not." >&2
  exit 69
}
"$root/scripts/install.sh" wg wireguard-go ip nft conntrack ping >&2

scratch=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

# The lab's agents start from here; bench/main.ts builds it.
export BENCH_SCRATCH="$scratch" AGENT_MAIN="$scratch/dist/main.js"

# In the background, because bash would put its trap off until the end; killed when this shell ends, however it ends.
setpriv --pdeathsig KILL "$root/agent/test/lab/enter.sh" "$root/bench/main.ts" "$@" &
wait $!
