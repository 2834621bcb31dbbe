#!/usr/bin/env bash
# test.sh [--full]: installs what is missing and runs every ring of tests. All stages run, whatever fails; the last line
# counts. --full lets the random walks of ring 3 go ten times as far.
# shellcheck disable=SC2317 # the stages are called through stage()
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export PATH="$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case "${1:-}" in
  "") ;;
  --full) export FULL=true ;;
  *) sed -nE '2,3s/^# //p' "$0" >&2 && exit 64 ;;
esac

passed=0 failed=0 failures=()

# stage <name> <command>...: counts one test, unless the command writes "<passed> <failed>" to $scratch/count.
stage() {
  local name=$1 start=$SECONDS ok=1 p=1 f=0
  shift
  rm -f "$scratch/count"
  printf '\n=== %s\n' "$name"
  "$@" </dev/null || ok=0
  [ $ok = 1 ] || p=0 f=1
  [ ! -s "$scratch/count" ] || read -r p f <"$scratch/count"
  # A runner that fails without a failed test (a crash, a file that does not load) still counts.
  [ $ok = 1 ] || [ "$f" != 0 ] || f=1
  passed=$((passed + p)) failed=$((failed + f))
  [ $ok = 1 ] || failures+=("$name")
  printf -- '--- %s: %s in %d s\n' "$name" "$([ $ok = 1 ] && echo ok || echo FAILED)" $((SECONDS - start))
}

finish() {
  [ $# = 0 ] || printf '\nFAILED: %s' "$@"
  [ ! -s "$scratch/failed-tests" ] || { printf '\n\n' && cat "$scratch/failed-tests"; }
  printf '\n\n%d passed, %d failed\n' $passed $failed
  [ $failed = 0 ]
  exit
}

shell_scripts() {
  git ls-files -co --exclude-standard -- '*.sh' .ci/run docker scripts | sort -u | while read -r file; do
    [ ! -f "$file" ] || ! head -n 1 "$file" | grep -qE '^#!.*\b(ba)?sh$' || echo "$file"
  done
}

lint_shell() {
  local scripts
  mapfile -t scripts < <(shell_scripts)
  shellcheck -x "${scripts[@]}"
}

type_check() {
  tsc && tsc -p monitoring
}

contract_tests() {
  (cd contracts && forge test) | tee "$scratch/forge"
  local status=${PIPESTATUS[0]}
  sed -nE 's/.* ([0-9]+) tests passed, ([0-9]+) failed.*/\1 \2/p' "$scratch/forge" | tail -n 1 >"$scratch/count"
  return "$status"
}

# Writes the counts, and appends a paragraph per failed test, which finish() repeats: a log is often read from its end.
# shellcheck disable=SC2016
VITEST_REPORT='
  const [from, count, failed] = process.argv.slice(1);
  const report = JSON.parse(fs.readFileSync(from));
  fs.writeFileSync(count, `${report.numPassedTests} ${report.numFailedTests}\n`);
  for (const file of report.testResults) {
    const tests = file.assertionResults.filter(({ status }) => status === "failed");
    const broken = tests.length === 0 && file.status === "failed" ? [{ fullName: "did not load", failureMessages: [file.message] }] : tests;
    for (const { fullName, failureMessages } of broken) {
      const lines = failureMessages.join("\n").split("\n").map((line) => `    ${line.slice(0, 200)}`);
      // The output of a command comes with the error, and says at its end why it failed.
      if (lines.length > 16) lines.splice(6, lines.length - 14, "    […]");
      fs.appendFileSync(failed, [`${path.relative(".", file.name)}: ${fullName}`, ...lines, ""].join("\n"));
    }
  }'

# vitest_run <command that ends in vitest run> [flag...]
vitest_run() {
  rm -f "$scratch/vitest.json"
  "$@" --reporter=default --reporter=json --outputFile.json="$scratch/vitest.json"
  local status=$?
  count_tests || return 1
  return "$status"
}

count_tests() {
  # shellcheck disable=SC2016
  node -e "$VITEST_REPORT" "$scratch/vitest.json" "$scratch/count" "$scratch/failed-tests"
}

# All but what asks nothing of a kernel (a wg that fails) or takes long in emulation, so that it is some five minutes on two
# cores; kernel-vm.sh without an argument runs everything.
kernel_tests() {
  local status=0
  rm -f "$scratch/vitest.json"
  KERNEL_VM_REPORT=$scratch/vitest.json ./scripts/kernel-vm.sh \
    -t '^(?!a wg that does not|what somebody does to the interface|peers come in chunks)' || status=1
  # Without a report the VM did not get to its end.
  [ -s "$scratch/vitest.json" ] || return 1
  count_tests && return "$status"
}

# skip <ring> <why>: loud, and a failure where nobody watches.
skip() {
  printf '\n%s WAS SKIPPED: %s\n' "${1^^}" "$2"
  [ "${CI:-}" != true ] || { failed=$((failed + 1)) && failures+=("$1 was skipped, and CI=true"); }
}

# Without namespaces and a TUN device ring 4 would look as if it had passed.
no_ring_4=$(agent/test/lab/enter.sh --why-not)
needs=(shellcheck promtool wg)
[ -n "$no_ring_4" ] || needs+=(wireguard-go ip nft conntrack ping strace chromium nginx)
stage "install what is missing" ./scripts/install.sh "${needs[@]}"
[ $failed = 0 ] || finish "${failures[@]}"

stage "types" type_check
stage "lint" biome check --error-on-warnings .
stage "shell scripts" lint_shell
stage "contracts" contract_tests
stage "agent, rings 0 to 4" vitest_run vitest run --project "rings 0-3" --project "ring 4"
[ -z "$no_ring_4" ] || skip "ring 4 (end to end)" "$no_ring_4"
printf "\n=== a Docker engine for ring 5, installed and started where there is none\n"
if no_ring_5=$(./scripts/docker-engine.sh with true 2>&1); then
  stage "containers, ring 5" vitest_run ./scripts/docker-engine.sh with vitest run --project "ring 5"
else
  skip "ring 5 (containers)" "$no_ring_5"
fi
printf "\n=== a kernel with WireGuard and an emulated machine for ring 6, fetched where there is none\n"
if no_ring_6=$(./scripts/kernel-vm.sh --prepare 2>&1); then
  stage "kernel WireGuard, ring 6" kernel_tests
else
  skip "ring 6 (kernel WireGuard)" "$no_ring_6"
fi
finish ${failures[@]+"${failures[@]}"}
