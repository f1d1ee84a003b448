// Package pgserver gives a test a PostgreSQL server of its own: a new cluster in
// a temporary directory, reached by a Unix socket only, durable as a real one
// (fsync on), and gone when the test ends, however it ends.
package pgserver

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"

	"acctpull/internal/need"
)

// Password is that of the user of every server; it holds what must be escaped in
// a URL. Tests look for it where no password may be.
const Password = "geheim/#?@:% 42"

// userName is the only role.
const userName = "acct"

// Server is a running PostgreSQL. The zero value is not usable; call Start.
type Server struct {
	t     testing.TB
	dir   string
	cred  *syscall.Credential
	next  atomic.Int64
	cmd   *exec.Cmd
	stdin io.WriteCloser
	log   chan string
}

// Start starts a server that is stopped and removed when the test ends. It needs
// the programs of PostgreSQL, and as root, which they refuse, the user postgres.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t}
	initdb := tool(t, "initdb")
	if os.Geteuid() == 0 {
		s.cred = postgresUser(t)
	}
	dir, err := os.MkdirTemp("", "pg") // the path of a socket is short
	s.must(err)
	t.Cleanup(func() { s.must(os.RemoveAll(dir)) })
	s.dir = dir
	pw := filepath.Join(dir, "pw")
	s.must(os.WriteFile(pw, []byte(Password), 0o600))
	if s.cred != nil {
		for _, p := range []string{dir, pw} {
			s.must(os.Chown(p, int(s.cred.Uid), int(s.cred.Gid)))
		}
	}
	cmd := s.command(initdb, "-D", s.data(), "-U", userName, "-A", "scram-sha-256", "--pwfile", pw, "-E", "UTF8", "--locale=C", "-N")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.run()
	t.Cleanup(func() {
		if s.cmd != nil {
			s.end("QUIT")
		}
	})
	return s
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// tool finds a program of PostgreSQL, whose directory is rarely in PATH.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/pgsql-*/bin/"} {
		found, err := filepath.Glob(pattern + name)
		if err == nil && len(found) > 0 {
			return slices.Max(found)
		}
	}
	return need.Tool(t, name)
}

func postgresUser(t testing.TB) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		need.Missing(t, "the user postgres, because PostgreSQL does not run as root")
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setpgid: true}
	return cmd
}

// run starts the server and waits until it answers. A shell stands between it and
// us: when our end of its standard input goes away, because the test was killed,
// it stops the server.
func (s *Server) run() {
	s.t.Helper()
	const script = `"$@" </dev/null & read -r how; kill -"${how:-QUIT}" $!; wait $!`
	s.cmd = s.command("/bin/sh", "-c", script, "sh", tool(s.t, "postgres"), "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=on", "-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "log_min_messages=warning")
	var err error
	s.stdin, err = s.cmd.StdinPipe()
	s.must(err)
	stderr, err := s.cmd.StderrPipe()
	s.must(err)
	s.must(s.cmd.Start())
	ready := make(chan bool, 1)
	s.log = make(chan string, 1)
	go func() {
		var lines strings.Builder
		for in := bufio.NewScanner(stderr); in.Scan(); {
			fmt.Fprintln(&lines, in.Text())
			if strings.Contains(in.Text(), "database system is ready") {
				ready <- true
			}
		}
		close(ready)
		s.log <- lines.String()
	}()
	if !<-ready {
		s.t.Fatalf("postgres did not start:\n%s", <-s.log)
	}
}

// end stops the server with a signal and waits until it is gone.
func (s *Server) end(signal string) string {
	s.t.Helper()
	_, err := fmt.Fprintln(s.stdin, signal)
	s.must(errors.Join(err, s.stdin.Close()))
	log := <-s.log
	_ = s.cmd.Wait() // it was stopped by a signal
	s.cmd = nil
	return log
}

// Crash stops the server as a crash does: nothing is written any more, every
// connection is cut, and the next start recovers from the log.
func (s *Server) Crash() { s.end("QUIT") }

// Run starts the server again after Crash.
func (s *Server) Run() { s.run() }

// Database makes a new, empty database and returns its URL, with the password.
func (s *Server) Database() string {
	s.t.Helper()
	name := fmt.Sprintf("test%d", s.next.Add(1))
	s.Exec(s.url("postgres"), `CREATE DATABASE `+name+` TEMPLATE template0 ENCODING 'UTF8'`)
	return s.url(name)
}

// Exec runs one statement on a database.
func (s *Server) Exec(url, statement string) {
	s.t.Helper()
	db, err := sql.Open("pgx", url)
	s.must(err)
	_, err = db.ExecContext(context.Background(), statement)
	s.must(errors.Join(err, db.Close()))
}

func (s *Server) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(userName, Password), Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}
