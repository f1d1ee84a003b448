package pull

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"acctpull/internal/durable"
	"acctpull/ledger"
)

// removable is a device whose files can be removed, and that tells what a client
// asked it to remove. before is called at each removal, before it happens.
type removable struct {
	root   string
	before func(path string) error

	mu    sync.Mutex
	asked []string
}

func (d *removable) serve(ch ssh.Channel) {
	h := sftp.Handlers{FileGet: d, FilePut: nil, FileCmd: d, FileList: d}
	h.FilePut = sftp.InMemHandler().FilePut // nothing is ever written
	s := sftp.NewRequestServer(ch, h)
	_ = s.Serve()
	_ = s.Close()
}

func (d *removable) at(r *sftp.Request) string { return filepath.Join(d.root, r.Filepath) }

func (d *removable) Fileread(r *sftp.Request) (io.ReaderAt, error) { return os.Open(d.at(r)) }

func (d *removable) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method == "List" {
		entries, err := os.ReadDir(d.at(r))
		var l listerAt
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				l = append(l, info)
			}
		}
		return l, err
	}
	info, err := os.Lstat(d.at(r))
	return listerAt{info}, err
}

func (d *removable) Filecmd(r *sftp.Request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, r.Method+" "+filepath.Base(r.Filepath))
	if r.Method != "Remove" {
		return sftp.ErrSSHFxPermissionDenied
	}
	if d.before != nil {
		if err := d.before(r.Filepath); err != nil {
			return err
		}
	}
	return os.Remove(d.at(r))
}

func (d *removable) took() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.asked
	d.asked = nil
	slices.Sort(a)
	return a
}

type listerAt []os.FileInfo

func (l listerAt) ListAt(out []os.FileInfo, off int64) (int, error) {
	if off >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(out, l[off:])
	if n < len(out) {
		return n, io.EOF
	}
	return n, nil
}

// removeRig is a rig whose device lets files be removed.
func removeRig(t *testing.T) (*rig, *removable) {
	r := newRig(t, scpQuirks{})
	d := &removable{root: filepath.Dir(r.act)}
	r.server.sftp = d.serve
	r.target.Remove = true
	return r, d
}

// exportAll does what an exporter does with the ledger.
func (r *rig) exportAll() {
	r.t.Helper()
	ctx := context.Background()
	b, ok, err := r.ledger.PlanBatch(ctx, time.Now(), "test", time.Hour, 0, 0)
	if err != nil || !ok {
		r.t.Fatalf("plan: %t, %v", ok, err)
	}
	var results []ledger.InputResult
	for _, in := range b.Inputs {
		results = append(results, ledger.InputResult{Device: in.Device, SHA256: in.SHA256, State: ledger.Exported})
	}
	if err := r.ledger.FinishBatch(ctx, time.Now(), b.BatchClaim, nil, results); err != nil {
		r.t.Fatal(err)
	}
}

// Files go from the device when, and only when, they were exported before the
// visit; each is proved at the moment of its removal.
func TestRemoveAfterExport(t *testing.T) {
	r, d := removeRig(t)
	d.before = func(p string) error {
		for row, err := range r.ledger.Files(context.Background(), "router1") {
			if err == nil && row.Name == filepath.Base(p) {
				sum, _, err := durable.Sum(filepath.Join(r.data, row.Stored))
				if row.State != ledger.Exported || err != nil || sum != row.SHA256 {
					t.Errorf("%s is removed: %+v, %v", p, row, err)
				}
				return nil
			}
		}
		t.Errorf("%s is removed, and the ledger does not know it", p)
		return nil
	}
	for i := range 40 {
		r.put(actName(i), fmt.Sprintf("file %d\n", i), 1767312000+int64(i))
	}
	r.put("notes.txt", "not ours\n", 1767312000)
	pull := func(files, kept int) Result {
		t.Helper()
		res, err := r.pull(SFTP)
		if err != nil {
			t.Fatal(err)
		}
		if res.Removal.Files != files || res.Removal.Kept != kept || (kept > 0) != (res.Removal.Why != "") {
			t.Errorf("removal %+v, want %d files and %d kept", res.Removal, files, kept)
		}
		return res
	}
	pull(0, 0) // stored
	pull(0, 0) // and not exported
	if asked := d.took(); len(asked) != 0 {
		t.Errorf("asked for %v", asked)
	}
	r.exportAll()
	r.put(actName(99), "new\n", 1767313000)
	r.put(actName(3), "other\n", 1767314000) // the name is reused, with the same size
	pull(39, 0)
	if asked := d.took(); len(asked) != 39 || slices.Contains(asked, "Remove "+actName(3)) || slices.Contains(asked, "Remove "+actName(99)) {
		t.Errorf("asked for %v", asked)
	}
	left, err := os.ReadDir(r.act)
	if err != nil || len(left) != 3 {
		t.Errorf("left on the device: %v %v", left, err)
	}
	n := 0
	for range r.ledger.Removals(context.Background(), "router1") {
		n++
	}
	if n != 39 {
		t.Errorf("%d removals in the ledger", n)
	}
	pull(0, 0) // a second visit has nothing to do
}

// What cannot be proved, or is not what was fetched, stays on the device.
func TestRemoveKeeps(t *testing.T) {
	stored := func(r *rig) string {
		for row := range r.ledger.Files(context.Background(), "") {
			return filepath.Join(r.data, row.Stored)
		}
		return ""
	}
	for what, c := range map[string]struct {
		change func(r *rig, d *removable)
		asked  int
		why    string
	}{
		"the copy is damaged": {func(r *rig, d *removable) {
			if err := os.WriteFile(stored(r), []byte("something else\nEND\n"), 0o640); err != nil {
				r.t.Fatal(err)
			}
		}, 0, "damaged"},
		"the copy is gone": {func(r *rig, d *removable) {
			if err := os.Remove(stored(r)); err != nil {
				r.t.Fatal(err)
			}
		}, 0, "cannot be read"},
		"the device refuses": {func(r *rig, d *removable) {
			d.before = func(string) error { return sftp.ErrSSHFxPermissionDenied }
		}, 1, "refused"},
		"another time":  {func(r *rig, d *removable) { r.put(actName(1), "two\n", 1767319999) }, 0, ""},
		"another size":  {func(r *rig, d *removable) { r.put(actName(1), "one more\n", 1767312000) }, 0, ""},
		"not asked for": {func(r *rig, d *removable) { r.target.Remove = false }, 0, ""},
	} {
		t.Run(what, func(t *testing.T) {
			r, d := removeRig(t)
			r.put(actName(1), "one\n", 1767312000)
			if _, err := r.pull(SFTP); err != nil {
				t.Fatal(err)
			}
			r.exportAll()
			c.change(r, d)
			res, err := r.pull(SFTP)
			if err != nil {
				t.Fatal(err)
			}
			if asked := d.took(); len(asked) != c.asked {
				t.Errorf("asked for %v", asked)
			}
			if !strings.Contains(res.Removal.Why, c.why) || c.why == "" && res.Removal.Kept > 0 {
				t.Errorf("%+v", res.Removal)
			}
		})
	}
	t.Run("scp", func(t *testing.T) {
		r, _ := removeRig(t)
		r.put(actName(1), "one\n", 1767312000)
		if res, err := r.pull(SCP); err != nil || res.Removal.Kept != 1 || !strings.Contains(res.Removal.Why, "cannot remove") {
			t.Errorf("%+v %v", res.Removal, err)
		}
	})
}
