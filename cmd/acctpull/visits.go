package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"acctpull/coverage"
	"acctpull/event"
	"acctpull/ledger"
	"acctpull/pull"
)

// clockLimit is how far a device's clock may be off before somebody is told.
const clockLimit = time.Minute

// visitOf is what the ledger keeps of a visit. A good one counts as of its
// listing: what was closed after that is for the next one.
// A clock that has come off is told. Of an error the visit is the one without
// what was known of the clock before.
func (a *app) visitOf(ctx context.Context, l *ledger.Ledger, device string, began time.Time, result pull.Result, pullErr error) (ledger.Visit, error) {
	ended := a.pace.clock.Now()
	v := ledger.Visit{Device: device, Began: began, Ended: ended, Good: pullErr == nil, Listed: result.Listed, Oldest: result.Oldest}
	if v.Ended.Before(began) {
		v.Ended = began // our clock was set back
	}
	if pullErr != nil {
		v.Error = strings.ReplaceAll(pullErr.Error(), "\n", "; ")
		return v, nil
	}
	listing := result.Listing
	if listing.Began.IsZero() {
		return v, nil
	}
	v.Began, v.Ended = listing.Began, listing.Began
	told := coverage.Skew(result.Skew)
	if listing.Latest.IsZero() && !told.Known() {
		return v, nil // nothing new says nothing about the clock
	}
	var before time.Time
	var known coverage.Skew
	for last, err := range l.Visits(ctx, device, listing.Began.Add(-coverageMargin), listing.Began) {
		if err != nil {
			return v, err
		}
		if last.Good {
			before = last.Ended
			if s := (coverage.Skew{Min: last.SkewMin, Max: last.SkewMax}); s.Known() {
				known = s
			}
		}
	}
	session := coverage.Session{Before: before, At: listing.Ended, Earliest: listing.Earliest, Latest: listing.Latest, Told: told}
	now, stepped := known.Note(session, coverage.Drift(listing.Began.Sub(before)))
	if stepped && !told.Known() {
		again, err := listedAgain(ctx, l, device, listing)
		if err != nil || again {
			return v, err
		}
	}
	v.SkewMin, v.SkewMax = now.Min, now.Max
	if off := now.Beyond(clockLimit); off != 0 && known.Beyond(clockLimit) == 0 {
		a.events.Emit(event.ClockOff(ended, device, offText(off)))
	}
	return v, nil
}

// listedAgain reports whether the latest of the files that a listing showed first
// was closed at a moment that an earlier listing showed already: it is the same
// file with another length, and says nothing about the clock.
func listedAgain(ctx context.Context, l *ledger.Ledger, device string, listing pull.Listing) (bool, error) {
	for row, err := range l.FileFacts(ctx, device, listing.Latest.Add(-coverageMargin), listing.Latest.Add(coverageMargin)) {
		if err != nil {
			return false, err
		}
		if row.MTime == listing.Latest.Unix() && row.First.Before(listing.Began) {
			return true, nil
		}
	}
	return false, nil
}

// offText says how far a clock is off.
func offText(off time.Duration) string {
	if off < 0 {
		return fmt.Sprintf("at least %v behind ours", (-off).Round(time.Second))
	}
	return fmt.Sprintf("at least %v ahead of ours", off.Round(time.Second))
}
