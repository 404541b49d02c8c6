#!/usr/bin/env bash
# Tries what needs an NVMe disk, in a virtual machine that has one.
#
#     test/vm/nvme.sh [--install] [--keep]
#
# QEMU boots a Debian cloud kernel (NVMe and ext4 built in) with an initial RAM disk that holds busybox, node and the built
# package, once with logical blocks of 512 bytes and once with 4096. guest.mjs runs in there. All that reaches the disk goes
# through QEMU's log of writes, where flushes.js counts afterwards what the guest caused. Prints PASS and FAIL lines; exit code
# 0: all passed, 1: some failed, 2: something is missing here.
#
# --install gets what is missing with apt-get: QEMU installed, kernel and busybox downloaded and unpacked below build/vm.
# --keep leaves disk, log and console of each run in build/vm.
# TIDEMARK_VM_KERNEL names another kernel. The processor is emulated, so that it works everywhere; one to three minutes a run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package=$(cd "$here/../.." && pwd)
work=$package/build/vm
install=no
keep=no
for word in "$@"; do
  case $word in
    --install) install=yes ;;
    --keep) keep=yes ;;
    *) echo "usage: $0 [--install] [--keep]" >&2; exit 2 ;;
  esac
done

readonly disk_mib=96 filesystem_mib=64 run_seconds_max=600 serial=TIDEMARK-VM

# ---- what it takes --------------------------------------------------------------------------------------------------

install_parts() {
  mkdir -p "$work/debs" "$work/unpacked"
  command -v qemu-system-x86_64 >/dev/null || apt-get install -y -qq --no-install-recommends qemu-system-x86
  local kernel
  kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ { print $2; exit }')
  (cd "$work/debs" && rm -f -- *.deb && apt-get download -qq "$kernel" busybox-static)
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/unpacked"; done
}

[ "$install" = no ] || install_parts
kernel=${TIDEMARK_VM_KERNEL:-$( (find "$work/unpacked/boot" -name 'vmlinuz-*' 2>/dev/null || true) | sort -V | tail -1)}
busybox=$work/unpacked/bin/busybox

missing=0
need() { # what, how to get it, test ...
  local what=$1 remedy=$2
  shift 2
  "$@" >/dev/null 2>&1 && return
  echo "missing: $what ($remedy)"
  missing=1
}
need 'an x86-64 machine' 'the kernel and node are copied into the machine as they are' test "$(uname -m)" = x86_64
need qemu-system-x86_64 'package qemu-system-x86, or --install' command -v qemu-system-x86_64
need 'a kernel' '--install, or TIDEMARK_VM_KERNEL' test -f "$kernel"
need 'busybox, static' --install test -x "$busybox"
need mkfs.ext4 'package e2fsprogs' command -v mkfs.ext4
need 'the built package' 'npm run build' test -f "$package/dist/main/index.js"
need 'the built tests' 'npx tsc -p test' test -f "$package/build/test/vm/flushes.js"
[ $missing = 0 ] || exit 2

# ---- the initial RAM disk -------------------------------------------------------------------------------------------

root=$work/root

with_libraries() { # copies a program to where it lies here, and the shared libraries that it loads
  local file
  for file in "$1" $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
    mkdir -p "$root$(dirname "$file")"
    cp -L "$file" "$root$file"
  done
}

build_root() {
  rm -rf "$root"
  mkdir -p "$root"/{bin,dev,proc,sys,tmp,mnt,etc} "$root/app/node_modules/tidemark"
  cp "$busybox" "$root/bin/busybox"
  for name in sh mount umount poweroff; do ln -s busybox "$root/bin/$name"; done
  local node
  node=$(readlink -f "$(command -v node)")
  with_libraries "$node"
  ln -s "$node" "$root/bin/node"
  cp -r "$package/dist" "$package/package.json" "$root/app/node_modules/tidemark"
  local module
  # The first line is the package itself.
  (cd "$package" && npm ls --omit=dev --all --parseable) | tail -n +2 | while read -r module; do
    local name=${module##*/node_modules/}
    mkdir -p "$root/app/node_modules/$(dirname "$name")"
    cp -rL "$module" "$root/app/node_modules/$name"
  done
  find "$root/app" -name '*.node' -o -name '*.so' | while read -r module; do
    local library
    for library in $(ldd "$module" 2>/dev/null | grep -o '/[^ ]*'); do
      [ -e "$root$library" ] || { mkdir -p "$root$(dirname "$library")"; cp -L "$library" "$root$library"; }
    done
  done
  cp "$here/guest.mjs" "$root/app"
  cat > "$root/init" <<'INIT'
#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
# The console's first line holds what the firmware left there.
echo
# What nobody syncs is left alone, so that only what is tried causes flushes.
mount -t ext4 -o noatime,commit=3600 /dev/nvme0n1 /mnt && node /app/guest.mjs $(busybox grep -o 'guest=[^ ]*' /proc/cmdline | busybox cut -d= -f2 | busybox tr , ' ')
echo "GUEST-EXIT $?"
umount /mnt
poweroff -f
INIT
  chmod +x "$root/init"
  (cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null) > "$work/root.cpio"
}

# ---- a run ----------------------------------------------------------------------------------------------------------

run() { # bytes of a logical block
  local block=$1 dir
  dir=$(mktemp -d "$work/run-$block.XXXXXX")
  truncate -s "${disk_mib}M" "$dir/disk"
  # Complete, or the guest's kernel would go on with it in the background, and flush.
  mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$dir/disk" "${filesystem_mib}M"
  : > "$dir/log"
  # A second disk has an MBR: one Linux partition (type 83h) of 1024 blocks from block 256 on.
  truncate -s 8M "$dir/partitioned"
  printf '\0\0\0\0\203\0\0\0\0\1\0\0\0\4\0\0' | dd of="$dir/partitioned" bs=1 seek=446 conv=notrunc status=none
  printf '\125\252' | dd of="$dir/partitioned" bs=1 seek=510 conv=notrunc status=none
  local started=$SECONDS
  # In front of the disk stands a log of all that reaches it, in the format of dm-log-writes.
  timeout -s KILL "$run_seconds_max" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
    -nodefaults -nographic -no-reboot -serial stdio -kernel "$kernel" -initrd "$work/root.cpio" \
    -append "console=ttyS0 quiet panic=-1 rdinit=/init guest=$block,$((disk_mib * 1024 * 1024)),$serial" \
    -blockdev "driver=file,node-name=disk,filename=$dir/disk" -blockdev "driver=file,node-name=log,filename=$dir/log" \
    -blockdev driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512 \
    -device "nvme,serial=$serial,drive=logged,logical_block_size=$block,physical_block_size=$block" \
    -drive "if=none,id=partitioned,format=raw,file=$dir/partitioned" -device nvme,serial=SECOND,drive=partitioned \
    < /dev/null 2>&1 | tr -d '\r' > "$dir/console" || true
  {
    grep -E '^(PASS|FAIL) ' "$dir/console" || true
    grep -q '^GUEST-EXIT 0$' "$dir/console" && echo 'PASS the guest came to its end' || echo 'FAIL the guest did not come to its end'
    node "$package/build/test/vm/flushes.js" "$dir/log" || echo 'FAIL the log of the disk cannot be read'
  } | sed "s/^\(PASS\|FAIL\) /&$block-byte blocks: /" | tee "$dir/verdict"
  echo "$block-byte blocks: $((SECONDS - started)) s"
  if grep -q '^FAIL' "$dir/verdict"; then
    failed=1
    sed 's/^/    /' "$dir/console"
  fi
  [ "$keep" = yes ] || rm -rf "$dir"
}

build_root
failed=0
for block in 512 4096; do run $block; done
exit $failed
