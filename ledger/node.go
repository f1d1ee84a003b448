package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Node is a process that works with the ledger beside others.
type Node struct {
	Name string
	// Began is when it began to work, Until how long it may be taken for
	// alive: it says so again before.
	Began, Until time.Time
}

// nodeRow is a row of node, in milliseconds.
type nodeRow struct {
	name         string
	began, until int64
}

const (
	selectNodes = `SELECT name, began, lease_until, crc FROM node `
	upsertNode  = `INSERT INTO node (name, began, lease_until, crc) VALUES ($1, $2, $3, $4)
	ON CONFLICT (name) DO UPDATE SET began = excluded.began, lease_until = excluded.lease_until, crc = excluded.crc`
	deleteNode  = `DELETE FROM node WHERE name = $1`
	deleteNodes = `DELETE FROM node WHERE lease_until < $1`
)

// nodesKept is how long a node that is gone without a word is remembered.
const nodesKept = 24 * time.Hour

func (x nodeRow) crc() int64 {
	var c checksum
	c.text(x.name)
	c.number(x.began, x.until)
	return c.sum()
}

func scanNode(s scanner) (nodeRow, error) {
	var x nodeRow
	var crc int64
	if err := s.Scan(&x.name, &x.began, &x.until, &crc); err != nil {
		return x, err
	}
	return x, whole("node", crc, x.crc())
}

// SeeNode says that a node is alive until n.Until. Nodes that are gone for a day
// are forgotten on the way.
func (l *Ledger) SeeNode(ctx context.Context, now time.Time, n Node) error {
	const op = "see"
	if n.Name == "" || hasControl(n.Name) || checkText(n.Name) != nil {
		return l.fail(op, fmt.Errorf("the node %s has no usable name", quote(n.Name)))
	}
	x := nodeRow{n.Name, toMilli(n.Began), toMilli(n.Until)}
	return l.write(ctx, op, func(t *transaction) error {
		_, err := t.exec(upsertNode, x.name, x.began, x.until, x.crc())
		if err == nil {
			_, err = t.exec(deleteNodes, toMilli(now.Add(-nodesKept)))
		}
		return err
	})
}

// ForgetNode says that a node has ended.
func (l *Ledger) ForgetNode(ctx context.Context, name string) error {
	return l.write(ctx, "forget", func(t *transaction) error {
		_, err := t.exec(deleteNode, name)
		return err
	})
}

// Nodes returns the nodes that have not ended by themselves, by name: those whose
// Until is over are gone without a word.
func (l *Ledger) Nodes(ctx context.Context) ([]Node, error) {
	nodes, err := collect(func(s scanner) (Node, error) {
		x, err := scanNode(s)
		return Node{Name: x.name, Began: fromMilli(x.began), Until: fromMilli(x.until)}, err
	})(l.query(ctx, selectNodes+`ORDER BY name`))
	if err != nil {
		return nil, l.fail("read", err)
	}
	return nodes, nil
}

// Clock is the clock of the database: one for all nodes, which their leases go
// by. For a ledger of SQLite it is that of this machine.
func (l *Ledger) Clock(ctx context.Context) (time.Time, error) {
	if !l.e.shared {
		return time.Now(), nil
	}
	at, err := collect(func(s scanner) (ms int64, err error) {
		return ms, s.Scan(&ms)
	})(l.query(ctx, `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`))
	if err == nil && len(at) != 1 {
		err = errors.New("the database does not tell the time")
	}
	if err != nil {
		return time.Time{}, l.fail("read", err)
	}
	return fromMilli(at[0]), nil
}
