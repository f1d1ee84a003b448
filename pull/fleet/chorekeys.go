package fleet

import "acctpull/internal/strictyaml"

// Chores say what the service does every hour with the dataset it has, beside
// fetching and exporting.
type Chores struct {
	// Usage: the usage tables are brought up to date.
	Usage bool
	// Counter32 are counters of 32 bits, as usage --counter32 takes them.
	Counter32 []string
	// Compact: the files of days that are over become one file a day.
	Compact bool
}

// choreKeys are the keys of the whole that are about the dataset.
var choreKeys = []strictyaml.Key[document]{
	{Name: "usage", Type: "true or false", Default: "true", Doc: "Keep the usage tables up to date, every hour: what moved in each interval, from counters that only grow. See [usage](formats/usage.md).",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Boolean(k, n, &v.chores.Usage) }},
	{Name: "counter32", Type: "list of texts", Doc: "Counters that have 32 bits only, as `DEVICE:COLUMN=RATE` with the most that the counter counts in a second: `edge-1:packets_dropped=1500000`. All other counters have 64.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Texts(k, n, &v.chores.Counter32) }},
	{Name: "compact", Type: "true or false", Default: "true", Doc: "Make one sorted file of the many files of each day that is over, every hour. See [the dataset](formats/dataset.md).",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Boolean(k, n, &v.chores.Compact) }},
}
