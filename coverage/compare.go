package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Difference is where a certificate and the present disagree.
type Difference struct {
	Device string `json:"device"`
	File   string `json:"file,omitempty"`
	What   string `json:"what"`
}

// Compare says what of a certificate does not hold any more, given what a
// certificate of the same month would say now. What came since is no
// disagreement; see Since.
func (c *Certificate) Compare(now *Certificate) []Difference {
	var all []Difference
	for _, d := range c.Devices {
		n, ok := now.device(d.Device)
		if !ok {
			all = append(all, Difference{d.Device, "", "nothing is known of the device"})
			continue
		}
		type content struct{ name, sum string }
		have := map[content]CertificateFile{}
		for _, f := range n.Files {
			have[content{f.Name, f.SHA256}] = f
		}
		for _, f := range d.Files {
			if f.State != fileStates[Here] {
				continue
			}
			if g, ok := have[content{f.Name, f.SHA256}]; !ok || g.State != f.State || g.Size != f.Size {
				all = append(all, Difference{d.Device, f.Name, "the file with the digest " + f.SHA256 + " is not here"})
			}
		}
		before := len(all)
		for _, t := range d.turns(n) {
			if !t.since(d.AsOf, n.AsOf) {
				all = append(all, Difference{d.Device, "", t.String()})
			}
		}
		if n.Totals.Received < d.Totals.Received && len(all) == before {
			all = append(all, Difference{d.Device, "", fmt.Sprintf("%d intervals are here, not %d", n.Totals.Received, d.Totals.Received)})
		}
	}
	return all
}

// Since says which verdicts changed after the certificate was written without
// making it wrong: what was missing may arrive, and a later visit tells more.
func (c *Certificate) Since(now *Certificate) []Difference {
	var all []Difference
	for _, d := range c.Devices {
		n, ok := now.device(d.Device)
		if !ok {
			continue
		}
		for _, t := range d.turns(n) {
			if t.since(d.AsOf, n.AsOf) {
				all = append(all, Difference{d.Device, "", t.String()})
			}
		}
	}
	return all
}

// device returns the part about a device.
func (c *Certificate) device(name string) (CertificateDevice, bool) {
	i := slices.IndexFunc(c.Devices, func(d CertificateDevice) bool { return d.Device == name })
	if i < 0 {
		return CertificateDevice{}, false
	}
	return c.Devices[i], true
}

// turn is a time of a policy whose verdict is another one now.
type turn struct {
	policy   int
	from, to time.Time
	was, is  Verdict
}

// since reports whether what came since explains a turn between two judgements:
// nothing that was here goes, but what lies after the first was not judged by
// it; and of the same moment no visit says more.
func (t turn) since(was, is time.Time) bool {
	switch {
	case t.is.Received():
		return true
	case t.was.Received():
		return t.to.After(was) && !is.Equal(was)
	}
	return !is.Equal(was)
}

func (t turn) String() string {
	return fmt.Sprintf("policy %d from %s to %s was %s, and is %s", t.policy, t.from.Format(time.RFC3339), t.to.Format(time.RFC3339), here(t.was), here(t.is))
}

// here names a verdict; runs do not tell the two apart that they leave out.
func here(v Verdict) string {
	if v == Present {
		return "present or not judged"
	}
	return v.String()
}

// turns compares the verdicts of all policies of a device.
func (d *CertificateDevice) turns(now CertificateDevice) []turn {
	var all []turn
	for i := range d.Policies {
		p := &d.Policies[i]
		at := slices.IndexFunc(now.Policies, p.same)
		if at >= 0 {
			all = append(all, p.turns(&now.Policies[at])...)
		}
	}
	return all
}

// same reports whether two certificates speak of one policy. Its file-ids may
// become more.
func (p *CertificatePolicy) same(o CertificatePolicy) bool {
	return p.Policy == o.Policy && p.Record == o.Record && p.Interval == o.Interval
}

// turns compares the verdicts of a policy, from one end of a run to the next.
func (p *CertificatePolicy) turns(now *CertificatePolicy) []turn {
	var ends []time.Time
	for _, r := range slices.Concat(p.Runs, now.Runs) {
		ends = append(ends, r.From, r.To)
	}
	slices.SortFunc(ends, time.Time.Compare)
	var all []turn
	for i := 1; i < len(ends); i++ {
		t := turn{p.Policy, ends[i-1], ends[i], verdictAt(p.Runs, ends[i]), verdictAt(now.Runs, ends[i])}
		if !t.from.Before(t.to) || t.was == t.is {
			continue
		}
		if n := len(all) - 1; n >= 0 && all[n].to.Equal(t.from) && all[n].was == t.was && all[n].is == t.is {
			all[n].to = t.to
			continue
		}
		all = append(all, t)
	}
	return all
}

// verdictAt is the verdict about the time that ends at a moment. Of several runs
// the verdict counts that is the last in the list of verdicts; what no run speaks
// of is present.
func verdictAt(runs []Run, end time.Time) Verdict {
	v, found := Present, false
	for _, r := range runs {
		if end.After(r.From) && !end.After(r.To) && (!found || cmp.Less(v, r.Verdict)) {
			v, found = r.Verdict, true
		}
	}
	return v
}
