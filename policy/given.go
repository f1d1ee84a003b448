package policy

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
