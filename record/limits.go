package record

// Limits bound what a Reader accepts. A zero field means its default, a negative
// one means no limit where that is safe (GzipBytes, XMLBytes, Ratio, Members,
// Records); the limits of a single token always hold. Source of the defaults:
// docs/formats/profile.md.
type Limits struct {
	GzipBytes  int64 // compressed size of a file in bytes; default 256 MiB
	XMLBytes   int64 // decompressed size of a file in bytes; default 4 GiB
	Ratio      int64 // decompressed : compressed, looked at after RatioAfter; default 200
	RatioAfter int64 // decompressed bytes before Ratio counts; default 1 MiB
	// Members is how many gzip members a file may have; default 16,384. Our own
	// files have one member per collection, and a rollover of 10,080 minutes
	// with collections of one minute (saa) makes 10,080 of them.
	Members int64
	Records int64 // records of a file; default 10 million

	Depth      int // open elements; default 64
	Attributes int // attributes of one element; default 256
	NameBytes  int // bytes of an element or attribute name; default 256
	TextBytes  int // bytes of one attribute value or of the text of one element; default 64 KiB
	TokenBytes int // bytes of one tag, and of all comments and instructions between two tags; default 1 MiB
}

// DefaultLimits returns the limits that a zero Limits stands for.
func DefaultLimits() Limits {
	return Limits{
		GzipBytes:  256 << 20,
		XMLBytes:   4 << 30,
		Ratio:      200,
		RatioAfter: 1 << 20,
		Members:    16_384,
		Records:    10_000_000,
		Depth:      64,
		Attributes: 256,
		NameBytes:  256,
		TextBytes:  64 << 10,
		TokenBytes: 1 << 20,
	}
}

const unlimited = 1<<63 - 1

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct {
		is  *int64
		def int64
	}{
		{&l.GzipBytes, d.GzipBytes}, {&l.XMLBytes, d.XMLBytes}, {&l.Ratio, d.Ratio}, {&l.RatioAfter, d.RatioAfter},
		{&l.Members, d.Members}, {&l.Records, d.Records},
	} {
		switch {
		case *f.is == 0:
			*f.is = f.def
		case *f.is < 0:
			*f.is = unlimited
		}
	}
	for _, f := range []struct {
		is  *int
		def int
	}{
		{&l.Depth, d.Depth}, {&l.Attributes, d.Attributes}, {&l.NameBytes, d.NameBytes},
		{&l.TextBytes, d.TextBytes}, {&l.TokenBytes, d.TokenBytes},
	} {
		if *f.is <= 0 {
			*f.is = f.def
		}
	}
	return l
}
