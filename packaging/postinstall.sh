#!/bin/sh
# Makes the user of the service. Nothing is started: there is no device yet.
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers acctpull.conf
elif ! getent passwd acctpull >/dev/null; then
	useradd --system --user-group --home-dir /var/lib/acctpull --no-create-home --shell /usr/sbin/nologin acctpull
fi
if [ ! -d /var/lib/acctpull ]; then
	install -d -o acctpull -g acctpull -m 0750 /var/lib/acctpull
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# An upgrade of a running service takes effect at once.
	systemctl try-restart acctpull.service
fi
