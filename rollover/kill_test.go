package rollover

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// killEnv makes the test binary a program that appends numbered entries until
// it is killed: directory, first number.
const killEnv = "ROLLOVER_TEST_APPEND"

func TestMain(m *testing.M) {
	if args := os.Getenv(killEnv); args != "" {
		if err := appendForever(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1) // it is meant to be killed
	}
	os.Exit(m.Run())
}

func killOptions(root string) Options {
	return Options{Dirs: Dirs{filepath.Join(root, "act-collect"), filepath.Join(root, "act")}, Prefix: Act, ID: 1, FileID: 2,
		Ext: ".xml.gz", Rollover: 3 * time.Second, Level: 1,
		Header: func(Name, time.Time, string) []byte { return []byte("<log>\n") },
		Footer: func() []byte { return []byte("</log>\n") }}
}

// appendForever recovers, then appends entries whose clock goes on by one
// second each, and journals each one on standard output once it is committed.
func appendForever(args string) error {
	root, from, _ := strings.Cut(args, "|")
	first, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	now := func(i int) time.Time {
		return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
	}
	o := killOptions(root)
	if _, err := Recover(o, now(first)); err != nil {
		return err
	}
	l, err := Open(o)
	if err != nil {
		return err
	}
	big := strings.Repeat("x", 1<<20)
	for i := first; ; i++ {
		text := fmt.Sprintf("entry %d\n", i)
		if i%7 == 0 {
			text = fmt.Sprintf("entry %d %s\n", i, big)
		}
		if err := l.Append(now(i), []byte(text)); err != nil {
			return err
		}
		if _, err := fmt.Println(i); err != nil {
			return err
		}
	}
}

// kill -9 at arbitrary moments: every entry that was claimed survives, once and
// in order, nothing torn appears in act, and the next start needs no hand.
func TestKill(t *testing.T) {
	kills := 10
	if proof() {
		kills = 150
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	root := t.TempDir()
	claimed, last := map[int]bool{}, 0
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", killEnv, root, last+10))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The child goes on while this side reads: the kill falls anywhere.
		lines := bufio.NewScanner(out)
		for range 1 + rng.IntN(12) {
			if !lines.Scan() {
				t.Fatalf("seed %d: the child ended by itself", seed)
			}
			last = claim(t, claimed, lines.Text())
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // claims that were on their way
			last = claim(t, claimed, lines.Text())
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("seed %d: the child says %v", seed, err)
		}
		for f, err := range List(filepath.Join(root, "act")) {
			if err != nil {
				t.Fatal(err)
			}
			checkSealed(t, f.Path)
		}
	}
	if _, err := Recover(killOptions(root), time.Now()); err != nil {
		t.Fatal(err)
	}
	var files []File
	for f, err := range List(filepath.Join(root, "act")) {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return Compare(a.Name, b.Name) })
	previous, unclaimed := 0, 0
	for _, f := range files {
		for _, id := range checkSealed(t, f.Path) {
			if id <= previous {
				t.Fatalf("seed %d: %s: entry %d after %d", seed, f.Name, id, previous)
			}
			if !claimed[id] {
				unclaimed++ // whole on disk, killed before it could be claimed
			}
			delete(claimed, id)
			previous = id
		}
	}
	if len(claimed) != 0 || unclaimed > kills {
		t.Fatalf("seed %d: claimed and lost: %v; there and not claimed: %d of at most %d", seed, claimed, unclaimed, kills)
	}
	if n := len(names(t, filepath.Join(root, "act-collect"))); n != 0 {
		t.Fatalf("seed %d: %d files left in act-collect", seed, n)
	}
	t.Logf("seed %d: %d kills, %d files", seed, kills, len(files))
}

func claim(t *testing.T, claimed map[int]bool, line string) int {
	id, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	claimed[id] = true
	return id
}

// checkSealed decodes a sealed file to its clean end and returns its entries.
func checkSealed(t *testing.T, path string) []int {
	text := gunzip(t, path)
	if !strings.HasPrefix(text, "<log>\n") || !strings.HasSuffix(text, "</log>\n") {
		t.Fatalf("%s is not complete: %.60q", path, text)
	}
	var ids []int
	for _, line := range strings.Split(strings.TrimSuffix(strings.TrimPrefix(text, "<log>\n"), "</log>\n"), "\n") {
		if line == "" {
			continue
		}
		id, err := strconv.Atoi(strings.Fields(line)[1])
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}
