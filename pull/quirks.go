package pull

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ListBy says how the files of a device are listed.
type ListBy string

// The ways to list.
const (
	// ListAuto is the way of the transport: READDIR over SFTP; over SCP a
	// glob, and where that finds nothing on a path such as cf1:/act, the
	// command line.
	ListAuto ListBy = "auto"
	// ListSFTP lists over SFTP, whatever fetches the files.
	ListSFTP ListBy = "sftp"
	// ListSCP lists with a glob over SCP.
	ListSCP ListBy = "scp"
	// ListCLI lists with the command "file dir" of the device. Such a listing
	// has no times that could be compared: a file is known by name and size.
	ListCLI ListBy = "cli"
)

var listings = []ListBy{ListAuto, ListSFTP, ListSCP, ListCLI}

// ParseListBy accepts auto, sftp, scp and cli; "" is ListAuto.
func ParseListBy(s string) (ListBy, error) {
	if l := or(ListBy(s), ListAuto); slices.Contains(listings, l) {
		return l, nil
	}
	return "", fmt.Errorf("listing %s: must be auto, sftp, scp or cli", quote(s))
}

// Quirks are the ways in which a device differs from what the protocols promise.
// The zero value is a device without any.
type Quirks struct {
	// OneRead has one READ at a time on its way over SFTP, and one file open.
	OneRead bool
	// Files is how many files may be open over SFTP, 0: as many as pay off.
	Files int
	// Block is how many bytes one READ of SFTP asks for, 0: 32768.
	Block int
	// Bare leaves -p out of "scp -f": the device does not know it. Its files
	// have no times then.
	Bare bool
	// OnePath gives one path to one scp command.
	OnePath bool
	// NoRefusal knows that scp on the device ends when a file is refused.
	NoRefusal bool
	// Backslash writes paths as cf1:\act, also where cf1:/act was given.
	Backslash bool
	// Listing is how to list unless Target.Listing says; "" is ListAuto.
	Listing ListBy
}

// quirk is one key of Quirks.
type quirk struct {
	name, values, doc string
	set               func(*Quirks, string) error
}

// quirkKeys are all of them: what can be written, documented and read.
var quirkKeys = []quirk{
	{"sftp-reads", "one, many", "`one`: a single READ on its way, of a single open file. For servers that lose track of several.",
		func(q *Quirks, v string) error { return word(v, &q.OneRead, "many", "one") }},
	{"sftp-files", "1–1024", "How many files may be open at once. The default adapts to the round trip, and to a device that refuses.",
		func(q *Quirks, v string) error { return number(v, 1, 1024, &q.Files) }},
	{"sftp-block", "1024–32768", "How many bytes one READ asks for. The default is 32768, and less for a device that gives less.",
		func(q *Quirks, v string) error { return number(v, 1024, sftpBlock, &q.Block) }},
	{"scp-times", "yes, no", "`no`: a bare `scp -f`, without `-p`. Files are known by name and size then.",
		func(q *Quirks, v string) error { return word(v, &q.Bare, "yes", "no") }},
	{"scp-paths", "many, one", "`one`: one path in one `scp` command.",
		func(q *Quirks, v string) error { return word(v, &q.OnePath, "many", "one") }},
	{"scp-refusal", "goes-on, ends", "`ends`: `scp` on the device ends when a file is refused, so a listing reads all files to nowhere. Found out without being told, at the cost of one more listing.",
		func(q *Quirks, v string) error { return word(v, &q.NoRefusal, "goes-on", "ends") }},
	{"path-style", "as-given, backslash", "`backslash`: paths are sent as `cf1:\\act`.",
		func(q *Quirks, v string) error { return word(v, &q.Backslash, "as-given", "backslash") }},
	{"listing", "auto, sftp, scp, cli", "How files are listed, unless `listing` of the device says so.",
		func(q *Quirks, v string) (err error) { q.Listing, err = ParseListBy(v); return err }},
}

// word reads one of two words, of which the second sets a quirk.
func word(v string, to *bool, usual, quirky string) error {
	if v != usual && v != quirky {
		return fmt.Errorf("must be %s or %s", usual, quirky)
	}
	*to = v == quirky
	return nil
}

func number(v string, least, most int, to *int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return fmt.Errorf("must be %d to %d", least, most)
	}
	*to = n
	return nil
}

// quirkProfile is a named set of quirks.
type quirkProfile struct {
	name, doc string
	keys      []string // as ParseQuirks reads them
}

// quirkProfiles are what is known about kinds of devices. Those of vendors follow
// their guides; no such device took part in a test.
var quirkProfiles = []quirkProfile{
	{"openssh", "OpenSSH: nothing special.", nil},
	{"dropbear", "dropbear with the scp of OpenSSH and without an SFTP server: nothing special; `transport: scp` saves a question.", nil},
	{"nokia-7210", "7210 SAS: a command line behind SSH, and scp as one of its commands.",
		[]string{"scp-times=no", "scp-paths=one", "path-style=backslash", "listing=cli"}},
	{"nokia-sros", "SR OS with its SFTP server.", []string{"path-style=backslash"}},
	{"careful", "One thing after the other, in small pieces: to find out which quirk a device has.",
		[]string{"sftp-reads=one", "sftp-files=1", "sftp-block=4096", "scp-times=no", "scp-paths=one"}},
}

// ParseQuirks reads words, each the name of a profile or key=value; later ones
// win. The tables are those of QuirkReference.
func ParseQuirks(words []string) (Quirks, error) {
	var q Quirks
	for _, w := range words {
		if err := q.take(strings.TrimSpace(w)); err != nil {
			return Quirks{}, fmt.Errorf("quirk %s: %w", quote(w), err)
		}
	}
	return q, nil
}

// take reads one word.
func (q *Quirks) take(w string) error {
	key, value, is := strings.Cut(w, "=")
	if is {
		i := slices.IndexFunc(quirkKeys, func(k quirk) bool { return k.name == key })
		if i < 0 {
			return errors.New("there is no such key; possible are " + namesOf(quirkKeys, func(k quirk) string { return k.name }))
		}
		return quirkKeys[i].set(q, value)
	}
	i := slices.IndexFunc(quirkProfiles, func(p quirkProfile) bool { return p.name == w })
	if i < 0 {
		return errors.New("there is no such profile; possible are " + namesOf(quirkProfiles, func(p quirkProfile) string { return p.name }))
	}
	for _, k := range quirkProfiles[i].keys {
		if err := q.take(k); err != nil {
			return err
		}
	}
	return nil
}

func namesOf[T any](all []T, name func(T) string) string {
	var s []string
	for _, v := range all {
		s = append(s, name(v))
	}
	return strings.Join(s, ", ")
}

// QuirkReference returns the tables of quirks and profiles as Markdown.
// docs/service.md contains them, and a test keeps the two alike.
func QuirkReference() string {
	var b strings.Builder
	b.WriteString("| quirk | value | meaning |\n|---|---|---|\n")
	for _, k := range quirkKeys {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.name, k.values, k.doc)
	}
	b.WriteString("\n| profile | for | quirks |\n|---|---|---|\n")
	for _, p := range quirkProfiles {
		keys := "none"
		if len(p.keys) > 0 {
			keys = "`" + strings.Join(p.keys, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.name, p.doc, keys)
	}
	return b.String()
}

// path is a directory as the device wants it.
func (q Quirks) path(dir string) string {
	if q.Backslash && isDevicePath(dir) {
		return strings.ReplaceAll(dir, "/", `\`)
	}
	return dir
}

// apply sets what a transport has to know.
func (q Quirks) apply(tr transport, listing ListBy) {
	switch t := tr.(type) {
	case *sftpTransport:
		t.one = q.OneRead
		t.block = or(q.Block, t.block)
		if t.files = q.Files; q.OneRead {
			t.files = 1
		}
	case *scpTransport:
		t.noTimes = q.Bare || listing == ListCLI
		if q.OnePath {
			t.many = no
		}
		if q.NoRefusal {
			t.refusing = no
		}
	}
}
