package export

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// In a bucket the newest manifest says what the dataset is. It is a small
// document that names pages, one for each table, version and month, and they
// name the files. All are written once and never changed: pages are proved by
// their SHA-256 in the manifest, which proves itself.

const (
	// manifestDir has the manifests, and nothing else, named by their number.
	manifestDir = "manifest"
	// pagesDir has what manifests name. Its name keeps every reader out.
	pagesDir = ".manifest"
	// manifestFormat is what a manifest says of itself.
	manifestFormat = "acctpull/1"
)

// manifestDigest is the last field of a manifest, on a line of its own.
var manifestDigest = durable.Digest{Before: `,"digest":"`, After: `"}`}

// ErrNoManifest: a bucket that had manifests has none any more.
var ErrNoManifest = errors.New("the manifests of the dataset are gone, and only they tell which files belong to it")

// manifest is one snapshot of a dataset in a bucket.
type manifest struct {
	Format     string    `json:"manifest"`
	Generation int64     `json:"generation"`
	Time       time.Time `json:"time"`
	Pages      []pageRef `json:"pages"` // by table, version and month

	dataset depot.Reader
	read    map[pageKey]page // what page has read
}

// pageRef names a page.
type pageRef struct {
	pageKey
	Files  int    `json:"files"`
	Rows   int64  `json:"rows"` // -1 if that is not known of some file
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// pageKey is what a page is about.
type pageKey struct {
	Table   string `json:"table"`
	Version int    `json:"version"`
	Month   string `json:"month"` // YYYY-MM
}

func comparePages(a, b pageKey) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Month, b.Month))
}

// keyOfPage is the page of a data file.
func keyOfPage(f DataFile) pageKey { return pageKey{f.Table, f.Version, f.Date[:len("2006-01")]} }

// page has the files of one table, version and month.
type page struct {
	Files    []DataFile   `json:"files"` // by path
	Replaced []historyRef `json:"replaced,omitempty"`
}

// historyRef names the history of one partition.
type historyRef struct {
	Partition string `json:"partition"`
	Path      string `json:"path"`
	SHA256    string `json:"sha256"`
}

// manifestPath is where the manifest of a generation is.
func manifestPath(generation int64) string {
	return fmt.Sprintf("%s/%020d.json", manifestDir, generation)
}

// parseManifestPath tells the generation of a manifest.
func parseManifestPath(p string) (int64, bool) {
	name, ok := strings.CutPrefix(p, manifestDir+"/")
	digits, json := strings.CutSuffix(name, ".json")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, ok && json && len(digits) == 20 && err == nil && n > 0
}

// isManifest tells whether a file is a manifest: only buckets have any.
func isManifest(dataset depot.Reader, p string) bool {
	_, dir := dataset.(*depot.Dir)
	_, ok := parseManifestPath(p)
	return ok && !dir
}

// pagePath is where a document of a generation is put. The content decides its
// name, so that no two ever want the same.
func pagePath(generation int64, sum, suffix string) string {
	return fmt.Sprintf("%s/%020d/%s%s", pagesDir, generation, sum, suffix)
}

// encode returns the manifest as a document: JSON whose last line has the digest
// of those above it.
func (m *manifest) encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(m); err != nil {
		panic("marshal manifest: " + err.Error()) // strings, numbers and times only
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("}\n"))
	return manifestDigest.Append(append(text, '\n'))
}

// decodeManifest reads what encode wrote.
func decodeManifest(text []byte) (*manifest, error) {
	if err := manifestDigest.Check(bytes.NewReader(text), int64(len(text))); err != nil {
		return nil, err
	}
	m := &manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, err
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("its format is %.64q, this version reads %q", m.Format, manifestFormat)
	}
	return m, nil
}

// newestManifest returns the highest generation there is, 0 if none.
func newestManifest(ctx context.Context, dataset depot.Reader) (int64, error) {
	newest := int64(0)
	for e, err := range dataset.List(ctx, manifestDir) {
		if err != nil {
			return 0, &Error{Op: "list manifests", Path: manifestDir, Err: err}
		}
		if n, ok := parseManifestPath(e.Path); ok {
			newest = max(newest, n)
		}
	}
	return newest, nil
}

// openManifest reads the newest manifest; nil if there is none.
func openManifest(ctx context.Context, dataset depot.Reader) (*manifest, error) {
	n, err := newestManifest(ctx, dataset)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		return readManifest(ctx, dataset, n)
	}
	for e, err := range dataset.List(ctx, pagesDir) {
		if err != nil {
			return nil, &Error{Op: "list manifest pages", Path: pagesDir, Err: err}
		}
		if !strings.HasPrefix(e.Path, pagePath(1, "", "")) { // of the first one, a crash can leave the pages
			return nil, &Error{Op: "read manifest", Path: manifestDir, Err: ErrNoManifest}
		}
	}
	return nil, nil
}

// readManifest reads the manifest of a generation.
func readManifest(ctx context.Context, dataset depot.Reader, generation int64) (*manifest, error) {
	p := manifestPath(generation)
	text, err := readAll(ctx, dataset, p)
	var m *manifest
	if err == nil {
		m, err = decodeManifest(text)
	}
	if err == nil && m.Generation != generation {
		err = fmt.Errorf("it is that of generation %d", m.Generation)
	}
	if err != nil {
		return nil, &Error{Op: "read manifest", Path: p, Err: err}
	}
	m.dataset = dataset
	return m, nil
}

// readProved reads a document that a manifest or page names.
func readProved(ctx context.Context, dataset depot.Reader, p, sum string) ([]byte, error) {
	text, err := readAll(ctx, dataset, p)
	if err == nil {
		if got := sumOf(text); got != sum {
			err = fmt.Errorf("its SHA-256 is %s, the manifest has %s: %w", got, sum, durable.ErrDigest)
		}
	}
	if err != nil {
		return nil, &Error{Op: "read manifest page", Path: p, Err: err}
	}
	return text, nil
}

// sumOf is the SHA-256 of a document.
func sumOf(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:])
}

// find returns the place of a page in the manifest.
func (m *manifest) find(k pageKey) (int, bool) {
	return slices.BinarySearchFunc(m.Pages, k, func(r pageRef, k pageKey) int { return comparePages(r.pageKey, k) })
}

// page reads a page once; one that there is not is empty. It belongs to m.
func (m *manifest) page(ctx context.Context, k pageKey) (page, error) {
	i, ok := m.find(k)
	if !ok {
		return page{}, nil
	}
	if p, ok := m.read[k]; ok {
		return p, nil
	}
	p, err := m.readPage(ctx, m.Pages[i])
	if err == nil {
		if m.read == nil {
			m.read = map[pageKey]page{}
		}
		m.read[k] = p
	}
	return p, err
}

func (m *manifest) readPage(ctx context.Context, r pageRef) (p page, err error) {
	text, err := readProved(ctx, m.dataset, r.Path, r.SHA256)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, &Error{Op: "read manifest page", Path: r.Path, Err: err}
	}
	for i, f := range p.Files {
		at, ok := ParsePath(f.Path)
		if !ok || at.Table != f.Table || at.Version != f.Version || at.Date != f.Date || keyOfPage(f) != r.pageKey ||
			i > 0 && p.Files[i-1].Path >= f.Path {
			return p, &Error{Op: "read manifest page", Path: r.Path, Err: fmt.Errorf("it has the file %.256q, which it cannot have there", f.Path)}
		}
	}
	return p, nil
}

// history reads the history of a partition.
func (m *manifest) history(ctx context.Context, partition string) (History, error) {
	at, ok := ParsePath(partition + "/x" + parquetSuffix)
	if !ok {
		return nil, nil
	}
	p, err := m.page(ctx, keyOfPage(at))
	if err != nil {
		return nil, err
	}
	for _, r := range p.Replaced {
		if r.Partition == partition {
			return m.readHistory(ctx, r)
		}
	}
	return nil, nil
}

func (m *manifest) readHistory(ctx context.Context, r historyRef) (History, error) {
	text, err := readProved(ctx, m.dataset, r.Path, r.SHA256)
	if err != nil {
		return nil, err
	}
	h, err := decodeHistory(text)
	if err != nil {
		return nil, &Error{Op: "read history", Path: r.Path, Err: err}
	}
	return h, nil
}

// pagesAtOnce is how many pages are read at a time.
const pagesAtOnce = 16

// pages reads the pages that are wanted, in their order.
func (m *manifest) pages(ctx context.Context, want func(pageRef) bool) ([]page, error) {
	var refs []pageRef
	for _, r := range m.Pages {
		if want(r) {
			refs = append(refs, r)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]page, len(refs))
	slots := make(chan struct{}, pagesAtOnce)
	var wg sync.WaitGroup
	for i, r := range refs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var err error
			if all[i], err = m.readPage(ctx, r); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return all, context.Cause(ctx)
}
