package fleet

import (
	"acctpull/internal/strictyaml"
	"acctpull/pull"
)

// Store is an object store in which archive and dataset live instead of the
// data directory. The zero value is none.
type Store struct {
	// URL is s3://bucket or s3://bucket/prefix.
	URL string
	// Endpoint is the URL of the store, "" for Amazon S3, Region that of the
	// bucket.
	Endpoint, Region string
	// HostStyle puts the bucket into the host name.
	HostStyle bool
	// CA is a file with certificates that sign the one of the store, "" for
	// those of the system.
	CA string
	// AccessKey names who asks, Secret refers to the secret key.
	AccessKey string
	Secret    pull.Secret
}

// storeKeys are the keys of the whole that are about an object store.
var storeKeys = []strictyaml.Key[document]{
	{Name: "store", Type: "URL", Default: "below `data`", Doc: "A bucket of an S3-compatible object store in which archive and dataset live: `s3://bucket` or `s3://bucket/prefix`. See [An object store](#an-object-store).",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.store.URL) }},
	{Name: "store-endpoint", Type: "URL", Default: "`https://s3.amazonaws.com`", Doc: "Where the store is: `https://host` or `https://host:port`.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.store.Endpoint) }},
	{Name: "store-region", Type: "name", Default: "us-east-1", Doc: "The region of the bucket.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.store.Region) }},
	{Name: "store-host-style", Type: "true or false", Default: "false", Doc: "Put the bucket into the host name instead of the path. For Amazon S3 it is always so.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Boolean(k, n, &v.store.HostStyle) }},
	{Name: "store-ca", Type: "file", Default: "those of the system", Doc: "Certificates in PEM that sign the one of the store.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.store.CA) }},
	{Name: "store-access-key", Type: "text", Doc: "The access key of the store. It is a name and no secret.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.store.AccessKey) }},
	{Name: "store-secret-file", Type: "file", Doc: "Its first line is the secret key of the store; mode 0600.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.store.Secret.File) }},
	{Name: "store-secret-env", Type: "name", Doc: "The environment variable with that secret key.",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.store.Secret.Env) }},
	{Name: "store-secret-credential", Type: "name", Doc: "The systemd credential with that secret key (`LoadCredential=`).",
		Set: func(d *decoder, k string, n *node, v *document) bool { return d.Text(k, n, &v.store.Secret.Credential) }},
}

// checkStore finds what is wrong with the store of an inventory. What the URLs
// hold is checked when the store is opened.
func (doc *document) checkStore(d *strictyaml.Decoder) {
	s := doc.store
	switch {
	case s == Store{}:
	case s.URL == "":
		d.Fail(rule, 0, "store", "it is not given, and other keys of it are")
	case s.AccessKey == "" || s.Secret == pull.Secret{}:
		d.Fail(rule, 0, "store", "it needs store-access-key, and one of store-secret-file, store-secret-env and store-secret-credential")
	default:
		if err := s.Secret.Check(); err != nil {
			d.Fail(rule, 0, "store-secret-file", "%v", err)
		}
	}
}
