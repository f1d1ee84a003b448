package show

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"acctpull/policy"
	"acctpull/retention"
	"acctpull/rollover"
)

// Rule is the retention rule of the file-id in an agent's view.
func (a *Agent) Rule(f FileID) (retention.Rule, error) {
	r := retention.Rule{Retention: time.Duration(f.Retention) * time.Hour, Rollover: time.Duration(f.Rollover) * time.Minute}
	if a.LocalTime {
		r.Location = time.Local
	}
	if a.RetentionRule == retention.CreatedRetention.String() {
		r.Kind = retention.CreatedRetention
	}
	return r, r.Validate()
}

// List fills in the files of the file-id, in its location and its backup
// location, oldest first. running says that an agent writes the current file. A
// directory that cannot be read is one of the Problems; one that does not exist
// holds no files. A file that goes away meanwhile is left out.
func (f *FileID) List(rule retention.Rule, running bool, now time.Time) {
	f.Files, f.Problems = []File{}, nil
	for _, location := range []string{f.Admin, f.Backup} {
		if location == "" {
			continue
		}
		for _, dir := range []string{policy.CollectDir, policy.ArchiveDir} {
			for file, err := range rollover.List(filepath.Join(location, dir)) {
				if err == nil && (file.Name.FileID != f.ID || file.Name.Prefix != rollover.Act) {
					continue
				}
				if err == nil {
					file, err = file.Stat()
				}
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					f.Problems = append(f.Problems, err.Error())
					continue
				}
				f.Files = append(f.Files, f.file(file, dir, rule, running, now))
			}
		}
	}
	slices.SortFunc(f.Files, func(a, b File) int {
		return cmp.Or(cmp.Compare(stamp(a), stamp(b)), cmp.Compare(a.Path, b.Path))
	})
}

// stamp is the time in the name of a file, which sorts as text.
func stamp(f File) string {
	if n, err := rollover.ParseName(f.Name); err == nil {
		return n.Stamp
	}
	return f.Name
}

func (f *FileID) file(file rollover.File, dir string, rule retention.Rule, running bool, now time.Time) File {
	out := File{Name: file.Name.String(), Path: file.Path, Bytes: file.Size, State: Complete}
	if dir == policy.CollectDir {
		out.State = LeftOpen
		if running && out.Name == f.CurrentFile {
			out.State = InProgress
		}
	}
	created, err := file.Name.Time(rule.Location)
	if err != nil {
		return out
	}
	out.Created = utc(created)
	if dir == policy.ArchiveDir {
		out.Expires = utc(rule.Expires(created))
		out.Expired = out.Expires.Before(now)
	}
	return out
}
