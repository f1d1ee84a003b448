package record

// WithoutFastPath makes a Reader of these options parse every record in full.
func (o ReaderOptions) WithoutFastPath() ReaderOptions {
	o.slow = true
	return o
}
