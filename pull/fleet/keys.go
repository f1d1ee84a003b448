package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"acctpull/internal/strictyaml"
	"acctpull/pull"
)

// The keys of the inventory: Load reads by these tables and Reference prints
// them.

type (
	node    = yaml.Node
	decoder = strictyaml.Decoder
)

func upTo(n int) string { return fmt.Sprintf("1–%d", n) }

func span(least, most time.Duration) string {
	return strictyaml.Span(least) + "–" + strictyaml.Span(most)
}

var documentKeys = append([]strictyaml.Key[document]{
	{Name: "data", Type: "directory", Default: "required", Doc: "Archive, ledger and dataset lie below it; made if it does not exist.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.data) }},
	{Name: "ledger", Type: "URL", Default: "`ledger.db` in `data`", Doc: "A PostgreSQL database that several nodes share, without a password: `postgres://acctpull@db.example.net/acctpull`. See [Several nodes](#several-nodes).",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			if !d.Text(k, n, &v.ledger) {
				return false
			}
			if err := checkLedger(v.ledger); err != nil {
				d.Fail(strictyaml.Value, n.Line, k, "%v", err)
				v.ledger = ""
				return false
			}
			return true
		}},
	{Name: "ledger-password-file", Type: "file", Doc: "Its first line is the password of that database; mode 0600.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.ledgerPassword.File) }},
	{Name: "ledger-password-env", Type: "name", Doc: "The environment variable with that password.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.ledgerPassword.Env) }},
	{Name: "ledger-password-credential", Type: "name", Doc: "The systemd credential with that password.",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			return d.Text(k, n, &v.ledgerPassword.Credential)
		}},
	{Name: "node", Type: "name", Limits: "up to 80 bytes", Default: "the host name", Doc: "What this machine is called among the nodes that share a ledger. Every process adds some digits of its own.",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			if !d.Text(k, n, &v.node) {
				return false
			}
			if err := pull.CheckDevice(v.node); err != nil {
				d.Fail(strictyaml.Value, n.Line, k, "%s", strings.Replace(err.Error(), "device name", "name of a node", 1))
				return false
			}
			return true
		}},
	{Name: "devices-at-once", Type: "number", Limits: upTo(MaxAtOnce), Default: fmt.Sprint(DefaultAtOnce), Doc: "How many devices are pulled at the same time. A device never has more than one connection.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Integer(k, n, 1, MaxAtOnce, &v.atOnce) }},
	{Name: "devices-at-once-per-site", Type: "number", Limits: upTo(MaxAtOnce), Default: fmt.Sprint(DefaultPerSite), Doc: "How many of them at one site, whose line they share.",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			return d.Integer(k, n, 1, MaxAtOnce, &v.perSite)
		}},
	{Name: "jump-hosts", Type: "mapping of mappings", Doc: "Hosts that devices are reached through, by the name that `jump` gives them. Each has its own login and its own host key; nothing of `defaults` goes to them but `known-hosts`.",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			return strictyaml.Named(d, "jump host", n, jumpKeys, settings{}, func(name string, s settings, item *node) { v.jumpHosts[name] = jumpHost{s, item} })
		}},
	{Name: "defaults", Type: "mapping", Doc: "Keys of every device that neither it nor one of its groups has.",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			v.defaultsNode = n
			return strictyaml.Decode(d, k, n, &v.defaults, groupKeys) != nil
		}},
	{Name: "groups", Type: "mapping of mappings", Doc: "Keys that several devices share, by the name of the group. Of two groups that give the same key, the one that the device names last wins.",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			return strictyaml.Named(d, "group", n, groupKeys, settings{}, func(name string, _ settings, item *node) { v.groups[name] = item })
		}},
	{Name: "devices", Type: "list", Default: "required", Doc: "The devices.",
		Set: func(d *decoder, _ string, n *node, v *document) bool {
			return strictyaml.Items(d, "device", n, deviceKeys, settings{}, func(s settings, item *node, g strictyaml.Given) {
				v.devices = append(v.devices, entry{s, item, g})
			})
		}},
}, slices.Concat(storeKeys, choreKeys, retentionKeys)...)

// deviceKeys are those that only a device has, and those that a group may have.
var deviceKeys = append([]strictyaml.Key[settings]{
	{Name: "name", Type: "text", Limits: "up to 80 bytes", Default: "the host", Doc: "The name of the device in archive, ledger and dataset. It must never change: under another name everything is fetched again.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.name) }},
	{Name: "host", Type: "host name or address", Default: "the name", Doc: "Where it is, or a `Host` of the ssh configuration.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.host) }},
	{Name: "host-key-alias", Type: "name", Default: "the host", Doc: "The name under which its host key is looked up.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.hostKeyAlias) }},
}, groupKeys...)

var groupKeys = []strictyaml.Key[settings]{
	{Name: "user", Type: "text", Default: "as `ssh` would", Doc: "The login name.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.user) }},
	{Name: "port", Type: "number", Limits: "1–65535", Default: "22, or 21 for FTP", Doc: "The TCP port.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Integer(k, n, 1, 65535, &v.port) }},
	{Name: "path", Type: "directory", Default: "required", Doc: "The directory with the closed files, as the device writes it: `cf1:/act`.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.path) }},
	{Name: "site", Type: "text", Default: "a site of its own", Doc: "Devices of one site share a bound.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.site) }},
	{Name: "groups", Type: "list of names", Doc: "The groups of the device.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Texts(k, n, &v.groups) }},
	{Name: "transport", Type: "word", Limits: "auto, sftp, scp or ftp", Default: "auto", Doc: "How files come. `ftp` sends password and files in clear; `auto` never chooses it.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.transport) }},
	{Name: "listing", Type: "word", Limits: "auto, sftp, scp or cli", Default: "auto", Doc: "How files are listed: as the transport does, over SFTP, with a glob over SCP, or with the command `file dir` of the device.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.listing) }},
	{Name: "quirks", Type: "name, list, or mapping", Doc: "The peculiarities of the device: a profile, a list of profiles and `key=value`, or a mapping of keys; see Quirks.",
		Set: func(d *decoder, k string, n *node, v *settings) bool {
			var words []string
			if n.Kind == yaml.MappingNode {
				for i := 0; i+1 < len(n.Content); i += 2 {
					words = append(words, n.Content[i].Value+"="+n.Content[i+1].Value)
				}
			} else if !d.Texts(k, n, &words) {
				return false
			}
			q, err := pull.ParseQuirks(words)
			if err != nil {
				d.Fail(strictyaml.Value, n.Line, k, "%v", err)
				return false
			}
			v.quirks = q
			return true
		}},
	{Name: "jump", Type: "text", Limits: "[user@]host[:port], several with commas", Default: "as `ssh` would", Doc: "The jump hosts on the way, the first to be connected to first: names of `jump-hosts`, or of the ssh configuration. `none` goes straight.",
		Set: func(d *decoder, k string, n *node, v *settings) bool {
			var text string
			if !d.Text(k, n, &text) {
				return false
			}
			hops, err := pull.ParseJump(text)
			if err != nil {
				d.Fail(strictyaml.Value, n.Line, k, "%v", err)
				return false
			}
			v.jump = hops
			return true
		}},
	{Name: "legacy", Type: "true, false, or a list of names", Default: "false", Doc: "Allow old algorithms: all of them (SHA-1, CBC), or those that are named, as the message about a refused connection names them.",
		Set: func(d *decoder, k string, n *node, v *settings) bool {
			if n.Kind != yaml.SequenceNode {
				all := false
				if !d.Boolean(k, n, &all) {
					return false
				}
				if v.legacy = []string{}; all {
					v.legacy = pull.LegacyAlgorithms()
				}
				return true
			}
			var names []string
			if !d.Texts(k, n, &names) {
				return false
			}
			if err := pull.CheckLegacy(names); err != nil {
				d.Fail(strictyaml.Value, n.Line, k, "%v", err)
				return false
			}
			v.legacy = names
			return true
		}},
	{Name: "identity", Type: "file, or a list of files", Default: "as `ssh` would", Doc: "Private keys. A certificate beside a key, `NAME-cert.pub`, is used.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Texts(k, n, &v.identities) }},
	{Name: "identity-credential", Type: "name, or a list of names", Doc: "Private keys that are systemd credentials (`LoadCredential=`).",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Texts(k, n, &v.identityCredentials) }},
	{Name: "known-hosts", Type: "file, or a list of files", Default: "as `ssh` would", Doc: "The files with the host keys.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Texts(k, n, &v.knownHosts) }},
	{Name: "password-file", Type: "file", Doc: "Its first line is the password; mode 0600.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.password.File) }},
	{Name: "password-env", Type: "name", Doc: "The environment variable with the password.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.password.Env) }},
	{Name: "password-credential", Type: "name", Doc: "The systemd credential with the password (`LoadCredential=`).",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.password.Credential) }},
	{Name: "passphrase-file", Type: "file", Doc: "Its first line decrypts the private keys; mode 0600.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.passphrase.File) }},
	{Name: "passphrase-env", Type: "name", Doc: "The environment variable with that passphrase.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.passphrase.Env) }},
	{Name: "passphrase-credential", Type: "name", Doc: "The systemd credential with that passphrase.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.passphrase.Credential) }},
	{Name: "every", Type: "time", Limits: span(MinEvery, MaxEvery), Default: strictyaml.Span(DefaultEvery), Doc: "The time between two visits. It is shortened where files would expire.",
		Set: func(d *decoder, k string, n *node, v *settings) bool {
			v.cron = nil
			return d.Duration(k, n, MinEvery, MaxEvery, &v.every)
		}},
	{Name: "cron", Type: "five fields", Limits: "UTC", Doc: "A schedule as in crontab instead of `every`: `7-59/15 * * * *`.",
		Set: func(d *decoder, k string, n *node, v *settings) bool {
			var text string
			if !d.Text(k, n, &text) {
				return false
			}
			c, err := ParseCron(text)
			if err != nil {
				d.Fail(strictyaml.Value, n.Line, k, "%v", err)
				return false
			}
			v.cron, v.every = c, 0
			return true
		}},
	{Name: "rollover", Type: "time", Limits: span(5*time.Minute, 10080*time.Minute), Default: "0s", Doc: "The rollover of the device's file-ids; the longest if they differ. With `retention` it gives the time until a file is lost.",
		Set: func(d *decoder, k string, n *node, v *settings) bool {
			return d.Duration(k, n, 5*time.Minute, 10080*time.Minute, &v.rollover)
		}},
	{Name: "retention", Type: "time", Limits: span(time.Hour, 500*time.Hour), Default: "learned, or 12h", Doc: "The retention of the device's file-ids; the shortest if they differ.",
		Set: func(d *decoder, k string, n *node, v *settings) bool {
			return d.Duration(k, n, time.Hour, 500*time.Hour, &v.retention)
		}},
	{Name: "profile", Type: "file", Doc: "What the device's files do not say; see docs/formats/profile.md.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.profile) }},
	{Name: "record", Type: "record name", Doc: "The record of files that give none.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.record) }},
	{Name: "platform", Type: "text", Doc: "The platform that writes the files, such as `7210 SAS`.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.platform) }},
	{Name: "remove-after-export", Type: "true or false", Default: "false", Doc: "Remove files from the device that archive and dataset have durably, at the next visit after their export. Needs `transport: sftp`.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Boolean(k, n, &v.remove) }},
	{Name: "disabled", Type: "true or false", Default: "false", Doc: "Do not visit it. Its archive stays.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Boolean(k, n, &v.disabled) }},
}

// jumpKeys are the keys of a jump host: those of a device that concern the
// connection to it.
var jumpKeys = append([]strictyaml.Key[settings]{
	{Name: "host", Type: "host name or address", Default: "the name", Doc: "Where it is, or a `Host` of the ssh configuration.",
		Set: func(d *decoder, k string, n *node, v *settings) bool { return d.Text(k, n, &v.host) }},
}, keysNamed("host-key-alias", "user", "port", "legacy", "identity", "identity-credential", "known-hosts",
	"password-file", "password-env", "password-credential", "passphrase-file", "passphrase-env", "passphrase-credential")...)

// keysNamed are some of the keys of a device.
func keysNamed(names ...string) []strictyaml.Key[settings] {
	var keys []strictyaml.Key[settings]
	for _, k := range deviceKeys {
		if slices.Contains(names, k.Name) {
			keys = append(keys, k)
		}
	}
	return keys
}

// Reference returns the tables of every key as Markdown. docs/service.md
// contains them, and a test keeps the two alike.
func Reference() string {
	var b strings.Builder
	strictyaml.Table(&b, "The whole", documentKeys)
	strictyaml.Table(&b, "file-ids", fileIDKeys)
	strictyaml.Table(&b, "billing", billingKeys)
	strictyaml.Table(&b, "jump-hosts", jumpKeys)
	strictyaml.Table(&b, "devices", deviceKeys[:len(deviceKeys)-len(groupKeys)])
	strictyaml.Table(&b, "devices, groups and defaults", groupKeys)
	return b.String()
}
