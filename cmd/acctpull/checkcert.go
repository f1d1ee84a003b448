package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"acctpull/audit"
	"acctpull/coverage"
)

// certificateCheck is what check --certificate prints as JSON.
type certificateCheck struct {
	Holds       bool                  `json:"holds"`
	Month       string                `json:"month"`
	Digest      string                `json:"digest"`
	Devices     int                   `json:"devices"`
	Files       int                   `json:"files_read"`
	Bytes       int64                 `json:"bytes_read"`
	Removed     int                   `json:"files_removed"`
	Expired     int                   `json:"files_expired"`
	Differences []coverage.Difference `json:"differences"`
	// Since are verdicts that changed because of what came later.
	Since []coverage.Difference `json:"changed_since"`
}

// maxCertificate bounds a certificate: a year of a thousand devices is far below.
const maxCertificate = 1 << 30

// checkCertificate proves a certificate against archive and ledger.
func (a *app) checkCertificate(ctx context.Context, f checkFlags) error {
	if f.rebuild || f.days {
		return usagef("check them one after the other", "--certificate goes with neither --rebuild nor --days")
	}
	o, err := a.auditOptions(place{}, f)
	if err != nil {
		return err
	}
	st, err := os.Stat(f.certificate)
	if err == nil && st.Size() > maxCertificate {
		err = fmt.Errorf("%s is no certificate: it has %s", safe(f.certificate), size(st.Size()))
	}
	if err != nil {
		return usagef("", "%w", err)
	}
	text, err := os.ReadFile(f.certificate)
	if err != nil {
		return usagef("", "%w", err)
	}
	c, err := coverage.ParseCertificate(text)
	if errors.Is(err, coverage.ErrForged) {
		return fmt.Errorf("%s: %w", safe(f.certificate), err)
	} else if err != nil {
		return usagef("acctpull certificate writes one", "%s: %w", safe(f.certificate), err)
	}
	return a.inWard(ctx, quarantineFlags{config: f.config, data: f.data, reading: f.reading}, func(w *ward) error {
		res, err := w.prove(ctx, a, c, o.RemovedBefore)
		if err != nil {
			return err
		}
		return a.printCertificateCheck(res)
	})
}

// prove makes the certificate once more, and reads its files.
func (w *ward) prove(ctx context.Context, a *app, c *coverage.Certificate, removedBefore time.Time) (*certificateCheck, error) {
	res := &certificateCheck{Month: c.Month, Digest: c.Digest, Devices: len(c.Devices), Differences: []coverage.Difference{}, Since: []coverage.Difference{}}
	var devices []coverageDevice
	for _, d := range c.Devices { // by the rules that it was written by
		devices = append(devices, coverageDevice{delay: time.Duration(d.Delay) * time.Second,
			Device: coverage.Device{Name: d.Device, Rollover: time.Duration(d.Rollover) * time.Second, Life: time.Duration(d.Life) * time.Second}})
	}
	now, err := certify(ctx, w.ledger, devices, c.From)
	if err != nil {
		return nil, err
	}
	res.Differences = append(res.Differences, c.Compare(now)...)
	res.Since = append(res.Since, c.Since(now)...)
	progress := a.progress()
	defer progress.done()
	for _, d := range c.Devices {
		expired, err := w.expiredOf(ctx, d.Device)
		if err != nil {
			return nil, err
		}
		for _, f := range filesOf(d, now) {
			if expired[f.SHA256] {
				res.Expired++
				continue
			}
			what, err := w.proveFile(ctx, f, res, removedBefore)
			if err != nil {
				return nil, err
			}
			if what != "" {
				res.Differences = append(res.Differences, coverage.Difference{Device: d.Device, File: f.Name, What: what})
			}
			progress.set("checking: %d files, %s", res.Files, size(res.Bytes))
		}
	}
	res.Holds = len(res.Differences) == 0
	return res, nil
}

// filesOf returns the files of a certified device that should be in the archive,
// each content once. Where they are the ledger says, and not the certificate.
func filesOf(d coverage.CertificateDevice, now *coverage.Certificate) []coverage.CertificateFile {
	certified := map[string]bool{}
	for _, f := range d.Files {
		if f.SHA256 != "" {
			certified[f.SHA256] = true
		}
	}
	var all []coverage.CertificateFile
	at := slices.IndexFunc(now.Devices, func(n coverage.CertificateDevice) bool { return n.Device == d.Device })
	for _, f := range now.Devices[at].Files {
		if certified[f.SHA256] && f.Stored != "" && f.AliasOf == "" {
			delete(certified, f.SHA256)
			all = append(all, f)
		}
	}
	return all
}

// expiredOf returns the SHA-256 of the files of a device whose bytes went by
// retention.
func (w *ward) expiredOf(ctx context.Context, device string) (map[string]bool, error) {
	expired := map[string]bool{}
	for k, err := range w.ledger.StoredFiles(ctx, device) {
		if err != nil {
			return nil, err
		}
		if !k.Expired.IsZero() && k.AliasOf == "" {
			expired[k.SHA256] = true
		}
	}
	return expired, nil
}

// proveFile reads a file back and says what is wrong with it, "" if nothing is.
func (w *ward) proveFile(ctx context.Context, f coverage.CertificateFile, res *certificateCheck, removedBefore time.Time) (string, error) {
	sum, n, err := w.depot.Sum(ctx, f.Stored)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if audit.MadeBefore(f.Name, removedBefore) {
			res.Removed++
			return "", nil
		}
		return "it is not in the archive any more: " + f.Stored, nil
	case err != nil:
		return "", err
	}
	res.Files++
	res.Bytes += n
	if sum != f.SHA256 {
		return fmt.Sprintf("%s is damaged: its SHA-256 is %s, was %s", f.Stored, sum, f.SHA256), nil
	}
	return "", nil
}

func (a *app) printCertificateCheck(r *certificateCheck) error {
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else if err := a.tellCertificateCheck(r); err != nil {
		return err
	}
	if !r.Holds {
		return &outcome{code: exitFailed}
	}
	return nil
}

func (a *app) tellCertificateCheck(r *certificateCheck) error {
	for _, part := range []struct {
		head string
		all  []coverage.Difference
	}{{"DOES NOT HOLD", r.Differences}, {"CHANGED SINCE", r.Since}} {
		var rows [][]string
		for _, d := range part.all {
			rows = append(rows, []string{d.Device, d.File, d.What})
		}
		if len(rows) == 0 {
			continue
		}
		if err := table(a.stdout, []string{"DEVICE", "FILE", part.head}, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	verdict := "the certificate holds"
	if !r.Holds {
		verdict = plural(len(r.Differences), "difference")
	}
	_, err := fmt.Fprintf(a.stdout, "%s of %s: %s read back (%s), %d expired by retention, %d removed on purpose; its own digest is right; %s\n",
		r.Month, plural(r.Devices, "device"), plural(r.Files, "file"), size(r.Bytes), r.Expired, r.Removed, verdict)
	return err
}
