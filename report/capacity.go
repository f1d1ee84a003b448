package report

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Capacities tell how much an object can carry. The zero value knows nothing.
type Capacities struct {
	// Default is that of an object that is not listed, in bits per second; 0 if
	// nothing is known.
	Default float64 `json:"default,omitempty"`
	// List has objects with a capacity of their own.
	List []Capacity `json:"list,omitempty"`
}

// Capacity is the speed of the objects that match Member, in bits per second.
type Capacity struct {
	Member
	Speed float64 `json:"bits_per_second"`
}

var speedText = regexp.MustCompile(`^([0-9]{1,15}(?:\.[0-9]{1,6})?)([kMGT]?)$`)

// ParseSpeed reads a speed in bits per second, such as 1G, 2.5G or 100M; the letters
// are powers of 1000.
func ParseSpeed(s string) (float64, error) {
	m := speedText.FindStringSubmatch(s)
	if m == nil {
		return 0, invalid("such as 100M, 2.5G or 10000000000", "%q is no speed", clip(s))
	}
	v, err := strconv.ParseFloat(m[1], 64)
	v *= map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[m[2]]
	if err != nil || v <= 0 || v > 1e18 {
		return 0, invalid("above 0", "%q is no speed", clip(s))
	}
	return v, nil
}

// ParseShare reads a threshold: "80%" or "0.8", up to 1000 %.
func ParseShare(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	if percentileText.MatchString(number) {
		v, err := strconv.ParseFloat(number, 64)
		if percent {
			v /= 100
		}
		if err == nil && v > 0 && v <= 10 {
			return v, nil
		}
	}
	return 0, invalid("80% or 0.8", "%q is no threshold", clip(s))
}

// ParseCapacities reads the capacities of links from CSV with the column speed and some
// of device, service, sap, port, sdp and interface. All mistakes are reported at
// once, each with its line.
func ParseCapacities(r io.Reader) (*Capacities, error) {
	known := []string{"speed"}
	for _, c := range memberColumns {
		known = append(known, c.name)
	}
	var m mistakes
	out := &Capacities{}
	first := map[Member]int{}
	readTable(r, known, &m, func(line int, cell func(string) string) {
		var member Member
		for _, c := range memberColumns {
			*c.of(&member) = strings.Clone(cell(c.name))
		}
		speed, err := ParseSpeed(cell("speed"))
		if err != nil {
			m.add(line, "%v", err)
			return
		}
		if before, ok := first[member]; ok {
			m.add(line, "%q twice, first in line %d", fmt.Sprint(member), before)
			return
		}
		first[member] = line
		if member == (Member{}) {
			out.Default = speed
			return
		}
		out.List = append(out.List, Capacity{member, speed})
	})
	if err := m.err(); err != nil {
		return nil, err
	}
	if len(out.List) == 0 && out.Default == 0 {
		return nil, errors.New("no capacity in the file")
	}
	return out, nil
}
