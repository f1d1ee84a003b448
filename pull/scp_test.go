package pull

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// collector takes what a sink lets through.
type collector struct {
	name      string
	size      int64
	got       bytes.Buffer
	finished  bool
	abandoned int
}

func (c *collector) Write(p []byte) (int, error) { return c.got.Write(p) }
func (c *collector) finish() error               { c.finished = true; return nil }
func (c *collector) abandon(error)               { c.abandoned++ }

// runSink plays a sink against bytes that do not listen to it.
func runSink(device []byte, take func(int) bool, maxFiles int) (files []*collector, answers []byte, err error) {
	var out bytes.Buffer
	s := &scpSink{r: bufio.NewReader(bytes.NewReader(device)), w: &out}
	err = s.run(scpPlan{take: take, maxFiles: maxFiles, file: func(f scpFile, taken bool) (scpContent, error) {
		if !taken {
			return nil, nil
		}
		c := &collector{name: f.name, size: f.size}
		files = append(files, c)
		return c, nil
	}})
	return files, out.Bytes(), err
}

// The answers are the same, byte for byte, whether they are sent ahead or each in
// its turn.
func TestSCPAnswers(t *testing.T) {
	for _, times := range []bool{false, true} {
		for _, n := range []int{0, 1, 2, 63, 64, 65, 200} {
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 0))
			plan := make([]bool, n)
			var device, want bytes.Buffer
			want.WriteByte(0)
			for i := range plan {
				plan[i] = rng.IntN(2) == 0
				if times {
					fmt.Fprintf(&device, "T%d 0 %d 0\n", i, i)
					want.WriteByte(0)
				}
				fmt.Fprintf(&device, "C0644 %d f%d\n", i, i)
				if plan[i] {
					device.WriteString(strings.Repeat("x", i) + "\x00")
					want.WriteString("\x00\x00")
				} else {
					want.WriteString("\x01not wanted\n")
				}
			}
			files, answers, err := runSink(device.Bytes(), func(k int) bool { return k < n && plan[k] }, n)
			if err != nil || !bytes.Equal(answers, want.Bytes()) {
				t.Fatalf("seed %d, times %v, %d files: %v\n got %q\nwant %q", seed, times, n, err, answers, want.Bytes())
			}
			i := -1
			for _, f := range files {
				for i++; !plan[i]; i++ {
				}
				if f.name != fmt.Sprintf("f%d", i) || f.got.Len() != i || !f.finished || f.abandoned != 0 {
					t.Fatalf("file %d: %+v", i, f)
				}
			}
		}
	}
}

// A file the device cannot read does not end the session.
func TestSCPReadError(t *testing.T) {
	device := "\x01scp: a: No such file\nC0644 3 b\nxxx\x01scp: b: Input/output error\nC0644 3 c\nyyy\x00\x01scp: d: Permission denied\n"
	files, _, err := runSink([]byte(device), func(int) bool { return true }, 5)
	if err != nil || len(files) != 2 || files[0].finished || files[0].abandoned != 1 || !files[1].finished || files[1].got.String() != "yyy" {
		t.Fatalf("%v %+v", err, files)
	}
}

// FuzzSCP feeds anything to the sink: it ends, it never lets through a name that
// is not plain or more bytes than were announced, every file is finished or
// abandoned exactly once, and the error is one line.
func FuzzSCP(f *testing.F) {
	name := actName(1)
	for _, s := range []string{
		"C0644 4 " + name + "\nEND\n\x00", "T5 0 5 0\nC0644 4 " + name + "\nEND\n\x00T6 0 6 0\nC0600 0 x\n\x00",
		"D0755 0 ..\nC0644 1 x\nx\x00E\n", "\x01no\nC0644 3 b\nxxx\x01io\n", "\x02fatal\n", "C4777 99999999999999999999 x\n", "C0644 1 ../x\nx\x00",
		"C0644 2 a\nxx\x00C0644 2 a\nxx\x00C0644 2 a\nxx\x00", "T1 0 1 0\nT1 0 1 0\n", "C0644 3 x\nxx", "C0644 3 \x1b[2J\nxxx\x00", "E\nE\nE\n",
	} {
		f.Add([]byte(s), uint64(0x5))
	}
	f.Fuzz(func(t *testing.T, device []byte, plan uint64) {
		take := func(k int) bool { return plan>>(k%64)&1 == 0 }
		files, answers, err := runSink(device, take, 20)
		if err != nil {
			oneLineError(t, err)
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrCut) {
				t.Fatalf("error %v is neither a violation nor a cut", err)
			}
		}
		if len(files) > 20 || len(answers) == 0 || len(answers) > 1+20*14 {
			t.Fatalf("%d files, %d bytes of answers", len(files), len(answers))
		}
		total := 0
		for i, c := range files {
			if c.name == "" || c.name == "." || c.name == ".." || len(c.name) > scpNames || strings.ContainsAny(c.name, "/\\\x00\n\x1b") {
				t.Fatalf("name %q", c.name)
			}
			if c.size < 0 || int64(c.got.Len()) > c.size || c.finished && int64(c.got.Len()) != c.size {
				t.Fatalf("%d bytes of %d", c.got.Len(), c.size)
			}
			if c.finished == (c.abandoned == 1) || c.abandoned > 1 {
				t.Fatalf("file %d of %d: finished %v, abandoned %d times, session %v", i, len(files), c.finished, c.abandoned, err)
			}
			total += c.got.Len()
		}
		if total > len(device) {
			t.Fatalf("%d bytes from %d", total, len(device))
		}
	})
}

// firstPart respects both bounds of a command line, and takes at least one file.
func TestFirstPart(t *testing.T) {
	var files []entry
	for i := range 600 {
		files = append(files, entry{name: actName(i)})
	}
	for _, dir := range []string{"/act", "/" + strings.Repeat("d", 1000), "/" + strings.Repeat("d", 20_000)} {
		tr := &scpTransport{dir: dir}
		var got []string
		for rest := files; len(rest) > 0; {
			part, words, err := tr.firstPart(rest)
			if err != nil || len(part) == 0 || len(part) != len(words) || len(part) > scpManyFiles || len(part) > 1 && len(strings.Join(words, " ")) > scpManyBytes {
				t.Fatalf("%d files, %d bytes, %v", len(part), len(strings.Join(words, " ")), err)
			}
			for _, e := range part {
				got = append(got, e.name)
			}
			rest = rest[len(part):]
		}
		if len(got) != 600 || !slices.IsSorted(got) {
			t.Fatalf("%d files", len(got))
		}
	}
	if _, err := io.WriteString(&head{}, strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
}

// The commands a device gets, as few as its abilities allow.
func TestSCPCommands(t *testing.T) {
	file := func(i int) string { return "act/" + actName(i) }
	list, plain := "scp -f -p act/*", "scp -f act/*"
	for what, c := range map[string]struct {
		q    scpQuirks
		want []string
	}{
		"able":            {scpQuirks{}, []string{list, "scp -f -p " + file(0) + " " + file(1) + " " + file(2), list}},
		"one path":        {scpQuirks{onePath: true}, []string{list, "scp -f -p " + file(0) + " " + file(1) + " " + file(2), list, list}},
		"refuses -p":      {scpQuirks{refuseP: true}, []string{list, plain, "scp -f " + file(0) + " " + file(1) + " " + file(2), plain}},
		"stops":           {scpQuirks{stopsAt01: true}, []string{list, list, "scp -f -p " + file(0) + " " + file(1) + " " + file(2), list}},
		"one path, stops": {scpQuirks{stopsAt01: true, onePath: true}, []string{list, list, "scp -f -p " + file(0) + " " + file(1) + " " + file(2), "scp -f -p " + file(0), "scp -f -p " + file(1), "scp -f -p " + file(2), list}},
	} {
		r := newRig(t, c.q)
		for i := range 3 {
			r.put(actName(i), fmt.Sprintln(i), 1)
		}
		res, err := r.pull(SCP)
		if got := r.server.ran(); err != nil || res.Count(Stored) != 3 || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v\n got %q\nwant %q", what, err, got, c.want)
		}
	}
}
