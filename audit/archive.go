package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"acctpull/export"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/pull"
	"acctpull/rollover"
)

// checkDevices proves the files of every device against their rows.
func (c *check) checkDevices(ctx context.Context) error {
	devices, err := c.devices(ctx)
	if err != nil {
		return err
	}
	for _, device := range devices {
		d := &deviceCheck{check: c, device: device, seen: map[string]*file{}}
		found, err := c.settle(ctx, func(only map[string]bool) ([]Finding, error) { return d.pass(ctx, only) })
		if err != nil {
			return err
		}
		c.found(found...)
		c.data.short += d.short
		c.report.Devices++
		d.days(len(found) == 0)
	}
	if err := c.checkRejects(ctx); err != nil {
		return err
	}
	if c.ledger != nil && !c.data.odd && c.data.short != c.data.expired {
		c.found(Finding{Kind: Contradiction, File: path.Join(c.o.Dataset), Do: doDataset,
			What: fmt.Sprintf("the dataset lacks %d rows of its inputs, and %d are known to have expired", c.data.short, c.data.expired)})
	}
	return c.strangers(ctx)
}

// devices are those of the ledger, the archive and the quarantine.
func (c *check) devices(ctx context.Context) ([]string, error) {
	devices, err := pull.KeptDevices(ctx, c.o.Data)
	if err != nil || c.ledger == nil {
		return devices, err
	}
	known, err := c.ledger.Devices(ctx)
	devices = append(devices, known...)
	slices.Sort(devices)
	return slices.Compact(devices), err
}

// file is one file of a device and what reading it told.
type file struct {
	sum     string
	content Content
	err     error // of reading it as an accounting file
	gone    bool
}

// deviceCheck is the check of one device.
type deviceCheck struct {
	*check
	device string
	seen   map[string]*file // what was read, by path
	totals map[string]*Totals
	short  int64 // rows that are not in the dataset any more
}

// pass goes through rows and files of the device.
func (d *deviceCheck) pass(ctx context.Context, only map[string]bool) ([]Finding, error) {
	var sealed []string
	for e, err := range d.o.Data.List(ctx, pull.SealedPath(d.device)) {
		if err != nil {
			return nil, err
		}
		sealed = append(sealed, e.Path)
	}
	isolated, noted, err := pull.Isolated(ctx, d.o.Data, d.device)
	if err != nil {
		return nil, err
	}
	if err := d.readAll(ctx, append(slices.Clone(sealed), isolated...), only); err != nil {
		return nil, err
	}
	var found []Finding
	known := map[string]bool{}    // paths that rows speak of
	keys := map[ledger.Key]bool{} // of all rows
	d.totals, d.short = map[string]*Totals{}, 0
	if d.ledger != nil {
		if len(only) > 0 { // what was exported meanwhile
			if _, err := d.datasetPass(ctx, nil); err != nil {
				return nil, err
			}
		}
		for row, err := range d.ledger.Files(ctx, d.device) {
			if err != nil {
				return nil, err
			}
			keys[row.Key] = true
			if ours(row.Stored) {
				known[row.Stored] = true
			}
			if f, wrong := d.judge(ctx, row); wrong {
				found = append(found, f)
			}
		}
	}
	for _, rel := range sealed {
		if f, wrong := d.judgeOrphan(rel, known[rel]); wrong {
			found = append(found, f)
		}
	}
	notes, err := d.judgeNotes(ctx, isolated, noted, keys)
	return append(found, notes...), err
}

// ours reports whether a path of the ledger lies in archive or quarantine.
// Others are files that a person gave to acctpull export.
func ours(stored string) bool {
	return strings.HasPrefix(stored, "devices/") || strings.HasPrefix(stored, "quarantine/")
}

// readAll reads the files that were not read, or are in only.
func (d *deviceCheck) readAll(ctx context.Context, files []string, only map[string]bool) error {
	todo := slices.DeleteFunc(files, func(rel string) bool { return d.seen[rel] != nil && !d.seen[rel].gone && !only[rel] })
	var mu sync.Mutex
	return parallel(ctx, d.o.Workers, todo, func(ctx context.Context, rel string) error {
		f, n, err := d.read(ctx, d.device, rel)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.gone = true
		case err != nil && ofMachine(ctx, err):
			return err
		case err != nil:
			f.err = err
		}
		mu.Lock()
		defer mu.Unlock()
		d.seen[rel] = &f
		d.progress(n)
		return nil
	})
}

// judge compares a row with its file, and books both.
func (d *deviceCheck) judge(ctx context.Context, row ledger.Row) (Finding, bool) {
	t := d.day(row.Name)
	t.Seen++
	switch row.State {
	case ledger.Discovered:
		t.Waiting++
		return Finding{}, false
	case ledger.Lost:
		t.Lost++
		return Finding{}, false
	case ledger.Quarantined:
		t.Quarantined++
	}
	f := Finding{Kind: Missing, File: row.Stored, Device: d.device}
	if !ours(row.Stored) {
		if row.State != ledger.Quarantined {
			t.Fetched++ // a file of somebody else's, or one that is in the dataset alone
			t.Read += row.Records
			t.Exported += row.Records
		}
		return d.judgeRows(row, f)
	}
	if !row.Expired.IsZero() { // its bytes went by retention, or will at any moment
		t.Removed++
		t.Read += row.Records
		t.Exported += row.Records
		return d.judgeRows(row, f)
	}
	got := d.seen[row.Stored]
	if got == nil || got.gone {
		if n, err := pull.ReadNote(ctx, d.o.Data, pull.NotePath(row.Stored)); row.State == ledger.Quarantined && err == nil && !n.Purged.IsZero() {
			return Finding{}, false
		}
		if row.State == ledger.Exported && d.removed(row.Name) {
			t.Removed++
			t.Read += row.Records
			t.Exported += row.Records
			return d.judgeRows(row, f)
		}
		f.What, f.Do = fmt.Sprintf("the ledger has it as %s, with SHA-256 %s", row.State, orNone(row.SHA256)), doMissing(row)
		return f, true
	}
	if row.SHA256 != "" && got.sum != row.SHA256 {
		f.Kind, f.Do = Damaged, doMissing(row)
		f.What = fmt.Sprintf("its SHA-256 is %s, was %s when it was stored", orNone(got.sum), row.SHA256)
		return f, true
	}
	if row.State == ledger.Quarantined {
		if strings.HasPrefix(row.Stored, "devices/") && row.AliasOf == "" {
			t.Read, t.Pending = t.Read+got.content.Records, t.Pending+got.content.Records
		}
		return d.judgeRows(row, f)
	}
	if got.err != nil {
		f.Kind, f.Do = Contradiction, "look at it: acctpull inspect"
		f.What = fmt.Sprintf("the ledger has it as %s, its bytes are those that were stored, and it cannot be read: %s", row.State, oneLine(got.err))
		return f, true
	}
	t.Fetched++
	if row.AliasOf != "" {
		return Finding{}, false
	}
	return d.judgeCounts(ctx, row, got, t, f)
}

// judgeCounts compares the records of a file with what was exported of it.
func (d *deviceCheck) judgeCounts(ctx context.Context, row ledger.Row, got *file, t *Totals, f Finding) (Finding, bool) {
	records := got.content.Records
	if row.State == ledger.Stored {
		t.Read, t.Pending = t.Read+records, t.Pending+records
		return d.judgeRows(row, f)
	}
	if got.content.Vague {
		records = row.Records
		got.content.Refused = 0
	}
	exported, refused := d.inDatasetOrExpired(row), got.content.Refused
	t.Read, t.Exported, t.Refused = t.Read+records+refused, t.Exported+exported, t.Refused+refused
	if records != row.Records {
		f.Kind = Contradiction
		f.What = fmt.Sprintf("it has %d usable and %d unusable records as it is read now, and %d were exported", records, refused, row.Records)
		f.Do = "was it exported with another profile or record? Give the same ones to acctpull check; or -c with the inventory that names them"
		return f, true
	}
	if refused > 0 {
		n, err := export.CountRejects(ctx, d.o.quarantine(), row.Device, row.SHA256)
		if err == nil && n != refused {
			f.Kind, f.File = Missing, d.rejects(row)
			f.What = fmt.Sprintf("%d unusable records of %s should be in it, %d are", refused, row.Stored, n)
			f.Do = "nothing is lost: the records are in the file of the archive; acctpull inspect shows them"
			return f, true
		}
	}
	return d.judgeRows(row, f)
}

// inDatasetOrExpired is the number of rows of a file that are in the dataset, or
// were.
func (d *deviceCheck) inDatasetOrExpired(row ledger.Row) int64 {
	n := d.data.rows[keyOf(row.Device, row.SHA256)]
	if d.data.expired > 0 {
		n = max(n, row.Records)
	}
	return n
}

// judgeRows compares the rows of a file in the dataset with its row.
func (d *deviceCheck) judgeRows(row ledger.Row, f Finding) (Finding, bool) {
	if row.AliasOf != "" || row.SHA256 == "" || d.data.odd || row.State == ledger.Stored && row.Batch != "" {
		return f, false // the last is in a batch that is being exported
	}
	k := keyOf(row.Device, row.SHA256)
	got, want := d.data.rows[k], int64(0)
	if row.State == ledger.Exported {
		want = row.Records
	}
	if got == want {
		return f, false
	}
	if got < want && d.data.expired > 0 {
		d.short += want - got // all of them together have to be as many as expired
		return f, false
	}
	f.Kind, f.Do = Contradiction, doRebuild
	f.What = fmt.Sprintf("the dataset has %d rows of it (%s), the ledger says %d", got, row.State, want)
	if f.File == "" {
		f.File = row.Name
	}
	return f, true
}

// judgeOrphan looks at a closed file that no row speaks of, or at any file if
// there is no ledger.
func (d *deviceCheck) judgeOrphan(rel string, known bool) (Finding, bool) {
	got := d.seen[rel]
	f := Finding{Kind: Unknown, File: rel, Device: d.device}
	switch {
	case known || got == nil || got.gone:
		return f, false
	case got.err != nil:
		f.Kind, f.What, f.Do = Damaged, oneLine(got.err), "fetch it again if the device still has it, or look at what is left: acctpull inspect --salvage"
		return f, true
	case d.ledger == nil:
		return f, false
	}
	f.What = "the ledger does not know it"
	f.Do = "a crash leaves such a file, and the next acctpull pull or serve takes it up; if the ledger is an old copy: acctpull check --rebuild"
	if n, err := rollover.ParseName(path.Base(rel)); err != nil || n.Prefix != rollover.Act {
		f.What, f.Do = "its name is not that of an accounting file", "move it away"
	}
	return f, true
}

// judgeNotes proves the files in quarantine by their notes.
func (d *deviceCheck) judgeNotes(ctx context.Context, isolated, noted []string, keys map[ledger.Key]bool) ([]Finding, error) {
	var found []Finding
	add := func(k Kind, rel, what, do string) {
		found = append(found, Finding{Kind: k, File: rel, Device: d.device, What: what, Do: do})
	}
	for _, rel := range isolated {
		got := d.seen[rel]
		if got == nil || got.gone {
			continue
		}
		note := pull.NotePath(rel)
		n, err := pull.ReadNote(ctx, d.o.Data, note)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			add(Missing, note, "the file in quarantine has no note beside it", "its reason is in the ledger: acctpull quarantine list")
			continue
		case errors.Is(err, durable.ErrDigest):
			add(Damaged, note, rootOf(errors.Unwrap(err)), "its reason is in the ledger: acctpull quarantine list; then remove the note")
			continue
		case err != nil && ofMachine(ctx, err):
			return nil, err
		case err != nil:
			add(Damaged, note, oneLine(err), "its reason is in the ledger: acctpull quarantine list; then remove the note")
			continue
		}
		switch {
		case got.sum != n.SHA256:
			add(Damaged, rel, fmt.Sprintf("its SHA-256 is %s, was %s when it came", orNone(got.sum), n.SHA256), "it was not trusted before either; remove it with its note: acctpull quarantine purge")
		case d.ledger != nil && !keys[n.Key]:
			add(Unknown, rel, "the ledger does not know the file that its note names", doRebuild)
		}
	}
	for _, note := range noted {
		rel := strings.TrimSuffix(note, pull.NotePath(""))
		if slices.Contains(isolated, rel) {
			continue
		}
		switch n, err := pull.ReadNote(ctx, d.o.Data, note); {
		case err != nil && ofMachine(ctx, err):
			return nil, err
		case errors.Is(err, fs.ErrNotExist), err == nil && !n.Purged.IsZero():
		case err != nil:
			add(Damaged, note, oneLine(err), "its reason is in the ledger: acctpull quarantine list; then remove the note")
		default:
			add(Unknown, note, "the file that the note is about is not there", "remove the note")
		}
	}
	return found, nil
}

// checkRejects proves the files of unusable records.
func (c *check) checkRejects(ctx context.Context) error {
	for e, err := range c.o.quarantine().List(ctx, "") {
		if err != nil {
			return err
		}
		if !strings.HasSuffix(e.Path, export.RejectsSuffix) || strings.Contains(e.Path, "/") {
			continue
		}
		err := export.CheckRejects(ctx, c.o.quarantine(), e.Path)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
		case ofMachine(ctx, err):
			return err
		default:
			c.found(Finding{Kind: Damaged, File: path.Join(c.o.Quarantine, e.Path), What: rootOf(err), Do: "nothing is lost: the records are in the file of the archive; remove this file"})
		}
		c.progress(e.Size)
	}
	return nil
}

// strangers names inputs of the dataset that the ledger has no row of. It goes
// through the rows once more, but only if the sums do not agree.
func (c *check) strangers(ctx context.Context) error {
	sum := int64(0)
	for _, n := range c.data.rows {
		sum += n
	}
	if c.ledger == nil || c.data.odd || sum == c.report.Totals.Exported {
		return nil
	}
	known := map[inputKey]bool{}
	for row, err := range c.ledger.Files(ctx, "") {
		if err != nil {
			return err
		}
		if row.SHA256 != "" {
			known[keyOf(row.Device, row.SHA256)] = true
		}
	}
	for k := range known {
		delete(c.data.rows, k)
	}
	if len(c.data.rows) == 0 {
		return nil
	}
	published, err := export.Contents(ctx, c.o.dataset())
	if err != nil {
		return err
	}
	for _, rel := range published {
		p, err := export.ReadPublished(ctx, c.o.dataset(), rel)
		if err != nil {
			continue // it was reported
		}
		for _, s := range p.Sources {
			if c.data.rows[keyOf(s.Device, s.SHA256)] > 0 {
				c.found(Finding{Kind: Contradiction, File: c.inDataset(rel), Device: s.Device,
					What: fmt.Sprintf("it has %d rows of %q, SHA-256 %s, which the ledger does not know", s.Records, s.Name, s.SHA256), Do: doRebuild})
			}
		}
	}
	return nil
}

// rejects is the path of the unusable records of a file, in findings.
func (d *deviceCheck) rejects(row ledger.Row) string {
	return path.Join(d.o.Quarantine, export.RejectsName(row.Device, row.SHA256))
}

// removed tells whether an exported file may be gone from the archive.
func (d *deviceCheck) removed(name string) bool { return MadeBefore(name, d.o.RemovedBefore) }

// MadeBefore tells whether the name of a file says that it was made before a day;
// the zero day is none.
func MadeBefore(name string, day time.Time) bool {
	n, err := rollover.ParseName(name)
	if err != nil || day.IsZero() {
		return false
	}
	t, err := n.Time(time.UTC)
	return err == nil && t.Before(day)
}

// day returns the totals of the day that a name gives.
func (d *deviceCheck) day(name string) *Totals {
	day := ""
	if n, err := rollover.ParseName(name); err == nil && len(n.Stamp) >= 8 {
		day = n.Stamp[:4] + "-" + n.Stamp[4:6] + "-" + n.Stamp[6:8]
	}
	t := d.totals[day]
	if t == nil {
		t = &Totals{}
		d.totals[day] = t
	}
	return t
}

// days reports the totals of the device. Sums that do not add up although every
// file is right are a finding of their own.
func (d *deviceCheck) days(clean bool) {
	for _, day := range slices.Sorted(maps.Keys(d.totals)) {
		t := d.totals[day]
		d.report.Totals.add(*t)
		if h := d.o.Hooks.OnDay; h != nil {
			h(Day{Device: d.device, Day: day, Totals: *t})
		}
		if clean && !d.data.odd && !t.Balanced() {
			d.found(Finding{Kind: Contradiction, File: pull.SealedPath(d.device), Device: d.device,
				What: fmt.Sprintf("the files and records of %s do not add up: %+v", day, *t), Do: doRebuild})
		}
	}
}

// doMissing is the advice for a file of the archive that cannot be had.
func doMissing(row ledger.Row) string {
	switch row.State {
	case ledger.Exported:
		return "its records are in the dataset; restore the file from a copy, or tell the check that it was removed on purpose: --removed-before"
	case ledger.Quarantined:
		return "it was not trusted before either; nothing can be done"
	}
	return "restore the file from a copy; or make the ledger anew with acctpull check --rebuild, and the next pull fetches it again if the device still has it"
}

func orNone(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
