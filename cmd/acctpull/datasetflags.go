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

// find returns the dataset and its local directory, which is where files in the
// making go even if the dataset is in a bucket.
func (f *datasetFlags) find(ctx context.Context, a *app) (dataset depot.Depot, local string, err error) {
	if f.dataset != "" {
		if f.config != "" || f.data != "" {
			return nil, "", usagef("", "give one of -c, --data and --dataset")
		}
		if !isDir(f.dataset) {
			return nil, "", usagef("", "%s is not a directory", f.dataset)
		}
		return depot.NewDir(f.dataset), f.dataset, nil
	}
	if f.config == "" && f.data == "" {
		return nil, "", usagef("the dataset is in the data directory of pull or serve, or where export wrote it", "one of -c FILE, --data DIR and --dataset DIR is needed")
	}
	p, err := a.findPlace(ctx, f.config, f.data, readFlags{})
	if err != nil {
		return nil, "", err
	}
	if dataset = p.depot; p.dataset != "" {
		dataset = depot.Sub(p.depot, p.dataset)
	}
	return dataset, filepath.Join(p.data, filepath.FromSlash(p.dataset)), nil
}
