#!/usr/bin/env bash
# crash.sh [--points N] [--kills N] [--seed S] [--only NAME]...: kills a real agent at every write, fsync, rename and
# spawn, and at random moments under load; makes its calls fail; and looks at what it leaves behind and becomes again.
# All points and 500 kills unless told otherwise; a failure is repeated with the seed and --only and its name.
# Everything runs in namespaces of its own, which end with it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

stop() {
  echo "The crash ring cannot run here: $1." >&2
  exit 69
}

case "${1:-}" in
  -h | --help)
    sed -n '2,5s/^# //p' "$0"
    exit
    ;;
esac
why_not=$("$root/agent/test/lab/enter.sh" --why-not)
[ -z "$why_not" ] || stop "$why_not"
"$root/scripts/install.sh" wg wireguard-go ip nft conntrack ping strace >&2
strace -qq -o /dev/null -e trace=none true 2>/dev/null ||
  stop "a process may not be traced (in a container: --cap-add SYS_PTRACE)"

# In the background, because bash would put its trap off until the end; killed when this shell ends, however it ends.
setpriv --pdeathsig KILL "$root/agent/test/lab/enter.sh" "$root/agent/test/crash.ts" "$@" </dev/null &
trap 'exit 130' INT TERM HUP
wait $!
