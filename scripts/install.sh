#!/usr/bin/env bash
# install.sh <command>...: makes this checkout run, with these commands on PATH besides. Installs only what is missing:
# Debian packages with apt-get, everything else (Node included) with npm ci into node_modules.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Debian keeps some commands in /usr/sbin, which is not on everybody's PATH.
export PATH="$PATH:/usr/sbin:/sbin"

stop() {
  printf '%s\n' "$@" >&2
  exit 69
}

package_of() {
  case $1 in
    wg) echo wireguard-tools ;;
    ip) echo iproute2 ;;
    nft) echo nftables ;;
    ping) echo iputils-ping ;;
    promtool) echo prometheus ;;
    *) echo "$1" ;; # wireguard-go, conntrack, strace, shellcheck, chromium, nginx
  esac
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >/dev/null
}

# Some packages bring a server, which nobody asked for: it starts neither now (policy-rc.d) nor at the next boot.
install_packages() (
  policy=/usr/sbin/policy-rc.d
  if ! [ -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
  fi
  # The lists of a fresh image are empty or old.
  apt update && apt install -y --no-install-recommends "$@" || exit 1
  for package in "$@"; do
    case $package in prometheus | nginx) ! [ -d /run/systemd/system ] || systemctl -q disable "$package" ;; esac
  done
)

packages=()
for command in "$@"; do
  command -v "$command" >/dev/null || packages+=("$(package_of "$command")")
done
if [ ${#packages[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || stop "missing: ${packages[*]}. This is no Debian: install them with its own package manager."
  [ "$(id -u)" = 0 ] || stop "missing: ${packages[*]}. Run this as root, or: sudo apt-get install ${packages[*]}"
  echo "installing ${packages[*]}"
  install_packages "${packages[@]}" || stop "apt-get could not install ${packages[*]}: see above"
fi

[ "$(uname -s)" = Linux ] || stop "this needs Linux: WireGuard interfaces and network namespaces"
command -v npm >/dev/null || stop "missing: npm. Install Node 20 or newer, with npm."
[ ! -L node_modules ] || stop "node_modules is a link, and npm ci would empty what it points to: rm node_modules"
# npm writes its own lockfile last, so an interrupted or outdated install shows.
if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
  echo "installing the packages of package-lock.json"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null || stop "npm ci failed: see above"
fi
# npm 10 links no command that two packages for different machines share.
[ -e node_modules/.bin/node ] || ln -s ../node-linux-*/bin/node node_modules/.bin/node
version=$(PATH="$PWD/node_modules/.bin:$PATH" node --version)
[ "$(printf '%s\n' v24.12.0 "$version" | sort -V | head -n 1)" = v24.12.0 ] ||
  stop "this needs Node 24.12 or newer and found $version: npm's package for this machine ($(uname -m)) is missing"
