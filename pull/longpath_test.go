package pull

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"acctpull/internal/need"

	"github.com/pkg/sftp"
)

// throughProxy puts a delay between the rig and its OpenSSH server.
func throughProxy(t testing.TB, r *rig, each time.Duration) {
	t.Helper()
	old := fmt.Sprintf("[127.0.0.1]:%d ", r.target.Port)
	port, _ := delayProxy(t, fmt.Sprintf("127.0.0.1:%d", r.target.Port), each)
	text, err := os.ReadFile(r.target.KnownHosts[0])
	if err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(r.base, "known-behind-the-proxy")
	writeFile(t, known, bytes.ReplaceAll(text, []byte(old), []byte(fmt.Sprintf("[127.0.0.1]:%d ", port))), 0o600)
	r.target.Port, r.target.KnownHosts = port, []string{known}
}

// putNoise puts files of the given length that do not compress, all of them
// different.
func (r *rig) putNoise(n, length int) {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, length-len("END\n"))
	for i := range n {
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		r.put(actName(i), string(b), int64(1000+i))
	}
}

// TestProofLongPath: from a real server behind a round trip of 50 ms, over one
// connection, many small files come at least twenty times as fast as with scp -r
// and as one file at a time. The others are measured with a few files and the
// time per file is compared, connecting included: it is in their favour that a
// few files open the window of TCP less.
func TestProofLongPath(t *testing.T) {
	scp := need.Tool(t, "scp")
	ours, theirs := 40, 3
	proof := os.Getenv("ACCTPULL_PROOF") == "1"
	if proof {
		ours, theirs = 2000, 60
	}
	r := newRig(t, scpQuirks{})
	openSSH(t, r, "Subsystem sftp internal-sftp")
	few := filepath.Join(filepath.Dir(r.act), "few")
	if err := os.Mkdir(few, 0o750); err != nil {
		t.Fatal(err)
	}
	r.putNoise(ours, 50<<10)
	for i := range theirs {
		if err := os.Link(filepath.Join(r.act, actName(i)), filepath.Join(few, actName(i))); err != nil {
			t.Fatal(err)
		}
	}
	throughProxy(t, r, 25*time.Millisecond)

	perFile := func(n int, f func()) time.Duration {
		began := time.Now()
		f()
		return time.Since(began) / time.Duration(n)
	}
	slow := map[string]time.Duration{
		"one file at a time": perFile(theirs, func() { pullOneByOne(t, r.target, few, theirs) }),
		"scp -r": perFile(theirs, func() {
			to := t.TempDir()
			cmd := exec.Command(scp, "-r", "-q", "-p", "-F", "none", "-P", fmt.Sprint(r.target.Port), "-i", r.target.Identities[0],
				"-o", "UserKnownHostsFile="+r.target.KnownHosts[0], "-o", "StrictHostKeyChecking=yes", r.target.User+"@127.0.0.1:"+few, to)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}),
	}
	for _, tr := range []Transport{SFTP, SCP} {
		r.data = filepath.Join(r.base, string(tr))
		if err := os.Mkdir(r.data, 0o750); err != nil {
			t.Fatal(err)
		}
		r.openLedger()
		took := perFile(ours, func() {
			if res, err := r.pull(tr); err != nil || res.Count(Stored) != ours {
				t.Fatal(brief(res), err)
			}
		})
		for what, d := range slow {
			ratio := float64(d) / float64(took)
			t.Logf("%s: %v per file; %s: %v, %.0f times as much", tr, took.Round(10*time.Microsecond), what, d.Round(10*time.Microsecond), ratio)
			if proof && ratio < 20 {
				t.Errorf("%s is %.1f times as fast as %s, wanted are 20", tr, ratio, what)
			}
		}
	}
}

// pullOneByOne is what a small program would do.
func pullOneByOne(t *testing.T, target Target, dir string, n int) {
	t.Helper()
	c, err := connect(context.Background(), target, os.Getenv, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	client, err := sftp.NewClient(c.client)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := client.ReadDir(dir)
	if err != nil || len(infos) != n {
		t.Fatal(len(infos), err)
	}
	for _, info := range infos {
		from, err := client.Open(filepath.Join(dir, info.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := from.WriteTo(&b); err != nil || int64(b.Len()) != info.Size() {
			t.Fatal(b.Len(), err)
		}
		if err := from.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
