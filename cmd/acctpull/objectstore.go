package main

import (
	"context"
	"fmt"
	"os"

	"acctpull/internal/depot"
	"acctpull/internal/depot/objectstore"
	"acctpull/pull/fleet"
)

// checkStore tells whether the store of an inventory can be one.
func checkStore(s fleet.Store) error {
	if s.URL == "" {
		return nil
	}
	_, _, err := objectstore.ParseURL(s.URL)
	return err
}

// openDepot opens the place where the finished files of an inventory live: its
// data directory, or an object store that answers and keeps its word.
func (a *app) openDepot(ctx context.Context, inv *fleet.Inventory) (depot.Depot, error) {
	if inv.Store.URL == "" {
		return depot.NewDir(inv.Data), nil
	}
	c := objectstore.Config{Endpoint: inv.Store.Endpoint, Region: inv.Store.Region, HostStyle: inv.Store.HostStyle, AccessKey: inv.Store.AccessKey}
	var err error
	if c.Bucket, c.Prefix, err = objectstore.ParseURL(inv.Store.URL); err != nil {
		return nil, &usageError{err: err}
	}
	if inv.Store.CA != "" {
		if c.CA, err = os.ReadFile(inv.Store.CA); err != nil {
			return nil, usagef("", "certificates of the store: %w", err)
		}
	}
	if c.SecretKey, err = inv.Store.Secret.Read(a.getenv); err != nil {
		return nil, &usageError{err: fmt.Errorf("secret key of the store: %w", err)}
	}
	s, err := objectstore.New(c)
	if err != nil {
		return nil, &usageError{err: err}
	}
	return s, s.Check(ctx)
}
