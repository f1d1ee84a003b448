package record

import "time"

// Profile tells how a kind of device spells things.
type Profile struct {
	Platform  string
	Record    Name
	Policy    int
	Semantics string
	Time      string
	Records   map[string]Name
}

// TimeFileName says that the end of the interval is in the file name.
const TimeFileName = "file-name"

func (p *Profile) location() *time.Location { return time.UTC }
func (p *Profile) extend(v *vocabulary)     {}
