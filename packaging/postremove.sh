#!/bin/sh
# What was fetched is somebody's bill: archive, ledger and dataset stay, also when
# the package is purged.
set -e
case "$1" in
purge | 0)
	if [ -d /var/lib/acctpull ] && [ -n "$(ls -A /var/lib/acctpull)" ]; then
		echo "acctpull: what was fetched stays in /var/lib/acctpull" >&2
	fi
	;;
esac
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
