package ledger_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/internal/pgserver"
	"acctpull/ledger"
)

// TestPostgres runs the suite and everything that only PostgreSQL has on one
// server.
func TestPostgres(t *testing.T) {
	s := pgserver.Start(t)
	t.Run("Suite", func(t *testing.T) {
		at := s.Database()
		ok(t, must(ledger.Open(t.Context(), at))(t).Close())
		Suite(t, func(t *testing.T) store {
			// New tables for every test would take most of the time.
			s.Exec(at, `DO $$ BEGIN DELETE FROM pulled; DELETE FROM batch; DELETE FROM output; DELETE FROM facts;
				DELETE FROM removal; DELETE FROM device; DELETE FROM node; DELETE FROM visit; DELETE FROM expiring; DELETE FROM hold; END $$`)
			return func() *ledger.Ledger { return mustOpen(t, at) }
		})
	})
	for _, c := range []struct {
		name string
		test func(*testing.T, *pgserver.Server)
	}{
		{"OpenAtOnce", pgOpenAtOnce},
		{"Refuses", pgRefuses},
		{"FromVersion2", pgFromVersion2},
		{"Secret", pgSecret},
		{"Damage", pgDamage},
		{"Crash", pgCrash},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
}

// pgOpenAtOnce: processes that start together make one set of tables.
func pgOpenAtOnce(t *testing.T, s *pgserver.Server) {
	at := s.Database()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			l, err := ledger.Open(t.Context(), at)
			if err == nil {
				_, err = l.Discover(t.Context(), start, []ledger.Key{key("r1", "x")})
				err = errors.Join(err, l.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(rows(t, mustOpen(t, at))); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// pgFromVersion2: processes that start together bring the tables to our version
// once, and what was in them stays.
func pgFromVersion2(t *testing.T, s *pgserver.Server) {
	at := s.Database()
	l := must(ledger.Open(t.Context(), at))(t)
	put(t, l, "r1", map[string]string{"a": "1", "b": "2"})
	b := plan(t, l, 0, 0)
	outputs, results := outcome(b)
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
	want := rows(t, l)
	ok(t, l.Close())
	for _, statement := range backTo2 {
		s.Exec(at, statement)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			l, err := ledger.Open(t.Context(), at)
			if err == nil {
				err = l.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l = mustOpen(t, at)
	if got := rows(t, l); !slices.Equal(got, want) {
		t.Errorf("rows %+v, were %+v", got, want)
	}
	expireSome(t, l)
}

func pgRefuses(t *testing.T, s *pgserver.Server) {
	for _, c := range []struct {
		damage, text string
		want         error
		fatal        bool
	}{
		{`UPDATE schema_version SET version = 4`, "schema version 4", ledger.ErrNewer, false},
		{`UPDATE schema_version SET version = 1`, "does not exist", ledger.ErrDamaged, true},
		{`DELETE FROM schema_version`, "no schema version", ledger.ErrDamaged, true},
		{`DROP INDEX pulled_content`, "pulled_content", ledger.ErrDamaged, true},
		{`DROP TABLE facts`, "facts", ledger.ErrDamaged, true},
		{`ALTER TABLE pulled DROP COLUMN reason`, "reason", nil, true},
	} {
		at := s.Database()
		l := must(ledger.Open(t.Context(), at))(t)
		if !l.Shared() {
			t.Error("it is not shared")
		}
		ok(t, l.Close())
		s.Exec(at, c.damage)
		_, err := ledger.Open(t.Context(), at)
		refused(t, err, c.want, c.text)
		if ledger.IsFatal(err) != c.fatal {
			t.Errorf("%s: fatal %v", c.damage, ledger.IsFatal(err))
		}
	}
	at := s.Database()
	s.Exec(at, `CREATE TABLE recipes (name TEXT)`)
	_, err := ledger.Open(t.Context(), at)
	refused(t, err, ledger.ErrForeign, "another program")
	// A schema of its own, beside the tables of others.
	s.Exec(at, `CREATE SCHEMA acct`)
	put(t, mustOpen(t, at+"&search_path=acct"), "r1", map[string]string{"a": "1"})
	_, err = ledger.Open(t.Context(), at+"&search_path=nowhere")
	refused(t, err, nil, "search_path names no schema")
	_, err = ledger.Open(t.Context(), at+"&options=-c%20synchronous_commit%3Doff")
	refused(t, err, ledger.ErrNotDurable, "synchronous_commit")
}

// pgSecret: no error and no Path has the password in it, however it is written.
func pgSecret(t *testing.T, s *pgserver.Server) {
	good := s.Database()
	u := must(url.Parse(good))(t)
	change := func(f func(*url.URL)) string {
		c := *u
		f(&c)
		return c.String()
	}
	secret := "Xy7secret"
	for name, where := range map[string]string{
		"wrong password": change(func(c *url.URL) { c.User = url.UserPassword("acct", secret) }),
		"no such user":   change(func(c *url.URL) { c.User = url.UserPassword("nobody", secret) }),
		"no database":    change(func(c *url.URL) { c.User = url.UserPassword("acct", secret); c.Path = "/none" }),
		"in the query":   change(func(c *url.URL) { c.User = url.User("acct"); c.RawQuery += "&password=" + secret }),
		"bad option":     change(func(c *url.URL) { c.User = url.UserPassword("acct", secret); c.RawQuery += "&sslmode=perhaps" }),
		"bad port":       "postgres://acct:" + secret + "@localhost:port/db",
		"slash":          "postgres://acct:" + secret + "/x@localhost/db",
		"hash":           "postgres://acct:1" + "#" + secret + "@localhost/db",
		"question mark":  "postgres://acct:1?" + secret + "@localhost/db",
		"percent":        "postgres://acct:%zz" + secret + "@localhost/db",
		"digits, slash":  "postgres://acct:12/" + secret + "@localhost/db",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := ledger.Open(ctx, where)
		cancel()
		var e *ledger.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: error %v", name, err)
		}
		if text := err.Error() + e.Hint() + e.Path; strings.Contains(text, secret) || strings.Contains(text, pgserver.Password) {
			t.Errorf("%s: the password is in %s", name, text)
		}
	}
	l := mustOpen(t, good)
	if p := l.Path(); !strings.HasPrefix(p, "postgres://acct@/test") || strings.Contains(p, "geheim") {
		t.Errorf("path %s", p)
	}
}

// pgDamage: a value that was changed behind the ledger's back is found when it is
// read, and by Check.
func pgDamage(t *testing.T, s *pgserver.Server) {
	at := s.Database()
	filled(t, at, 10)
	for _, damage := range []string{
		`UPDATE pulled SET records = records + 1 WHERE state = 2`, `UPDATE pulled SET device = 'rx' WHERE id = (SELECT MIN(id) FROM pulled)`,
		`DELETE FROM batch`, `UPDATE batch SET released = 1`, `UPDATE output SET row_count = 1`, `DELETE FROM output`,
		`UPDATE facts SET spans = ''`, `UPDATE facts SET file = file + 1000`, `UPDATE visit SET listed = 7`,
		`UPDATE device SET version = 77`, `UPDATE removal SET file = file + 1000`,
	} {
		table := regexp.MustCompile(`pulled|batch|output|facts|visit|device|removal`).FindString(damage)
		s.Exec(at, `CREATE TABLE spare AS SELECT * FROM `+table)
		s.Exec(at, damage)
		l := must(ledger.Open(t.Context(), at))(t)
		err := l.Check(t.Context())
		refused(t, err, ledger.ErrDamaged, "")
		if !ledger.IsFatal(err) {
			t.Errorf("%s: %v", damage, err)
		}
		ok(t, l.Close())
		s.Exec(at, `DELETE FROM `+table)
		s.Exec(at, `INSERT INTO `+table+` OVERRIDING SYSTEM VALUE SELECT * FROM spare`)
		s.Exec(at, `DROP TABLE spare`)
	}
	ok(t, mustOpen(t, at).Check(t.Context()))
}

// pgCrash: the server crashes and starts again; nothing that was recorded is
// gone, and no call fails because its connection was cut.
func pgCrash(t *testing.T, s *pgserver.Server) {
	at := s.Database()
	l := mustOpen(t, at)
	put(t, l, "r1", map[string]string{"a": "1"})
	held := claim(t, l, "a", key("r1", "b"))[0]
	s.Crash()
	s.Run()
	must(l.Store(t.Context(), start, held, digest("2"), "b"))(t)
	if n := len(rows(t, l)); n != 2 {
		t.Errorf("%d rows", n)
	}
	if b := plan(t, l, 0, 0); len(b.Inputs) != 2 {
		t.Errorf("batch %+v", b)
	}
	// A server that stays away is an error that says so and is not fatal.
	s.Crash()
	defer s.Run()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Counts(ctx)
	if err == nil || ledger.IsFatal(err) {
		t.Errorf("error %v", err)
	}
}

// TestPostgresKilled kills processes that work on one ledger at random moments; the server
// crashes in between. It is whole, and nothing that was recorded is gone.
func TestPostgresKilled(t *testing.T) {
	s := pgserver.Start(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	at := s.Database()
	mustClose(t, at)
	said := newClaimed()
	for i, n := 0, cuts(3, 30); i < n || tooEarly(i, n, said); i++ {
		var outs []io.Reader
		var ends []func() error
		var children []*exec.Cmd
		for range 2 {
			cmd, out := begin(t, "work", at)
			children, outs = append(children, cmd), append(outs, out)
			ends = append(ends, later(time.Duration(300+rng.IntN(700+200*max(0, i-n)))*time.Millisecond, cmd.Process.Kill))
		}
		for j, out := range outs {
			_, failure, err := said.read(out)
			ok(t, errors.Join(err, ends[j]()))
			if err := children[j].Wait(); err == nil || strings.Contains(failure, "fatal") {
				t.Fatalf("a child ended with %v: %s", err, failure)
			}
		}
		if i%2 == 1 {
			s.Crash()
			s.Run()
		}
		said.verify(t, at)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d files recorded, %d stored, %d batches finished", len(said.discovered), len(said.stored), len(said.finished))
	if len(said.finished) == 0 {
		t.Error("the children finished nothing")
	}
}
