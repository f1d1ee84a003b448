package policy

// keyState is what the parser remembers of one key: where it stood, and whether
// its value could be read.
type keyState struct {
	line int
	bad  bool
}

// given are the keys that stood in the YAML. A configuration that was built in
// Go has none. Rules ask it for the line of a key, and do not judge a value
// that the parser has refused already: one mistake, one message.
type given map[string]keyState

// line returns the line of the key, or that of the whole object.
func (g given) line(key string, object int) int {
	if s, ok := g[key]; ok {
		return s.line
	}
	return object
}

// bad tells whether the parser refused the value.
func (g given) bad(key string) bool { return g[key].bad }

// zero tells whether a zero value stands in the YAML, where it is a mistake,
// and not just in the Go struct, where it means the default.
func (g given) zero(key string) bool {
	s, ok := g[key]
	return ok && !s.bad
}

// badFields are the fields of an object whose values the parser refused. There
// may be a hundred thousand objects, so it is a set of bits.
type badFields uint16

const (
	badID badFields = 1 << iota
	badService
	badPolicy
	badLink
	badMeters
	badEgress
	badQueues
	badOwner
	badNFT
	badTC
)

func (b badFields) has(f badFields) bool { return b&f != 0 }
