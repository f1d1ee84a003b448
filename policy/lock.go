package policy

import "context"

// lock is a mutex for which one can wait until a context ends.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

// lock takes the lock. It returns the cause if ctx ends first.
func (l lock) lock(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// try takes the lock if it is free.
func (l lock) try() bool {
	select {
	case l <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l lock) unlock() { <-l }
