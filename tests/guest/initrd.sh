#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: BSD-2-Clause
#
# The first process of a guest, until the disk is there (guest.sh, initrd).
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*; do
	$b insmod "$module"
done
tries=0
while [ ! -e /dev/vda ] && [ $tries -lt 200 ]; do
	$b sleep 0.1
	tries=$((tries + 1))
done
$b mount -o rw /dev/vda /root || $b poweroff -f
for fs in dev proc sys; do
	$b mount --move /$fs /root/$fs
done
exec $b switch_root /root /bin/sh /guest/init.sh
