#!/usr/bin/env bash
# kernel-vm.sh: ring 6. Boots Debian's kernel under qemu, in emulation, and runs the tests of the device and the story of a
# tunnel there, against the WireGuard of that kernel. It reads this machine's files and changes nothing of it.
#
#   kernel-vm.sh [flag...]         runs the tests; the flags are vitest's, such as -t "a revoke"
#   kernel-vm.sh -- <command>...   runs a command in the VM: it sees this machine's files, and what it writes is lost
#   kernel-vm.sh --prepare         only gets what is missing: qemu by apt-get (as root), and the kernel
#
# The kernel is the Debian package KERNEL_PACKAGE (linux-image-amd64), unpacked below node_modules/.cache/kernel-vm and not
# installed; delete it for a newer one. After KERNEL_VM_DEADLINE seconds (1800) the VM is ended. KERNEL_VM_REPORT names a
# file for vitest's JSON. Exit: 0 all passed, 1 not, 69 with the reason where this machine cannot run it.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/kernel-vm/kernel.sh
. "$ROOT/scripts/kernel-vm/kernel.sh"
export PATH="$ROOT/node_modules/.bin:$PATH:/usr/sbin:/sbin"
readonly DEADLINE=${KERNEL_VM_DEADLINE:-1800}

stop() {
  printf 'kernel-vm: %s\n' "$@" >&2
  exit 69
}

# What is to run in the VM, as a script on the one share that can be written there.
write_command() {
  {
    printf 'export PATH=%q HOME=/root NO_COLOR=1\ncd %q || exit\n' "$PATH" "$ROOT"
    printf '%q ' "$@"
    printf '</dev/null 2>&1 | cat\n'
    # shellcheck disable=SC2016 # the VM's bash expands it
    printf 'echo "${PIPESTATUS[0]}" >/results/status\n'
  } >"$scratch/results/command"
}

# Runs the VM until it powers off. What it says goes to standard output and to $scratch/console.
boot() {
  local shares=(-virtfs "$(share / host),readonly=on,multidevs=remap") qemu said status=0
  shares+=(-virtfs "$(share "$CACHE/lib/modules" modules),readonly=on" -virtfs "$(share "$scratch/results" results)")
  mkfifo "$scratch/serial"
  sed -u 's/\r//g' <"$scratch/serial" | tee "$scratch/console" &
  said=$!
  # Emulated even where there is /dev/kvm: one that is offered inside a VM may hang. With icount the VM's clock counts its
  # instructions, so that no deadline passes sooner on a slow or busy machine. If we die timeout ends, and with it qemu.
  setpriv --pdeathsig TERM -- timeout --kill-after=5 "$DEADLINE" setpriv --pdeathsig KILL -- \
    qemu-system-x86_64 -accel tcg,thread=single -icount shift=0 -rtc clock=vm -cpu max -m 2048 \
    -nodefaults -no-user-config -no-reboot -display none -serial stdio "${shares[@]}" \
    -kernel "$CACHE/vmlinuz" -initrd "$CACHE/initrd" -append "console=ttyS0 panic=-1 quiet" \
    </dev/null >"$scratch/serial" 2>&1 &
  qemu=$!
  trap 'exit 143' INT TERM HUP # only wait lets a signal through at once
  wait $qemu || status=$?
  wait $said
  return $status
}

# share <path> <tag>: a comma is doubled for qemu.
share() {
  echo "local,path=${1//,/,,},mount_tag=$2,security_model=none"
}

# The last line counts, also where nothing came back.
judge() {
  local report=$scratch/results/vitest.json
  if [ ! -s "$report" ]; then
    printf '\nkernel-vm: the VM %s and left no report. The end of its console:\n' "$1" >&2
    tail -n 25 "$scratch/console" | sed 's/^/  | /' >&2
    printf '\n0 passed, 1 failed\n'
    return 1
  fi
  [ -z "${KERNEL_VM_REPORT:-}" ] || cp "$report" "$KERNEL_VM_REPORT"
  # shellcheck disable=SC2016
  node -e '
    const { numPassedTests: passed, numFailedTests: failed } = JSON.parse(fs.readFileSync(process.argv[1]));
    const isGood = passed > 0 && failed === 0 && process.argv[2] === "0";
    console.log(`\n${passed} passed, ${isGood ? 0 : Math.max(1, failed)} failed`);
    process.exit(isGood ? 0 : 1);' "$report" "$status"
}

case "${1:-}" in
  -h | --help)
    sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0"
    exit
    ;;
  --prepare) [ $# = 1 ] || stop "--prepare stands alone" ;;
  --) [ $# -gt 1 ] || stop "-- without a command" ;;
esac
have_qemu
have_kernel
[ "${1:-}" != --prepare ] || exit 0

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/results"
if [ "${1:-}" = -- ]; then
  write_command "${@:2}"
else
  write_command vitest run --config scripts/kernel-vm/vitest.config.ts --reporter=verbose --reporter=json \
    --outputFile.json=/results/vitest.json "$@"
fi
boot_status=0 started=$SECONDS
boot || boot_status=$?
status=$(cat "$scratch/results/status" 2>/dev/null || true)
case $boot_status in
  124 | 137) ended="did not end in $DEADLINE seconds" ;;
  0) ended="ended after $((SECONDS - started)) s" ;;
  *) ended="ended with $boot_status" ;;
esac
if [ "${1:-}" != -- ]; then
  judge "$ended"
else
  [ -n "$status" ] || stop "the VM $ended before the command did"
  exit "$status"
fi
