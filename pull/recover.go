package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// ErrStateLost: ledger and archive contradict each other.
var ErrStateLost = errors.New("ledger and archive contradict each other")

// Recovery is what Recover found and did.
type Recovery struct {
	// Removed counts temporary files of runs that were interrupted.
	Removed int
	// Adopted are files that were published and not yet recorded, and that
	// passed verification; they are recorded now. Quarantined are those that
	// did not pass.
	Adopted, Quarantined []File
	// Missing are files that the ledger has as stored and waiting for export
	// and that are not on disk. They make Recover return ErrStateLost.
	Missing []ledger.Row
}

// Recover puts archive and ledger in order after a crash. It is called at start,
// before any Device, by the process that holds the lock on the data directory:
// temporary files are removed, claims of the dead process are given back, files
// in act/ that the ledger does not know are verified and recorded.
//
// An empty ledger beside an archive with files, and a stored file that is not
// there, are ErrStateLost: nothing is guessed. Of o, the fields Data, Ledger,
// Verify, Owner and Now are used.
func Recover(ctx context.Context, o Options) (Recovery, error) {
	var rec Recovery
	devices, err := Devices(o.Data)
	if err != nil {
		return rec, &Error{Op: "recover", Err: err}
	}
	if err := checkNotLost(ctx, o); err != nil {
		return rec, err
	}
	for _, device := range devices {
		if err := recoverOne(ctx, o, device, &rec); err != nil {
			return rec, err
		}
	}
	return rec, rec.lost()
}

// RecoverDevice is Recover for one device, by the process that has the only right
// to work on it at the moment: a node that holds its lease in a shared ledger,
// after it voided the claims that another node left. What others do with other
// devices is not touched. A device without an archive needs nothing.
func RecoverDevice(ctx context.Context, o Options, device string) (Recovery, error) {
	var rec Recovery
	if err := recoverOne(ctx, o, device, &rec); err != nil {
		return rec, err
	}
	return rec, rec.lost()
}

func recoverOne(ctx context.Context, o Options, device string, rec *Recovery) error {
	r, err := newRun(o, Target{Device: device, User: "recovery", Host: "localhost", Path: "/"})
	if err == nil {
		err = r.recover(ctx, rec)
	}
	if err != nil {
		return &Error{Op: "recover", Device: device, Err: err}
	}
	return nil
}

// lost is the error of files that are missing.
func (rec *Recovery) lost() error {
	if len(rec.Missing) == 0 {
		return nil
	}
	m := rec.Missing[0]
	return &Error{Op: "recover", Device: m.Device, File: m.Name, Err: fmt.Errorf("%w: stored as %s and not there, and %d more", ErrStateLost, quote(m.Stored), len(rec.Missing)-1),
		hint: "restore the files from a copy of the data directory; they were not exported yet"}
}

// checkNotLost refuses to start with an empty ledger beside a full archive.
func checkNotLost(ctx context.Context, o Options) error {
	empty, err := o.Ledger.Empty(ctx)
	if err != nil || !empty {
		return err
	}
	for e, err := range o.where().List(ctx, devicesDir) {
		if err != nil {
			return &Error{Op: "recover", Err: err}
		}
		if device, name, ok := ParseSealed(e.Path); ok {
			return &Error{Op: "recover", Device: device, File: name.String(), Err: fmt.Errorf("%w: the ledger is empty, the archive is not", ErrStateLost),
				hint: "restore the ledger from a copy, or rebuild it from archive and dataset with --rebuild-ledger; starting with an empty ledger would export everything twice"}
		}
	}
	return nil
}

// recover does it for one device.
func (r *run) recover(ctx context.Context, rec *Recovery) error {
	// Reason notes are written beside the files in quarantine.
	for _, dir := range []string{r.archive.collect(), filepath.Join(r.o.Data, quarantineDir, DirName(r.device))} {
		n, err := durable.RemoveLeftovers(dir)
		rec.Removed += n
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if _, err := r.o.Ledger.ReleaseOwner(ctx, r.owner); err != nil {
		return err
	}
	there, err := r.sealed(ctx)
	if err != nil {
		return err
	}
	waiting := make(map[ledger.Key]ledger.Key) // Discovered rows by name and size
	for row, err := range r.o.Ledger.Files(ctx, r.device) {
		if err != nil {
			return err
		}
		if row.State == ledger.Discovered {
			waiting[ledger.Key{Name: row.Name, Size: row.Size}] = row.Key
		}
		known, listed := there[row.Stored]
		if listed && !known {
			there[row.Stored] = true
		}
		// What was exported may have been removed by retention since.
		if !listed && row.State == ledger.Stored && row.AliasOf == "" && strings.HasPrefix(row.Stored, devicesDir+"/") {
			if err := r.exists(ctx, row.Stored); errors.Is(err, fs.ErrNotExist) {
				rec.Missing = append(rec.Missing, row)
			} else if err != nil {
				return err
			}
		}
	}
	maps.DeleteFunc(there, func(_ string, known bool) bool { return known })
	if len(there) == 0 {
		return nil
	}
	return r.adopt(ctx, slices.Sorted(maps.Keys(there)), waiting, rec)
}

// sealed returns the closed files of the device, as the ledger names them. The
// values are false.
func (r *run) sealed(ctx context.Context) (map[string]bool, error) {
	files := make(map[string]bool)
	for e, err := range r.o.Depot.List(ctx, SealedPath(r.device)) {
		if err != nil {
			return nil, err
		}
		if _, _, ok := ParseSealed(e.Path); ok {
			files[e.Path] = false
		}
	}
	return files, nil
}

// exists returns why a file of the ledger cannot be opened: it may have come
// after the listing.
func (r *run) exists(ctx context.Context, stored string) error {
	o, err := r.o.Depot.Open(ctx, stored)
	if err != nil {
		return err
	}
	return o.Close()
}

// adopt records files that were published and not recorded.
func (r *run) adopt(ctx context.Context, orphans []string, waiting map[ledger.Key]ledger.Key, rec *Recovery) error {
	claims, err := r.o.Ledger.Claim(ctx, r.o.Now(), r.owner, time.Hour, r.device, 0)
	if err != nil {
		return err
	}
	held := make(map[ledger.Key]ledger.Claim, len(claims))
	for _, c := range claims {
		held[c.Key] = c
	}
	for _, rel := range orphans {
		if err := r.adoptOne(ctx, rel, waiting, held, rec); err != nil {
			return errors.Join(err, r.release(ctx))
		}
	}
	return r.release(ctx)
}

func (r *run) adoptOne(ctx context.Context, rel string, waiting map[ledger.Key]ledger.Key, held map[ledger.Key]ledger.Claim, rec *Recovery) (err error) {
	name := path.Base(rel)
	sum, size, err := r.o.Depot.Sum(ctx, rel)
	if err != nil {
		return err
	}
	file, done, err := depot.Localize(ctx, r.o.Depot, rel, r.archive.collect())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	short := ledger.Key{Name: name, Size: size}
	key, known := waiting[short]
	claim, claimed := held[key]
	claimed = claimed && known
	delete(waiting, short)
	if !known {
		key = ledger.Key{Device: r.device, Name: name, Size: size}
	}
	f := File{Key: key, SHA256: sum, Stored: rel, Reason: "found in the archive after a crash"}
	found, bad := r.o.Verify(ctx, file)
	f.Records = found.Records
	if bad != nil && aboutUs(ctx, bad) {
		return bad
	}
	if bad != nil {
		f.Outcome, f.Reason = Quarantined, clean(oneLine(bad))
		if !claimed {
			// A row of its own: what the device lists under that name is fetched.
			key = ledger.Key{Device: r.device, Path: "sha256:" + sum, Name: name, Size: size}
			f.Key = key
		}
		if f.Stored, err = r.archive.isolate(ctx, file, name, sum, size, r.note(key, sum, f.Reason)); err != nil {
			return err
		}
		// Where the file itself was moved there is nothing left to remove.
		if err := r.o.Depot.Remove(ctx, rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if claimed {
			err = r.o.Ledger.Quarantine(ctx, r.o.Now(), claim, f.Stored, f.Reason, tryAgain(r.o.Now(), claim))
		} else {
			row := ledger.Row{Key: key, State: ledger.Quarantined, Stored: f.Stored, Reason: f.Reason}
			err = r.o.Ledger.Import(ctx, r.o.Now(), []ledger.Row{row}, nil)
		}
		rec.Quarantined = append(rec.Quarantined, f)
		return err
	}
	// Its name may have been given just before the crash.
	if _, err := r.o.Depot.Publish(ctx, []depot.File{{Path: rel, Local: file, SHA256: sum, Size: size}}); err != nil {
		return err
	}
	if claimed {
		results, err := r.o.Ledger.StoreMany(ctx, r.o.Now(), []ledger.StoreItem{{Claim: claim, SHA256: sum, Stored: rel, Facts: found.Facts}})
		if err == nil {
			err = results[0].Err
		}
		if err != nil {
			return err
		}
		if f.AliasOf = results[0].AliasOf; f.AliasOf != "" {
			f.Outcome = Alias
		}
	} else if _, err := r.o.Ledger.AddLocal(ctx, r.o.Now(), []ledger.Input{{Device: r.device, Name: name, SHA256: sum, Stored: rel, Size: size, Facts: found.Facts}}); err != nil {
		return err
	}
	rec.Adopted = append(rec.Adopted, f)
	return nil
}
