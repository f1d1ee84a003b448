package pull

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/internal/gen"
	"acctpull/internal/need"
)

// The comparison of `make bench-pull`: the acctpull program beside what operators
// use today, against the same real OpenSSH server on loopback, in the same run.
// What is counted is the user and system time of the client's processes, and the
// time that passes.
//
// Ours verifies each file to its last byte, makes it durable and records it; the
// others copy.

// contest is one server and the programs that fetch from it.
type contest struct {
	b        *testing.B
	r        *rig
	acctpull string
	scratch  string
	runs     int
}

// spent is what a command took.
type spent struct {
	cpu, wall time.Duration
}

func (s spent) per(n int) spent { return spent{s.cpu / time.Duration(n), s.wall / time.Duration(n)} }

// run runs commands one after the other.
func (c *contest) run(cmds ...*exec.Cmd) spent {
	c.b.Helper()
	var s spent
	for _, cmd := range cmds {
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		began := time.Now()
		if err := cmd.Run(); err != nil {
			c.b.Fatalf("%s: %v\n%s", cmd, err, out.Bytes()[:min(out.Len(), 2000)])
		}
		s.wall += time.Since(began)
		s.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return s
}

// fresh returns a new directory.
func (c *contest) fresh() string {
	c.runs++
	dir := filepath.Join(c.scratch, fmt.Sprint("run", c.runs))
	if err := os.Mkdir(dir, 0o750); err != nil {
		c.b.Fatal(err)
	}
	return dir
}

// ours is one run of acctpull over devices, each of which is a directory of the
// server.
func (c *contest) ours(data string, transport Transport, dirs ...string) spent {
	var inv strings.Builder
	fmt.Fprintf(&inv, "data: %s\ndevices-at-once: 16\ndefaults:\n  port: %d\n  user: %s\n  identity: %s\n  known-hosts: %s\n  transport: %s\ndevices:\n",
		data, c.r.target.Port, c.r.target.User, c.r.target.Identities[0], c.r.target.KnownHosts[0], transport)
	for i, dir := range dirs {
		fmt.Fprintf(&inv, "  - name: edge-%d\n    host: 127.0.0.1\n    path: %s\n", i, dir)
	}
	file := filepath.Join(data, "inventory.yaml")
	writeFile(c.b, file, []byte(inv.String()), 0o600)
	return c.run(exec.Command(c.acctpull, "pull", "-c", file, "--no-export"))
}

// peer is how another program copies one directory of the server.
type peer struct {
	name string
	copy func(c *contest, from, to string) *exec.Cmd
	list func(c *contest, from, to string) *exec.Cmd // nothing new; nil if it cannot know
}

func (c *contest) ssh() string {
	return fmt.Sprintf("ssh -F none -p %d -i %s -o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes", c.r.target.Port, c.r.target.Identities[0], c.r.target.KnownHosts[0])
}

// sshArgs are the words for scp and sftp.
func (c *contest) sshArgs(more ...string) []string {
	return append([]string{"-q", "-F", "none", "-P", fmt.Sprint(c.r.target.Port), "-i", c.r.target.Identities[0],
		"-o", "UserKnownHostsFile=" + c.r.target.KnownHosts[0], "-o", "StrictHostKeyChecking=yes"}, more...)
}

func (c *contest) login() string { return c.r.target.User + "@127.0.0.1" }

// peers are the other programs.
func peers() []peer {
	rclone := func(c *contest, from, to string) *exec.Cmd {
		return exec.Command("rclone", "copy", "--config", "/dev/null", "--sftp-disable-hashcheck", "--sftp-host", "127.0.0.1", "--sftp-port", fmt.Sprint(c.r.target.Port), "--sftp-user", c.r.target.User,
			"--sftp-key-file", c.r.target.Identities[0], "--sftp-known-hosts-file", c.r.target.KnownHosts[0], ":sftp:"+from, to)
	}
	lftp := func(c *contest, from, to string) *exec.Cmd {
		return exec.Command("lftp", "-c", fmt.Sprintf("set sftp:connect-program '%s -a -x'; set net:max-retries 1; open sftp://%s:x@127.0.0.1; mirror -P 4 %s %s", c.ssh(), c.r.target.User, from, to))
	}
	rsync := func(c *contest, from, to string) *exec.Cmd {
		return exec.Command("rsync", "-a", "-e", c.ssh(), c.login()+":"+from+"/", to)
	}
	sftp := func(command string) func(c *contest, from, to string) *exec.Cmd {
		return func(c *contest, from, to string) *exec.Cmd {
			cmd := exec.Command("sftp", c.sshArgs("-b", "-", c.login())...)
			cmd.Stdin = strings.NewReader(fmt.Sprintf(command, from, to))
			return cmd
		}
	}
	return []peer{
		{"rclone copy", rclone, rclone},
		{"lftp mirror", lftp, lftp},
		{"rsync -a", rsync, rsync},
		{"sftp", sftp("get -r %s %s\n"), sftp("ls -l %s\n#%s\n")},
		{"scp -r", func(c *contest, from, to string) *exec.Cmd {
			return exec.Command("scp", c.sshArgs("-r", c.login()+":"+from, to)...)
		}, nil},
		{"scp -r -O", func(c *contest, from, to string) *exec.Cmd {
			return exec.Command("scp", c.sshArgs("-r", "-O", c.login()+":"+from, to)...)
		}, nil},
	}
}

// table prints results in columns, the first row being ours.
type table struct {
	title string
	rows  []tableRow
}

type tableRow struct {
	name string
	s    spent
}

func (t *table) add(name string, s spent) { t.rows = append(t.rows, tableRow{name, s}) }

func (t *table) print() {
	fmt.Printf("\n%s\n%-22s %12s %12s %10s %10s\n", t.title, "", "client CPU", "wall", "CPU ratio", "wall ratio")
	for _, r := range t.rows {
		fmt.Printf("%-22s %9.2f ms %9.2f ms %9.1fx %9.1fx\n", r.name, ms(r.s.cpu), ms(r.s.wall),
			float64(r.s.cpu)/float64(t.rows[0].s.cpu), float64(r.s.wall)/float64(t.rows[0].s.wall))
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// newContest starts the server and builds the program.
func newContest(b *testing.B) *contest {
	for _, tool := range []string{"rclone", "lftp", "rsync", "scp", "sftp", "go"} {
		need.Tool(b, tool)
	}
	c := &contest{b: b, r: newRig(b, scpQuirks{}), scratch: b.TempDir()}
	openSSH(b, c.r, "Subsystem sftp internal-sftp")
	loginWithEd25519(b, c.r)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(c.r.target.KnownHosts[0], old, old); err != nil {
		b.Fatal(err)
	}
	c.acctpull = filepath.Join(c.scratch, "acctpull")
	if out, err := exec.Command("go", "build", "-o", c.acctpull, "acctpull/cmd/acctpull").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return c
}

// generate makes n accounting files and returns their mean length.
func (c *contest) generate(dir string, n, objects int) int64 {
	g, err := gen.New(gen.Options{Objects: objects, Intervals: 1})
	if err != nil {
		c.b.Fatal(err)
	}
	var total int64
	for i := range n {
		var out bytes.Buffer
		if _, err := g.WriteFile(&out); err != nil {
			c.b.Fatal(err)
		}
		name := filepath.Join(dir, gen.FileName(10, 11, time.Date(2026, 1, 2, 0, 0, i, 0, time.UTC)))
		writeFile(c.b, name, out.Bytes(), 0o644)
		total += int64(out.Len())
	}
	return total / int64(n)
}

// devices makes directories with the files of dir.
func (c *contest) devices(dir string, n int) []string {
	files, err := os.ReadDir(dir)
	if err != nil {
		c.b.Fatal(err)
	}
	root := c.fresh()
	var dirs []string
	for i := range n {
		d := filepath.Join(root, fmt.Sprint("device", i))
		if err := os.Mkdir(d, 0o750); err != nil {
			c.b.Fatal(err)
		}
		for _, f := range files {
			if err := os.Link(filepath.Join(dir, f.Name()), filepath.Join(d, f.Name())); err != nil {
				c.b.Fatal(err)
			}
		}
		dirs = append(dirs, d)
	}
	return dirs
}

// bulk fetches all files of a directory with ours, and as many as the others get
// with the others.
func (c *contest) bulk(source string, all, others int, title string) *table {
	files, err := os.ReadDir(source)
	if err != nil {
		c.b.Fatal(err)
	}
	part := c.fresh()
	for _, f := range files[:others] {
		if err := os.Link(filepath.Join(source, f.Name()), filepath.Join(part, f.Name())); err != nil {
			c.b.Fatal(err)
		}
	}
	t := &table{title: title}
	for _, tr := range []Transport{SFTP, SCP} {
		t.add("acctpull, "+string(tr), c.ours(c.fresh(), tr, source).per(all))
	}
	for _, p := range peers() {
		t.add(p.name, c.run(p.copy(c, part, filepath.Join(c.fresh(), "to"))).per(others))
	}
	return t
}

// BenchmarkPeers prints the tables of docs/performance.md.
func BenchmarkPeers(b *testing.B) {
	const fleet, files, ofPeers, many, some, far = 200, 10, 10, 2000, 200, 20
	c := newContest(b)
	for b.Loop() {
		source := c.fresh()
		mean := c.generate(source, files, 120)
		dirs := c.devices(source, fleet)

		first := &table{title: fmt.Sprintf("First pull of %d devices with %d files of %d bytes, per device", fleet, files, mean)}
		idle := &table{title: "Nothing new on the same devices, per device"}
		data := c.fresh()
		first.add("acctpull", c.ours(data, Auto, dirs...).per(fleet))
		idle.add("acctpull", c.ours(data, Auto, dirs...).per(fleet))
		for _, p := range peers() {
			var get, list []*exec.Cmd
			for _, d := range dirs[:ofPeers] {
				to := filepath.Join(c.fresh(), "to")
				get = append(get, p.copy(c, d, to))
				if p.list != nil {
					list = append(list, p.list(c, d, to))
				}
			}
			first.add(p.name, c.run(get...).per(ofPeers))
			if p.list != nil {
				idle.add(p.name, c.run(list...).per(ofPeers))
			}
		}
		first.print()
		idle.print()

		source = c.fresh()
		mean = c.generate(source, many, 370)
		c.bulk(source, many, some, fmt.Sprintf("%d files of %d bytes from one device (the others: %d files), per file", many, mean, some)).print()

		port, known := c.r.target.Port, c.r.target.KnownHosts
		throughProxy(b, c.r, 25*time.Millisecond)
		c.bulk(source, many, far, fmt.Sprintf("The same behind a round trip of 50 ms (the others: %d files), per file", far)).print()
		c.r.target.Port, c.r.target.KnownHosts = port, known
		b.ReportMetric(ms(idle.rows[0].s.cpu), "cpu-ms/idle-poll")
		b.ReportMetric(ms(first.rows[0].s.cpu), "cpu-ms/first-pull")
	}
}
