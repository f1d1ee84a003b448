package main

import (
	"context"
	"path/filepath"

	"github.com/spf13/pflag"

	"acctpull/internal/depot"
)

// datasetFlags say which dataset a command works on.
type datasetFlags struct {
	config, data, dataset string
}

func (f *datasetFlags) register(fl *pflag.FlagSet) {
	fl.StringVarP(&f.config, "config", "c", "", "inventory `file`; docs/service.md describes it")
	fl.StringVar(&f.data, "data", "", "data `directory` of pull or serve")
	fl.StringVar(&f.dataset, "dataset", "", "`directory` of a dataset, such as the one that export wrote to")
}

// find returns the place with the dataset. One that is nothing but a dataset has
// no ledger.
func (f *datasetFlags) find(ctx context.Context, a *app) (place, error) {
	if f.dataset == "" {
		if f.config == "" && f.data == "" {
			return place{}, usagef("the dataset is in the data directory of pull or serve, or where export wrote it", "one of -c FILE, --data DIR and --dataset DIR is needed")
		}
		return a.findPlace(ctx, f.config, f.data, readFlags{})
	}
	if f.config != "" || f.data != "" {
		return place{}, usagef("", "give one of -c, --data and --dataset")
	}
	if !isDir(f.dataset) {
		return place{}, usagef("", "%s is not a directory", f.dataset)
	}
	if isDir(filepath.Join(f.dataset, ".acctpull")) {
		return a.findPlace(ctx, "", f.dataset, readFlags{})
	}
	return place{data: f.dataset, depot: depot.NewDir(f.dataset)}, nil
}

// open returns the dataset.
func (f *datasetFlags) open(ctx context.Context, a *app) (depot.Depot, error) {
	p, err := f.find(ctx, a)
	if err != nil {
		return nil, err
	}
	return p.tables(), nil
}

// tables is the dataset of a place.
func (p *place) tables() depot.Depot {
	if p.dataset == "" {
		return p.depot
	}
	return depot.Sub(p.depot, p.dataset)
}

// tablesDir is the local directory of the dataset: where files in the making go
// even if the dataset is in a bucket.
func (p *place) tablesDir() string { return filepath.Join(p.data, filepath.FromSlash(p.dataset)) }
