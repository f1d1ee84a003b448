package pgserver

import (
	"database/sql"
	"testing"
)

// TestServer: two databases are two, durable, and they survive a crash.
func TestServer(t *testing.T) {
	s := Start(t)
	a, b := s.Database(), s.Database()
	if a == b {
		t.Fatalf("one database twice: %s", a)
	}
	s.Exec(a, `CREATE TABLE x (n BIGINT)`)
	s.Exec(a, `INSERT INTO x VALUES (7)`)
	s.Crash()
	s.Run()
	db, err := sql.Open("pgx", a)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	var fsync string
	if err := db.QueryRow(`SELECT n, current_setting('fsync') FROM x`).Scan(&n, &fsync); err != nil || n != 7 || fsync != "on" {
		t.Errorf("%d, fsync %s, %v", n, fsync, err)
	}
	s.Exec(b, `CREATE TABLE x (n BIGINT)`)
}
