package gen

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/record"
	"acctpull/rollover"
)

// Level is the gzip level of generated files.
const Level = 6

// FileName returns the device's name for a file of this policy and file id:
// act<aa><ff>-yyyymmdd-hhmmss.xml.gz, in UTC.
func FileName(policy, fileID int, created time.Time) string {
	return rollover.NewName(rollover.Act, policy, fileID, created.UTC(), ".xml.gz").String()
}

// WriteXML writes the next file, not compressed.
func (g *Generator) WriteXML(w io.Writer) (Truth, error) {
	count := &counter{w: w}
	t, err := g.write(count, func() error { return nil })
	t.XML = count.n
	return t, err
}

// WriteFile writes the next file as gzip, one member per interval, as the
// collector does.
func (g *Generator) WriteFile(w io.Writer) (Truth, error) {
	packed := &counter{w: w}
	if g.gz == nil {
		gz, err := gzip.NewWriterLevel(packed, Level)
		if err != nil {
			return Truth{}, err
		}
		g.gz = gz
	} else {
		g.gz.Reset(packed)
	}
	count := &counter{w: g.gz}
	t, err := g.write(count, func() error {
		if err := g.gz.Close(); err != nil {
			return err
		}
		g.gz.Reset(packed)
		return nil
	})
	if err == nil {
		err = g.gz.Close()
	}
	t.XML, t.Gzip = count.n, packed.n
	return t, err
}

// write writes one file of Options.Intervals intervals; sync is called after
// each.
func (g *Generator) write(w io.Writer, sync func() error) (Truth, error) {
	doc := g.o.Shape.open(w, g.Header())
	t, err := g.Run(g.o.Intervals, syncing{doc, sync})
	if err == nil {
		err = doc.Close()
	}
	t.Files = 1
	return t, err
}

// syncing calls sync after each interval.
type syncing struct {
	document
	sync func() error
}

func (s syncing) EndInterval() error {
	if err := s.document.EndInterval(); err != nil {
		return err
	}
	return s.sync()
}

// File writes one gzip file to w.
func File(w io.Writer, o Options) (Truth, error) {
	g, err := New(o)
	if err != nil {
		return Truth{}, err
	}
	return g.WriteFile(w)
}

// XML writes one file to w that is not compressed.
func XML(w io.Writer, o Options) (Truth, error) {
	g, err := New(o)
	if err != nil {
		return Truth{}, err
	}
	return g.WriteXML(w)
}

// TreeOptions say how a directory of devices looks.
type TreeOptions struct {
	// Options hold for every device, except Device, which is numbered from
	// gen-0001, and Seed, to which the device's number is added.
	Options
	Devices int // 0 means 1
	Files   int // files per device, each going on where the one before ended; 0 means 1
	// Spread makes the devices differ in size: with 0.5 they have between half
	// and one and a half times Options.Objects. 0 makes them equal.
	Spread float64
}

// Tree writes dir/<device>/act<aa><ff>-yyyymmdd-hhmmss.xml.gz for every device
// and file. The directories must not hold files of these names yet.
func Tree(dir string, o TreeOptions) (Truth, error) {
	var total Truth
	var last *Generator
	devices := or(o.Devices, 1)
	for device := range devices {
		each := o.Options.withDefaults()
		each.Seed += uint64(device)
		each.Device = fmt.Sprintf("gen-%04d", device+1)
		if devices > 1 {
			size := 1 - o.Spread + 2*o.Spread*float64(device)/float64(devices-1)
			each.Objects = max(1, int(float64(each.Objects)*size))
		}
		g, err := New(each)
		if err != nil {
			return total, err
		}
		if last != nil {
			g.gz = last.gz // a gzip writer holds 1 MB
		}
		last = g
		if err := os.MkdirAll(filepath.Join(dir, each.Device), 0o750); err != nil {
			return total, err
		}
		for range or(o.Files, 1) {
			name := FileName(each.Policy, each.FileID, g.Now())
			t, err := g.create(filepath.Join(dir, each.Device, name))
			if err != nil {
				return total, err
			}
			total.Add(t)
		}
	}
	return total, nil
}

func (g *Generator) create(path string) (Truth, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return Truth{}, err
	}
	t, err := g.WriteFile(f)
	return t, errors.Join(err, f.Close())
}

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// document is one file of some shape.
type document interface {
	Sink
	Close() error
}

var _ document = (*record.Writer)(nil)
