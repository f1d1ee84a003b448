#!/bin/sh
# deb: "remove" or "upgrade NEW"; rpm: how many versions stay.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now acctpull.service
	fi
	;;
esac
