package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/ledger"
)

// Every kind of device must come to the same archive.
var deviceKinds = map[string]struct {
	transport Transport
	quirks    scpQuirks
	noSFTP    bool
	kind      Transport
	noMTime   bool
}{
	"sftp":                  {transport: SFTP, kind: SFTP},
	"auto with sftp":        {transport: Auto, kind: SFTP},
	"auto without sftp":     {transport: Auto, noSFTP: true, kind: SCP},
	"scp":                   {transport: SCP, kind: SCP},
	"scp one path":          {transport: SCP, quirks: scpQuirks{onePath: true}, kind: SCP},
	"scp no times":          {transport: SCP, quirks: scpQuirks{noTimes: true}, kind: SCP, noMTime: true},
	"scp refuses -p":        {transport: SCP, quirks: scpQuirks{refuseP: true}, kind: SCP, noMTime: true},
	"scp stops at refusals": {transport: SCP, quirks: scpQuirks{stopsAt01: true}, kind: SCP},
	"scp one path, stops":   {transport: SCP, quirks: scpQuirks{stopsAt01: true, onePath: true}, kind: SCP},
	"scp without status":    {transport: SCP, quirks: scpQuirks{noStatus: true}, kind: SCP},
}

func TestDevice(t *testing.T) {
	for name, k := range deviceKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, k.quirks)
			if k.noSFTP {
				r.server.sftp = nil
			}
			want := make(map[string]string)
			for i := range 40 {
				content := strings.Repeat(fmt.Sprintf("line %d\n", i), i*i*9)
				r.put(actName(i), content, int64(1000+i))
				want[actName(i)] = content + "END\n"
			}
			r.put("notes.txt", "", 1)
			r.put("log0101-20260102-030405", "", 1)
			if err := os.Mkdir(filepath.Join(r.act, "act0101-20260102-030405.xml.gz"), 0o400); err != nil {
				t.Fatal(err)
			}
			var seen []File
			r.o.Hooks.OnFile = func(f File) { seen = append(seen, f) }
			var last Progress
			r.o.Hooks.OnProgress = func(p Progress) { last = p }

			res, err := r.pull(k.transport)
			if err != nil {
				t.Fatalf("%v; commands %q", err, r.server.ran())
			}
			if res.Count(Stored) != 40 || len(res.Files) != 40 || res.Listed != 40 || res.Known != 0 || res.Transport != k.kind {
				t.Fatalf("result %s", brief(res))
			}
			if len(seen) != 40 || last.Files != 40 || last.Bytes != last.BytesTotal || last.Bytes != res.Bytes {
				t.Fatalf("hooks: %d files, progress %+v", len(seen), last)
			}
			got := r.stored()
			for name, content := range want {
				if got[name] != content {
					t.Fatalf("%s has %d bytes, want %d", name, len(got[name]), len(content))
				}
			}
			for i, f := range res.Files {
				if f.Name != actName(i) || f.Records != int64(strings.Count(want[f.Name], "\n")) || f.Stored != "devices/router1/act/"+f.Name ||
					(f.MTime == 0) != k.noMTime {
					t.Fatalf("file %d: %+v", i, f)
				}
			}
			if left := tree(t, filepath.Join(r.data, "devices/router1/act-collect")); len(left) != 1 {
				t.Fatalf("left in act-collect: %q", left)
			}

			// A second run has nothing to do, a third one file.
			r.server.ran()
			if res, err = r.pull(k.transport); err != nil || len(res.Files) != 0 || res.Known != 40 {
				t.Fatalf("second run: %s %v", brief(res), err)
			}
			r.put(actName(100), "new\n", 5000)
			if res, err = r.pull(k.transport); err != nil || !slices.Equal(outcomes(res), []string{actName(100) + " stored"}) {
				t.Fatalf("third run: %s %v", brief(res), err)
			}
		})
	}
}

// A file that was broken on the way is fetched again after a while, though the
// device lists it as before; one that stays broken is left alone in the end.
func TestQuarantineAgain(t *testing.T) {
	r := newRig(t, scpQuirks{})
	now := time.Now()
	r.o.Now = func() time.Time { return now }
	good, bad := actName(1), actName(2)
	broken := "complete\nEDN\n"
	for _, name := range []string{good, bad} {
		if err := os.WriteFile(filepath.Join(r.act, name), []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(filepath.Join(r.act, good))
	if err != nil {
		t.Fatal(err)
	}
	pulls := func(want ...string) {
		t.Helper()
		res, err := r.pull(SFTP)
		if err != nil || !slices.Equal(outcomes(res), want) {
			t.Fatalf("%v, want %v: %v", outcomes(res), want, err)
		}
	}
	pulls(good+" quarantined", bad+" quarantined")
	r.put(good, "complete\n", 0) // with END, and as long as before
	if err := os.Chtimes(filepath.Join(r.act, good), st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(9 * time.Minute)
	pulls()
	now = now.Add(time.Minute)
	pulls(good+" stored", bad+" quarantined")
	now = now.Add(time.Hour)
	pulls(bad + " quarantined")
	now = now.Add(4 * time.Hour)
	pulls(bad + " quarantined")
	now = now.Add(1000 * time.Hour)
	pulls()
}

// Nothing on the device is quarantined twice at once, and a file that was bad and then
// good is taken.
func TestQuarantine(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		t.Run(string(tr), func(t *testing.T) {
			r := newRig(t, scpQuirks{})
			name := actName(1)
			bad := filepath.Join(r.act, name)
			if err := os.WriteFile(bad, []byte("half a fi"), 0o600); err != nil {
				t.Fatal(err)
			}
			r.put(actName(2), "good\n", 7)
			res, err := r.pull(tr)
			if err != nil || res.Count(Quarantined) != 1 || res.Count(Stored) != 1 {
				t.Fatalf("%s %v", brief(res), err)
			}
			f := res.Files[0]
			if f.Name != name || f.Reason != `no end of \x1b[31mfile` || f.Stored != "quarantine/router1/"+name+"-"+f.SHA256[:8] {
				t.Fatalf("%+v", f)
			}
			b, err := os.ReadFile(filepath.Join(r.data, f.Stored))
			if err != nil || string(b) != "half a fi" {
				t.Fatalf("%q %v", b, err)
			}
			note, err := os.ReadFile(filepath.Join(r.data, f.Stored+".reason.txt"))
			if err != nil || !strings.Contains(string(note), "reason: no end of \\x1b[31mfile\n") || !strings.Contains(string(note), "sha256: "+f.SHA256+"\n") {
				t.Fatalf("%q %v", note, err)
			}
			if res, err = r.pull(tr); err != nil || len(res.Files) != 0 || res.Known != 2 {
				t.Fatalf("again: %s %v", brief(res), err)
			}
			r.put(name, "complete\n", 100)
			if res, err = r.pull(tr); err != nil || !slices.Equal(outcomes(res), []string{name + " stored"}) {
				t.Fatalf("after it was completed: %s %v", brief(res), err)
			}
			if r.stored()[name] != "complete\nEND\n" {
				t.Fatal("content")
			}
		})
	}
}

// T4 and T5: the same name with other content, the same content with another name.
func TestNamesAndContents(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		t.Run(string(tr), func(t *testing.T) {
			r := newRig(t, scpQuirks{})
			name := actName(1)
			r.put(name, "one\n", 100)
			if _, err := r.pull(tr); err != nil {
				t.Fatal(err)
			}
			// Same name and size, other time and content.
			r.put(name, "two\n", 200)
			r.put(actName(2), "one\n", 300)
			res, err := r.pull(tr)
			if err != nil || len(res.Files) != 2 {
				t.Fatalf("%s %v", brief(res), err)
			}
			other, alias := res.Files[0], res.Files[1]
			if other.Outcome != Stored || other.Warning == "" || other.Stored != "devices/router1/act/alt/"+other.SHA256[:16]+"/"+name {
				t.Fatalf("%+v", other)
			}
			if alias.Outcome != Alias || alias.AliasOf != name || alias.Stored != "devices/router1/act/"+actName(2) {
				t.Fatalf("%+v", alias)
			}
			for p, want := range map[string]string{"devices/router1/act/" + name: "one\nEND\n", other.Stored: "two\nEND\n", alias.Stored: "one\nEND\n"} {
				if b, err := os.ReadFile(filepath.Join(r.data, p)); err != nil || string(b) != want {
					t.Fatalf("%s: %q %v", p, b, err)
				}
			}
			for _, p := range []string{"devices/router1/act/" + name, other.Stored} {
				if d, n, ok := ParseSealed(p); !ok || d != "router1" || n.String() != name {
					t.Fatalf("%s: %s %v %v", p, d, n, ok)
				}
			}
			// A time that changes and nothing else: the file is there already.
			r.put(name, "two\n", 400)
			if res, err = r.pull(tr); err != nil || res.Count(Alias) != 1 || res.Files[0].Stored != other.Stored {
				t.Fatalf("%s %v", brief(res), err)
			}
		})
	}
}

// T6 and T3: files that vanish or change between the listing and the end of the
// transfer. The device is changed when the first file is being verified.
func TestFilesThatVanishOrChange(t *testing.T) {
	for name, k := range deviceKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, k.quirks)
			if k.noSFTP {
				r.server.sftp = nil
			}
			r.o.Limits.BatchFiles = 1 // the others are still to come when the first is verified
			for i := range 4 {
				r.put(actName(i), "content\n"+strings.Repeat("x", i), int64(100+i))
			}
			verify := r.o.Verify
			first := true
			r.o.Verify = func(ctx context.Context, p string) (Verified, error) {
				if first {
					first = false
					if err := os.Remove(filepath.Join(r.act, actName(1))); err != nil {
						t.Error(err)
					}
					r.put(actName(2), "grown, and more of it\n", 500)
					// This one grows after it was read.
					r.put(actName(0), "content\nappended\n", 600)
				}
				return verify(ctx, p)
			}
			res, err := r.pull(k.transport)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{actName(0) + " superseded", actName(0) + " stored", actName(1) + " lost",
				actName(2) + " superseded", actName(2) + " stored", actName(3) + " stored"}
			if k.noMTime {
				slices.Sort(want)
				got := outcomes(res)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Fatalf("got %q\nwant %q", got, want)
				}
			} else if got := outcomes(res); !slices.Equal(got, want) {
				t.Fatalf("got %q\nwant %q", got, want)
			}
			got := r.stored()
			if got[actName(0)] != "content\nappended\nEND\n" || got[actName(2)] != "grown, and more of it\nEND\n" || len(got) != 3 {
				t.Fatalf("%q", got)
			}
		})
	}
}

// A file found in an earlier run that is gone now is lost, one of another
// directory is not.
func TestLostAcrossRuns(t *testing.T) {
	r := newRig(t, scpQuirks{})
	ctx := context.Background()
	now := r.nowFunc()()
	_, err := r.ledger.Discover(ctx, now, []ledger.Key{
		{Device: "router1", Path: "act", Name: actName(1), Size: 10, MTime: 5},
		{Device: "router1", Path: "cf2:/act", Name: actName(2), Size: 10, MTime: 5},
		{Device: "router2", Path: "act", Name: actName(3), Size: 10, MTime: 5}})
	if err != nil {
		t.Fatal(err)
	}
	r.put(actName(4), "x\n", 1)
	res, err := r.pull(SFTP)
	if err != nil || !slices.Equal(outcomes(res), []string{actName(1) + " lost", actName(4) + " stored"}) {
		t.Fatalf("%s %v", brief(res), err)
	}
	for row, err := range r.ledger.Files(ctx, "") {
		if err != nil || row.Owner != "" || row.Name == actName(2) && row.State != ledger.Discovered || row.Name == actName(3) && row.State != ledger.Discovered {
			t.Fatalf("%+v %v", row, err)
		}
	}
}

// An error about our own disk ends the run; nothing is claimed to be stored.
func TestVerifyTroubleIsNotTheFiles(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.put(actName(1), "x\n", 1)
	r.o.Verify = func(_ context.Context, p string) (Verified, error) {
		_, err := os.ReadFile(p + "-not-there")
		return Verified{}, err
	}
	res, err := r.pull(SFTP)
	oneLineError(t, err)
	if len(res.Files) != 1 || res.Files[0].Outcome != Failed || len(r.stored()) != 0 {
		t.Fatalf("%s %v", brief(res), err)
	}
	if _, err := os.Stat(filepath.Join(r.data, "quarantine")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("the file was quarantined")
	}
	r.o.Verify = verifyEnd
	if res, err = r.pull(SFTP); err != nil || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
}

func TestMissingAndEmptyDirectory(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		r := newRig(t, scpQuirks{})
		if res, err := r.pull(tr); err != nil || res.Listed != 0 {
			t.Fatalf("%s, empty: %s %v", tr, brief(res), err)
		}
		r.target.Path = "nowhere"
		_, err := r.pull(tr)
		oneLineError(t, err)
		var h *Error
		if !errors.Is(err, errNoDirectory) || !errors.As(err, &h) || !strings.Contains(h.Hint(), `"nowhere"`) {
			t.Fatalf("%s, missing: %v", tr, err)
		}
	}
}

func TestBatches(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.o.Limits.BatchFiles, r.o.Limits.BatchBytes = 3, 100
	for i := range 10 {
		r.put(actName(i), strings.Repeat("x", i*20), 1)
	}
	if res, err := r.pull(SFTP); err != nil || res.Count(Stored) != 10 {
		t.Fatalf("%s %v", brief(res), err)
	}
	// Too large is not fetched and not forgotten.
	r.o.Limits.FileSize = 50
	r.put(actName(20), strings.Repeat("x", 60), 1)
	for range 2 {
		res, err := r.pull(SCP)
		if err != nil || !slices.Equal(outcomes(res), []string{actName(20) + " failed"}) || !strings.Contains(res.Files[0].Reason, "the limit is 50") {
			t.Fatalf("%s %v", brief(res), err)
		}
	}
}

func TestSpace(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.put(actName(1), "x\n", 1)
	r.o.Limits.FreeStart = Space{1 << 62, 100}
	_, err := r.pull(SFTP)
	if !errors.Is(err, ErrSpace) || r.server.conns != 0 {
		t.Fatalf("%v, %d connections", err, r.server.conns)
	}
	oneLineError(t, err)
}

// T10: the time in a name is opaque.
func TestOddDates(t *testing.T) {
	r := newRig(t, scpQuirks{})
	stamps := []string{"20260230-000000", "20240229-000000", "20260101-240000", "20260101-235960", "19700101-000000", "20360207-062816", "20380119-031408", "99999999-999999"}
	for i, s := range stamps {
		r.put("act0101-"+s+".xml.gz", fmt.Sprintln(i), 1)
	}
	if res, err := r.pull(SCP); err != nil || res.Count(Stored) != len(stamps) {
		t.Fatalf("%s %v", brief(res), err)
	}
}
