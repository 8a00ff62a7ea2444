#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The first process of a guest: runs /guest/job, whose output goes to the console, and switches off. /tmp is the disk's,
# which qemu forgets: builds may lie below it.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
busybox ifconfig lo 127.0.0.1 up
cd /
echo
echo "@@@ begin $(uname -rm), $(nproc) CPUs"
sh /guest/job 2>&1
echo "@@@ end $?"
busybox poweroff -f
