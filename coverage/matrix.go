package coverage

import (
	"strings"
	"time"
)

// Report is the coverage of devices over a time.
type Report struct {
	From    time.Time      `json:"from"`
	To      time.Time      `json:"to"`
	Devices []DeviceReport `json:"devices"`
}

// DeviceReport is the coverage of one device.
type DeviceReport struct {
	Device string `json:"device"`
	// AsOf is when it was last visited, well or not.
	AsOf time.Time `json:"as_of,omitzero"`
	// Skew bounds its clock against ours, as far as it was measured.
	Skew    Skew     `json:"clock"`
	Streams []Stream `json:"policies"`
}

// NewDeviceReport judges a device.
func NewDeviceReport(d Device, w Window) DeviceReport {
	watch := newWatch(d)
	r := DeviceReport{Device: d.Name, AsOf: watch.tried, Streams: Judge(d, w)}
	if n := len(watch.looks); n > 0 {
		r.Skew = watch.looks[n-1].skew
	}
	return r
}

// Totals returns the intervals of all devices by verdict.
func (r *Report) Totals() Totals {
	var t Totals
	for _, d := range r.Devices {
		for i := range d.Streams {
			t.Add(d.Streams[i].Runs)
		}
	}
	return t
}

// letters are the verdicts in one character: gaps are capitals.
const letters = " .-w#ldoTCML"

// Letter returns the character of a verdict in a matrix.
func (v Verdict) Letter() byte { return letters[min(v, Verdicts-1)] }

// rank orders verdicts by how much they deserve to be seen where a character
// stands for several.
func (v Verdict) rank() int {
	if v == Waiting {
		return int(Present)*2 + 1
	}
	return int(v) * 2
}

// Cells draws the runs of a stream in a number of characters of equal length:
// each is the verdict that deserves most to be seen of those in it.
func Cells(runs []Run, from, to time.Time, width int) string {
	cells := make([]Verdict, max(width, 1))
	whole := to.Sub(from)
	at := func(t time.Time) int { // of the cell that begins before t
		return int(int64(t.Sub(from)) * int64(len(cells)) / int64(whole))
	}
	if whole <= 0 || int64(whole) > 1<<62/int64(len(cells)) {
		return strings.Repeat(" ", len(cells))
	}
	for _, r := range runs {
		first, last := max(at(r.From), 0), min(at(r.To.Add(-1)), len(cells)-1)
		for i := first; i <= last; i++ {
			if r.Verdict.rank() > cells[i].rank() {
				cells[i] = r.Verdict
			}
		}
	}
	text := make([]byte, len(cells))
	for i, v := range cells {
		text[i] = v.Letter()
	}
	return string(text)
}
