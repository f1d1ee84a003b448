package fleet

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"acctpull/pull"
)

const good = `
data: /srv/acct
devices-at-once: 16
devices-at-once-per-site: 2
defaults:
  user: puller
  path: cf1:/act
  known-hosts: /etc/acctpull/known_hosts
  identity: [/etc/acctpull/id_a, /etc/acctpull/id_b]
  every: 10m
groups:
  old:
    legacy: true
    transport: scp
    retention: 4h
  north: {site: north, retention: 12h}
  quiet:
devices:
  - name: edge-1
    host: 192.0.2.1
    groups: [old, north]
  - host: edge-2
    port: 2022
    user: root
    groups: north
    cron: 0 * * * *
    password-file: /etc/acctpull/edge-2
  - {name: edge-3, host: 192.0.2.3, disabled: true}
`

func TestLoad(t *testing.T) {
	inv, err := Load([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if inv.Data != "/srv/acct" || inv.AtOnce != 16 || inv.PerSite != 2 || len(inv.Devices) != 2 || strings.Join(inv.Groups, " ") != "north old quiet" {
		t.Fatalf("%+v", inv)
	}
	a, b := inv.Devices[0], inv.Devices[1]
	if a.Name != "edge-1" || a.Target.Host != "192.0.2.1" || a.Target.User != "puller" || a.Target.Transport != pull.SCP || a.Target.Legacy == nil ||
		a.Site != "north" || a.Retention != 12*time.Hour || a.Every != 10*time.Minute || len(a.Target.Identities) != 2 || a.Target.Path != "cf1:/act" {
		t.Errorf("%+v", a)
	}
	if b.Name != "edge-2" || b.Target.Host != "edge-2" || b.Target.Port != 2022 || b.Target.User != "root" || b.Target.Legacy != nil ||
		b.Cron == nil || b.Every != 0 || b.Target.Password.File != "/etc/acctpull/edge-2" || b.Target.Device != "edge-2" {
		t.Errorf("%+v", b)
	}
	for _, tc := range []struct{ names, want string }{
		{"", "edge-1 edge-2"}, {"edge-2", "edge-2"}, {"north", "edge-1 edge-2"}, {"old", "edge-1"}, {"quiet", ""}, {"old edge-2", "edge-1 edge-2"},
	} {
		got, err := inv.Select(strings.Fields(tc.names))
		var names []string
		for _, d := range got {
			names = append(names, d.Name)
		}
		if err != nil || strings.Join(names, " ") != tc.want {
			t.Errorf("%q selects %v, %v", tc.names, names, err)
		}
	}
	if _, err := inv.Select([]string{"edge-1", "edge-9", "nord"}); err == nil || !strings.Contains(err.Error(), `"edge-9", "nord"`) {
		t.Errorf("%v", err)
	}
}

// How a device is reached: the jump hosts have their own logins.
func TestLoadJump(t *testing.T) {
	inv, err := Load([]byte(`
data: /d
jump-hosts:
  gate:
    host: gate.example.net
    port: 2022
    user: relay
    identity-credential: gate-key
    passphrase-credential: gate-phrase
    known-hosts: /etc/acctpull/gate
    legacy: [ssh-rsa]
  inner: {password-credential: inner-password}
defaults: {path: /act, jump: gate, user: puller, password-credential: p, identity-credential: [k1, k2]}
groups:
  near: {jump: none, legacy: false}
devices:
  - {host: a, legacy: [hmac-sha1-96, aes128-cbc]}
  - {host: b, groups: near}
  - {host: c, jump: "me@gate,inner,other:24"}
  - {name: a2, host: a, jump: inner, quirks: [nokia-7210, scp-paths=many], listing: scp}
  - {host: d, quirks: {sftp-block: 4096, sftp-reads: one}}
  - {host: e, quirks: careful}
`))
	if err != nil {
		t.Fatal(err)
	}
	a, a2, b, c := inv.Devices[0].Target, inv.Devices[1].Target, inv.Devices[2].Target, inv.Devices[3].Target
	if pull.JumpWords(a.Jump) != "relay@gate.example.net:2022" || a.Password.Credential != "p" || strings.Join(a.IdentityCredentials, " ") != "k1 k2" ||
		strings.Join(a.Legacy, " ") != "hmac-sha1-96 aes128-cbc" {
		t.Errorf("%+v", a)
	}
	gate := a.Jump[0]
	if gate.IdentityCredentials[0] != "gate-key" || gate.Passphrase.Credential != "gate-phrase" || gate.KnownHosts[0] != "/etc/acctpull/gate" ||
		gate.Legacy[0] != "ssh-rsa" || gate.Password != (pull.Secret{}) {
		t.Errorf("%+v", gate)
	}
	if b.Jump == nil || len(b.Jump) != 0 || len(b.Legacy) != 0 {
		t.Errorf("%+v", b)
	}
	if pull.JumpWords(c.Jump) != "me@gate.example.net:2022,inner,other:24" || c.Jump[1].Password.Credential != "inner-password" {
		t.Errorf("%+v", c)
	}
	if d, e := inv.Devices[4].Target.Quirks, inv.Devices[5].Target.Quirks; d != (pull.Quirks{Block: 4096, OneRead: true}) || !e.OnePath {
		t.Errorf("%+v %+v", d, e)
	}
	if pull.JumpWords(a2.Jump) != "inner" || a2.Quirks != (pull.Quirks{Bare: true, Backslash: true, Listing: pull.ListCLI}) || a2.Listing != pull.ListSCP {
		t.Errorf("%+v", a2)
	}
}

// Every mistake is reported, with its line.
func TestLoadMistakes(t *testing.T) {
	const head = "data: /d\ndefaults: {path: /act}\n"
	for _, tc := range []struct{ text, want string }{
		{"", "data: it is not given|devices: there is none"},
		{"data: /d\ndevices: []\n", "devices: there is none"},
		{head + "devices: [{host: a}, {host: a}]\n", "line 3: device a: it stands in line 3 already"},
		{head + "devices:\n- {name: a, host: h}\n- {name: b, host: h}\n", "line 5: device b: the device in line 4 has the same host, port and path"},
		{head + "devices: [{host: a, groups: [x, y]}]\n", `there is no group "x"|there is no group "y"`},
		{head + "groups: {a: {}}\ndevices: [{host: a}]\n", "a group has the same name"},
		{head + "devices: [{host: a, every: 30s}]\n", "line 3: every: 30s is outside 1m–7d"},
		{head + "devices: [{host: a, every: 1h, cron: 0 * * * *}]\n", "every and cron are both given"},
		{head + "devices: [{host: a, cron: sometimes}]\n", `schedule "sometimes"`},
		{head + "devices: [{host: a, every: 12h, retention: 8h, rollover: 1h}]\n", "visited every 12h, and its files live 7h"},
		{head + "devices: [{host: a, transport: tftp}]\n", "transport"},
		{head + "devices: [{host: a, transport: scp, remove-after-export: true}]\n", "cannot remove a file"},
		{head + "devices: [{host: a, remove-after-export: true}]\n", "transport: sftp"},
		{head + "devices: [{host: a, password-file: p, password-env: P}]\n", "only one of a file, an environment variable and a credential"},
		{head + "devices: [{host: a, password-credential: ../p}]\n", `credential "../p": not a name`},
		{head + "devices: [{host: a, jump: 'a,,b'}]\n", "line 3: jump: jump host \"\": empty host name"},
		{head + "devices: [{host: a, legacy: [hmac-md5, aes256-cbc, arcfour, aes128-ctr, aes128-cbc]}]\n",
			`line 3: legacy: legacy algorithm "hmac-md5" is not in the SSH library, "aes256-cbc" is not in the SSH library, "arcfour" is never used, "aes128-ctr" is current and always offered`},
		{head + "devices: [{host: a, listing: ftp}]\n", "listing \"ftp\": must be auto, sftp, scp or cli"},
		{head + "devices: [{host: a, quirks: {sftp-block: 1}}]\n", "must be 1024 to 32768"},
		{head + "devices: [{host: a, quirks: nokia}]\n", "there is no such profile; possible are openssh"},
		{head + "devices: [{host: a, legacy: perhaps}]\n", "legacy"},
		{head + "jump-hosts: {j: {user: 'a:b', password-env: A, password-file: B}}\ndevices: [{host: a}]\n", "line 3: jump host j: user name|line 3: jump host j: only one of"},
		{head + "jump-hosts: {j: {path: /act}}\ndevices: [{host: a}]\n", "there is no key \"path\""},
		{head + "devices: [{host: 'a b'}]\n", "line 3: device a b: "},
		{"data: /d\ndevices: [{host: a}]\n", "line 2: device a: "}, // no path
		{head + "devices: [{host: a, port: 0, colour: red, port: 3}]\n", "0 is outside 1–65535|there is no key \"colour\"|the key port stands in line 3 already"},
		{head + "groups: {g: {every: x}, g: {}}\ndevices: [{host: a}]\n", `"x" is not a time|the name "g" stands in line 3 already`},
		{head + "devices-at-once: 0\ndevices: [{host: a}]\n", "0 is outside 1–4096"},
		{"data: [\n", "this is not YAML"},
		{"data: /d\n---\ndata: /e\n", "there is a second document"},
		{"&a {}\n", "anchors and aliases"},
	} {
		_, err := Load([]byte(tc.text))
		if err == nil {
			t.Errorf("taken:\n%s", tc.text)
			continue
		}
		for want := range strings.SplitSeq(tc.want, "|") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in:\n%v\nof\n%s", want, err, tc.text)
			}
		}
	}
}

func TestReferenceIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/service.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), strings.TrimSpace(Reference())) {
		t.Errorf("docs/service.md does not hold the tables of the keys as they are; they are:\n%s", Reference())
	}
}

func FuzzInventory(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("devices: [{host: a, groups: {b: c}}]"))
	f.Add([]byte("groups: {a: {groups: [a]}}\ndevices: [a, [], {}, ~]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := Load(data)
		if (inv == nil) == (err == nil) {
			t.Fatalf("%v %v", inv, err)
		}
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without a word")
			}
			return
		}
		for _, d := range inv.Devices {
			if d.Name == "" || d.period() <= 0 || d.Life() <= 0 {
				t.Fatalf("%+v", d)
			}
			s := State{Tried: day, Good: day}
			if due := d.Due(s); !due.After(day) {
				t.Fatalf("%+v is due at %v", d, due)
			}
		}
	})
}

func TestLoadFileIDs(t *testing.T) {
	const devices = "devices: [{host: a, path: /act}]\n"
	inv, err := Load([]byte("data: /d\n" + devices))
	if err != nil || inv.FileIDs != nil || inv.Billing != (Billing{ClosesAfter: DefaultClosesAfter, Location: time.UTC}) {
		t.Fatalf("%+v %v", inv, err)
	}
	inv, err = Load([]byte("data: /d\n" + `
file-ids:
  - {file-id: 1, location: archive, retention: 90d}
  - {file-id: 2, location: dataset, retention: 800d, description: for the bills}
  - {file-id: 3, location: dataset, retention: 3650d, records: [service-ingress-octets-usage]}
  - {file-id: 4, location: archive, retention: 400d, groups: core, records: [saa, service-egress-octets]}
billing: {closes-after: 12h, time-zone: Europe/Berlin, keep-proof: 400d}
groups: {core: {}}
` + devices))
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	want := []FileID{
		{ID: 1, Location: "archive", Retention: 90 * day},
		{ID: 2, Location: "dataset", Retention: 800 * day, Description: "for the bills"},
		{ID: 3, Location: "dataset", Retention: 3650 * day, Records: []string{"service-ingress-octets-usage"}},
		{ID: 4, Location: "archive", Retention: 400 * day, Groups: []string{"core"}, Records: []string{"saa", "service-egress-octets"}},
	}
	for i, f := range inv.FileIDs {
		want[i].Line = 4 + i
		if fmt.Sprintf("%+v", f) != fmt.Sprintf("%+v", want[i]) {
			t.Errorf("%+v, want %+v", f, want[i])
		}
	}
	if b := inv.Billing; b.ClosesAfter != 12*time.Hour || b.Location.String() != "Europe/Berlin" || b.KeepProof != 400*day {
		t.Errorf("%+v", b)
	}
	for text, want := range map[string]string{
		"file-ids: [{file-id: 0, location: tape, retention: 1h, groups: x}]\n": "line 2: file-id: 0 is outside 1–99|location: \"tape\" is neither|retention: 1h is outside 1d–36500d|there is no group \"x\"",
		"file-ids: [{}]\n": "line 2: file-id: file-id is not given|location is not given|retention is not given",
		"file-ids:\n- {file-id: 1, location: archive, retention: 1d}\n- {file-id: 1, location: archive, retention: 1d}\n": "line 4: file-id 1: it stands in line 3 already|line 4: file-id 1: the one in line 3 holds for everything of the archive",
		"file-ids: [{file-id: 1, location: dataset, retention: 1d, groups: [], records: ['']}]\n":                         "a record without a name",
		"groups: {g: {}}\nfile-ids: [{file-id: 1, location: dataset, retention: 1d, groups: g}]\n":                        "groups are for the archive",
		"billing: {closes-after: 1m, time-zone: Mars/Base, keep-proof: 1h, colour: red}\n":                                "1m is outside 1h–366d|there is no time zone \"Mars/Base\"|1h is outside 1d|no key \"colour\"",
		"billing: {time-zone: Local}\n": "no time zone \"Local\"",
	} {
		_, err := Load([]byte("data: /d\n" + text + devices))
		for want := range strings.SplitSeq(want, "|") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in:\n%v\nof\n%s", want, err, text)
			}
		}
	}
}
