# shellcheck shell=bash
# What kernel-vm.sh runs: qemu, and in $CACHE the kernel's vmlinuz, its modules and the initrd that boots this machine's files.

readonly PACKAGE=${KERNEL_PACKAGE:-linux-image-amd64}
readonly CACHE=$ROOT/node_modules/.cache/kernel-vm/$PACKAGE

have_qemu() {
  [ "$(uname -sm)" = "Linux x86_64" ] || stop "it is not built for $(uname -sm): it runs this machine's programs on an x86-64 kernel"
  command -v qemu-system-x86_64 >/dev/null && return
  command -v apt-get >/dev/null || stop "missing: qemu-system-x86_64. This is no Debian: install it with its own package manager."
  [ "$(id -u)" = 0 ] || stop "missing: qemu-system-x86. Run this as root, or: sudo apt-get install qemu-system-x86"
  echo "installing qemu-system-x86" >&2
  local install=(install -y --no-install-recommends qemu-system-x86)
  apt "${install[@]}" 2>/dev/null || { apt update && apt "${install[@]}"; } ||
    stop "apt-get could not install qemu-system-x86: see above"
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >/dev/null
}

have_kernel() {
  if ! [ -d "$CACHE" ]; then
    command -v apt-get >/dev/null || stop "missing: apt-get, which brings the kernel. This is no Debian."
    unpacking=$CACHE.$$
    trap 'rm -rf "$unpacking"' EXIT
    mkdir -p "$unpacking/deb"
    download || stop "apt-get could not download $PACKAGE and busybox-static: see above"
    unpack "$unpacking" || stop "$PACKAGE and busybox-static have not what is needed: see above"
    # Last, so that what is in $CACHE is whole. Somebody else may have been faster.
    mv -T "$unpacking" "$CACHE" 2>/dev/null || [ -d "$CACHE" ]
    rm -rf "$unpacking"
  fi
  # Written anew each time, because init may have changed.
  initrd "$CACHE" "$(cat "$CACHE/version")"
}

download() {
  local kernel
  kernel=$(kernel_package)
  if [ -z "$kernel" ] || ! fetch "$kernel" busybox-static 2>/dev/null; then
    # The lists of a fresh image are empty or old.
    [ "$(id -u)" != 0 ] || apt update
    kernel=$(kernel_package)
    [ -n "$kernel" ] && fetch "$kernel" busybox-static
  fi
}

# What a name without a version stands for today.
kernel_package() {
  case $PACKAGE in
    linux-image-[0-9]*) echo "$PACKAGE" ;;
    *) apt-cache depends --important "$PACKAGE" | sed -nE 's/^ *Depends: (linux-image-[0-9].*)/\1/p' | head -n 1 ;;
  esac
}

# As root apt-get would warn that its own user cannot write here, which it then does without.
fetch() {
  (cd "$unpacking/deb" && apt -o APT::Sandbox::User=root download "$@")
}

# Of the 400 MB of modules, what finds the files and all that networking may ask for.
KEPT=(arch/x86/crypto crypto lib net fs/9p fs/fscache fs/netfs fs/overlayfs drivers/virtio)
KEPT+=(drivers/net/wireguard drivers/net/tun.ko drivers/net/veth.ko drivers/net/dummy.ko)

# unpack <folder>: with the packages in <folder>/deb
unpack() {
  local to=$1 part version
  mkdir "$to/all"
  for part in "$to"/deb/*.deb; do dpkg-deb --fsys-tarfile "$part" | tar -x -C "$to/all" || return; done
  [ -d "$to/all/lib" ] || ln -s usr/lib "$to/all/lib"
  version=$(ls "$to/all/lib/modules")
  mkdir -p "$to/lib/modules/$version"
  mv "$to/all/boot/vmlinuz-$version" "$to/vmlinuz" && mv "$to/all/bin/busybox" "$to/busybox" || return
  (
    cd "$to/all/lib/modules/$version" || exit
    shopt -s nullglob
    for part in "${KEPT[@]}"; do cp -r --parents "kernel/$part"* "$to/lib/modules/$version" || exit; done
    cp modules.order modules.builtin* "$to/lib/modules/$version"
  ) || return
  find "$to/lib/modules" -name '*.ko.xz' -exec "$to/busybox" unxz {} + || return
  "$to/busybox" depmod -b "$to" "$version" || return
  echo "$version" >"$to/version"
  rm -rf "$to/all" "$to/deb"
}

# initrd <folder> <version>: init, busybox and the modules that it takes to reach this machine's files
initrd() (
  set -e
  cd "$1"
  draft=$(mktemp -d)
  trap 'rm -rf "$draft"' EXIT
  mkdir -p "$draft"/{bin,dev,host,lib/modules/"$2",proc,root,rw,sys}
  cp busybox "$draft/bin/busybox"
  cp "$ROOT/scripts/kernel-vm/init" "$draft/init"
  cd "lib/modules/$2"
  # Each line of modules.dep is a module, and all that it needs.
  sed -nE 's/:/ /; /^[^ ]*\/(virtio_pci|9pnet_virtio|9p|overlay)\.ko /p' modules.dep | xargs -n 1 | sort -u |
    xargs cp --parents --target-directory="$draft/lib/modules/$2"
  cd "$1"
  ./busybox depmod -b "$draft" "$2"
  (cd "$draft" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null) >"initrd.$$"
  mv "initrd.$$" initrd
)
