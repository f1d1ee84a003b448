package record

// WithoutFastPath makes a Reader of these options parse every record in full.
func (o ReaderOptions) WithoutFastPath() ReaderOptions {
	o.slow = true
	return o
}

// LearnedPattern tells whether the last row followed a learned pattern, or made
// one.
func (r *Reader) LearnedPattern() bool { return r.fast.last != nil }

// Refit gives the Reader other limits, from the next Reset on, and a window of n
// bytes, which grows if it must.
func (r *Reader) Refit(n int, lim Limits) {
	r.lim = lim.withDefaults()
	r.s.buf = make([]byte, n)
}
