package show

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acctpull/policy"
	"acctpull/record"
	"acctpull/retention"
)

// NotRunning is why a policy is down that nobody collects.
const NotRunning = "no agent is running"

// Options say what Build is told.
type Options struct {
	// Set is the configuration. It must be given.
	Set *policy.Set
	// Running says that Status comes from an agent that runs, since Started.
	Running bool
	Started time.Time
	Status  []policy.Status
	// Objects asks for every object of every policy.
	Objects bool
	// Zone is the time zone of the times in file names; nil for UTC.
	Zone *time.Location
	// Rule is the retention rule.
	Rule retention.Kind
}

// Build returns the view of a configuration, and of the agent that runs it if
// one does. It touches no file; see [FileID.List].
func Build(o Options) Agent {
	a := Agent{Version: Version, Running: o.Running, LocalTime: o.Zone == time.Local, RetentionRule: o.Rule.String(), Policies: []Policy{}, FileIDs: []FileID{}}
	if o.Running {
		a.Started = utc(o.Started)
	}
	status := map[int]*policy.Status{}
	for i := range o.Status {
		status[o.Status[i].Policy] = &o.Status[i]
	}
	byPolicy := associations(o.Set, o.Objects)
	byFile := map[int]*policy.Status{} // of the policy that writes there
	c := o.Set.Config()
	for i := range c.Policies {
		p := newPolicy(&c.Policies[i], o.Running, status[c.Policies[i].ID])
		p.Associations, p.Objects = byPolicy[p.ID].list()
		if s := status[p.ID]; s != nil {
			byFile[p.FileID] = s
		}
		a.Policies = append(a.Policies, p)
	}
	for i := range c.FileIDs {
		f := newFileID(&c.FileIDs[i])
		for _, p := range a.Policies {
			if p.FileID == f.ID {
				f.UsedBy = p.ID
			}
		}
		if s := byFile[f.ID]; s != nil {
			f.status(s)
		}
		a.FileIDs = append(a.FileIDs, f)
	}
	return a
}

func newPolicy(c *policy.AccountingPolicy, running bool, s *policy.Status) Policy {
	p := Policy{
		ID: c.ID, Description: c.Description, Type: c.Type.String(), Record: string(c.Record), Admin: Up, Oper: Down,
		Interval: int(c.CollectionInterval / time.Minute), To: c.To.String(), FileID: max(0, int(c.To)), Default: c.Default, Align: c.Align, LogMemory: c.LogMemorySize,
	}
	switch {
	case c.Shutdown:
		p.Admin, p.Reason, p.Hint = Shutdown, "it is shut down in the configuration", "remove shutdown from the policy and reload"
	case !running:
		p.Reason, p.Hint = NotRunning, "acctpull collect -c FILE starts one"
	case s == nil:
		p.Reason, p.Hint = "the agent does not collect it", "acctpull reload -c FILE, if the configuration has changed"
	case s.Up:
		p.Oper = Up
	default:
		p.Reason, p.Hint = whyDown(s.Err)
	}
	if s == nil {
		return p
	}
	p.DataLoss = s.DataLoss
	if !s.LastDataLoss.IsZero() {
		p.LastDataLoss = utc(s.LastDataLoss)
	}
	if last := s.Last; !last.End.IsZero() {
		p.Last = &Collection{End: last.End.UTC(), Objects: last.Objects, Missing: last.Missing, Records: last.Records}
		if last.Err != nil {
			p.Last.Error = last.Err.Error()
		}
	}
	if s.File.Name.Valid() {
		p.CurrentFile = s.File.Name.String()
	}
	if p.Held = s.Flash.Held; p.Held > 0 {
		p.HeldSince = utc(s.Flash.HeldSince)
	}
	if !s.Next.IsZero() {
		p.Next = utc(s.Next)
	}
	return p
}

// whyDown says why a policy is down, and what to do.
func whyDown(err error) (reason, hint string) {
	if err == nil {
		return "its file cannot be written", ""
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		hint = hinted.Hint()
	}
	if hint == "" {
		hint = "repair the location; each interval tries one again that was full or not there, and one that failed after acctpull clear log"
	}
	return err.Error(), hint
}

func newFileID(c *policy.FileID) FileID {
	return FileID{ID: c.ID, Description: c.Description, Rollover: int(c.Rollover / time.Minute), Retention: int(c.Retention / time.Hour), Admin: c.Location, Backup: c.BackupLocation}
}

// status fills in what the policy that writes to the file-id knows.
func (f *FileID) status(s *policy.Status) {
	if s.File.Name.Valid() {
		f.CurrentFile, f.Oper = s.File.Name.String(), filepath.Dir(filepath.Dir(s.File.Path))
	}
	for _, p := range s.Flash.Places {
		if p.Err != nil || p.Untrusted {
			fault := Fault{Location: p.Path, Reason: "a write failed", ClearLog: p.Untrusted}
			if p.Err != nil {
				fault.Reason = p.Err.Error()
			}
			f.Faults = append(f.Faults, fault)
		}
	}
}

func utc(t time.Time) *time.Time {
	t = t.UTC()
	return &t
}

// kinds are the objects of one policy by type.
type kinds map[policy.Type]*Association

// associations finds the objects of every policy, in service or not.
func associations(s *policy.Set, objects bool) map[int]kinds {
	out := map[int]kinds{}
	c := s.Config()
	for i := range c.Objects {
		o := &c.Objects[i]
		p, ok := s.For(o)
		if !ok {
			continue
		}
		if out[p.ID] == nil {
			out[p.ID] = kinds{}
		}
		a := out[p.ID][o.Type]
		if a == nil {
			a = &Association{Kind: o.Type.Object()}
			out[p.ID][o.Type] = a
		}
		a.Count++
		if objects {
			a.Objects = append(a.Objects, Object{ID: o.ID, Service: o.Service, Link: o.Link, Explicit: o.Policy != 0})
		}
	}
	return out
}

// list returns the kinds in the order of the types, and how many objects there
// are in all.
func (k kinds) list() (out []Association, n int) {
	out = []Association{}
	for _, t := range policy.Types() {
		if a := k[t]; a != nil {
			out = append(out, *a)
			n += a.Count
		}
	}
	return out, n
}

// ofTheDevice tells whether the 7210 SAS has the row set.
func ofTheDevice(r *record.RowSet) bool {
	return slices.ContainsFunc(r.Platforms, func(p string) bool { return strings.HasPrefix(p, "7210 SAS") })
}

// Records lists the record names that an accounting policy can carry, those of
// the 7210 SAS, with the policy of these that has each.
func Records(policies []Policy) []Record {
	out := []Record{}
	for _, d := range record.Builtin().Definitions() {
		if _, ok := policy.ParseType(d.PolicyType); !ok || !slices.ContainsFunc(d.RowSets, ofTheDevice) {
			continue
		}
		r := Record{Number: d.Number, Name: string(d.Name), Type: d.PolicyType, Interval: int(cmp.Or(d.DefaultInterval, policy.DefaultInterval) / time.Minute)}
		for _, p := range policies {
			if p.Record == r.Name {
				r.Policy = p.ID
			}
		}
		out = append(out, r)
	}
	return out
}
