package coverage

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CertificateFormat is the first field of every certificate.
const CertificateFormat = "acctpull certificate 1"

// Certificate says what was expected of devices in a month, what was received,
// and what became of the rest. The same facts give the same bytes. See
// docs/formats/certificate.md.
type Certificate struct {
	Format string `json:"format"`
	// Month is the month, "2026-10", in UTC; From and To bound it.
	Month string    `json:"month"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	// Totals are those of all devices.
	Totals  CertificateTotals   `json:"totals"`
	Devices []CertificateDevice `json:"devices"`
	// Digest is "sha256:" and the hex SHA-256 of all bytes in front of the
	// line it stands on.
	Digest string `json:"digest"`
}

// CertificateTotals are numbers of collection intervals, and of files.
type CertificateTotals struct {
	Expected  int `json:"intervals_expected"`
	Received  int `json:"intervals_received"`
	Waiting   int `json:"intervals_waiting"`
	Gaps      int `json:"intervals_gaps"`
	Idle      int `json:"intervals_idle"`
	Open      int `json:"intervals_open"`
	Late      int `json:"of_received_late"`
	Duplicate int `json:"of_received_duplicate"`
	Overlap   int `json:"of_received_overlapping"`
	Truncated int `json:"of_gaps_truncated"`
	Corrupt   int `json:"of_gaps_corrupt"`
	Missing   int `json:"of_gaps_missing"`
	Lost      int `json:"of_gaps_lost"`
	Files     int `json:"files"`
}

// add adds a stream.
func (t *CertificateTotals) add(s Totals) {
	t.Expected += s.Sum(Verdict.Expected)
	t.Received += s.Sum(Verdict.Received)
	t.Gaps += s.Sum(Verdict.Gap)
	for v, n := range map[Verdict]*int{Waiting: &t.Waiting, Idle: &t.Idle, Open: &t.Open, Late: &t.Late, Duplicate: &t.Duplicate,
		Overlapping: &t.Overlap, Truncated: &t.Truncated, Corrupt: &t.Corrupt, Missing: &t.Missing, Lost: &t.Lost} {
		*n += s[v]
	}
}

// plus adds the totals of a part.
func (t *CertificateTotals) plus(p CertificateTotals) {
	for _, n := range [...]struct {
		to   *int
		from int
	}{{&t.Expected, p.Expected}, {&t.Received, p.Received}, {&t.Waiting, p.Waiting}, {&t.Gaps, p.Gaps}, {&t.Idle, p.Idle},
		{&t.Open, p.Open}, {&t.Late, p.Late}, {&t.Duplicate, p.Duplicate}, {&t.Overlap, p.Overlap}, {&t.Truncated, p.Truncated},
		{&t.Corrupt, p.Corrupt}, {&t.Missing, p.Missing}, {&t.Lost, p.Lost}, {&t.Files, p.Files}} {
		*n.to += n.from
	}
}

// CertificateDevice is one device in a certificate.
type CertificateDevice struct {
	Device string `json:"device"`
	// AsOf is the moment of the judgement.
	AsOf time.Time `json:"as_of"`
	// Rollover, Life and Delay are those that the verdicts go by, in
	// seconds; Rollover and Life are 0 if they were not configured.
	Rollover int64               `json:"rollover_s"`
	Life     int64               `json:"life_s"`
	Delay    int64               `json:"delay_s"`
	Totals   CertificateTotals   `json:"totals"`
	Policies []CertificatePolicy `json:"policies"`
	// Files are all that hold records of the month, or should.
	Files []CertificateFile `json:"files"`
}

// CertificatePolicy is one accounting policy in a certificate.
type CertificatePolicy struct {
	Policy   int     `json:"policy"`
	FileIDs  []int   `json:"file_ids"`
	Record   string  `json:"record"`
	Interval float64 `json:"interval_s"`
	Totals   Counts  `json:"intervals"`
	// Runs are all that is not simply present.
	Runs []Run `json:"runs"`
}

// Counts are the intervals by verdict; verdicts without one are left out.
type Counts map[string]int

// CertificateFile is one file in a certificate.
type CertificateFile struct {
	Name   string `json:"name"`
	State  string `json:"state"` // here, waiting, quarantined, gone
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	// Stored is where it lies below the data directory.
	Stored  string    `json:"stored,omitempty"`
	AliasOf string    `json:"alias_of,omitempty"`
	Listed  time.Time `json:"listed"`
}

var fileStates = [...]string{"here", "waiting", "quarantined", "gone"}

// LastTry is when a device was visited last, well or not; zero if it never was.
func (d *Device) LastTry() time.Time {
	w := newWatch(*d)
	return w.tried
}

// settled is how long after the end of a month its judgement still changes with
// every visit: what arrives later is late, and no visit can say more.
const settled = 7 * 24 * time.Hour

// Certify makes the part of a certificate about one device. The judgement is as
// of its last visit, and a week after the end of the month at the latest.
func Certify(d Device, from, to time.Time, delay time.Duration) CertificateDevice {
	w := Window{From: from, To: to, AsOf: earlier(d.LastTry(), to.Add(settled)), Delay: delay}
	c := CertificateDevice{Device: d.Name, AsOf: w.AsOf.UTC(), Rollover: int64(d.Rollover / time.Second), Life: int64(d.Life / time.Second), Delay: int64(cmp.Or(delay, DefaultDelay) / time.Second),
		Policies: []CertificatePolicy{}, Files: []CertificateFile{}}
	for _, s := range Judge(d, w) {
		p := CertificatePolicy{Policy: s.Policy, FileIDs: s.FileIDs, Record: s.Record, Interval: s.Interval.Seconds(), Totals: Counts{}, Runs: []Run{}}
		totals := s.Totals()
		for v, n := range totals {
			if n > 0 {
				p.Totals[Verdict(v).String()] = n
			}
		}
		for _, r := range s.Runs {
			if r.Verdict != Present {
				r.From, r.To = r.From.UTC(), r.To.UTC()
				p.Runs = append(p.Runs, r)
			}
		}
		c.Totals.add(totals)
		c.Policies = append(c.Policies, p)
	}
	for i := range d.Files {
		if f := &d.Files[i]; f.touches(from, to) {
			c.Files = append(c.Files, CertificateFile{f.Name.String(), fileStates[f.State], f.Size, f.SHA256, f.Stored, f.AliasOf, f.First.UTC()})
		}
	}
	slices.SortFunc(c.Files, func(a, b CertificateFile) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Listed.Compare(b.Listed), cmp.Compare(a.Size, b.Size), cmp.Compare(a.SHA256, b.SHA256))
	})
	c.Totals.Files = len(c.Files)
	return c
}

// touches reports whether a file has collections in a time, or, where nobody has
// read it, whether it was closed in it.
func (f *File) touches(from, to time.Time) bool {
	for _, s := range f.Spans {
		if s.End.After(from) && !s.End.After(to) {
			return true
		}
	}
	at := f.Closed
	if at.IsZero() {
		at, _ = f.Name.Time(time.UTC)
	}
	return len(f.Spans) == 0 && at.After(from) && !at.After(to)
}

// NewCertificate puts the parts of a month together, by device.
func NewCertificate(from, to time.Time, devices []CertificateDevice) *Certificate {
	c := &Certificate{Format: CertificateFormat, Month: from.UTC().Format("2006-01"), From: from.UTC(), To: to.UTC(), Devices: slices.Clone(devices)}
	slices.SortFunc(c.Devices, func(a, b CertificateDevice) int { return strings.Compare(a.Device, b.Device) })
	for _, d := range c.Devices {
		c.Totals.plus(d.Totals)
	}
	return c
}

// digestLine begins the line with the digest.
const digestLine = "  \"digest\": "

// Bytes writes the certificate with its digest: indented JSON, one field a line.
func (c *Certificate) Bytes() ([]byte, error) {
	one := *c
	one.Digest = ""
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(one); err != nil {
		return nil, fmt.Errorf("write certificate: %w", err)
	}
	text := b.Bytes()
	at := bytes.LastIndex(text, []byte("\n"+digestLine)) + 1
	return fmt.Appendf(text[:at:at], "%s%q\n}\n", digestLine, digestOf(text[:at])), nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ErrForged: the certificate is not as it was written.
var ErrForged = errors.New("the certificate was changed after it was written")

// ParseCertificate reads a certificate and checks that it is as it was written:
// its digest, and that its numbers add up. What the archive holds is another
// question; see Compare.
func ParseCertificate(text []byte) (*Certificate, error) {
	at := bytes.LastIndex(text, []byte("\n"+digestLine)) + 1
	if at == 0 {
		return nil, errors.New("read certificate: it has no line with a digest")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var c Certificate
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	if c.Format != CertificateFormat {
		return nil, fmt.Errorf("read certificate: its format is %q, not %q", bounded(c.Format), CertificateFormat)
	}
	if c.Digest != digestOf(text[:at]) {
		return nil, fmt.Errorf("read certificate: %w: its digest is another one", ErrForged)
	}
	var sum CertificateTotals
	for _, d := range c.Devices {
		sum.plus(d.Totals)
		if d.Totals.Files != len(d.Files) {
			return nil, fmt.Errorf("read certificate: %w: device %q has %d files, not %d", ErrForged, bounded(d.Device), len(d.Files), d.Totals.Files)
		}
	}
	if t := c.Totals; sum != t || t.Expected != t.Received+t.Waiting+t.Gaps || t.Gaps != t.Truncated+t.Corrupt+t.Missing+t.Lost {
		return nil, fmt.Errorf("read certificate: %w: its numbers do not add up", ErrForged)
	}
	return &c, nil
}

// bounded cuts text for an error.
func bounded(s string) string {
	if len(s) > 256 {
		return s[:256] + "…"
	}
	return s
}
