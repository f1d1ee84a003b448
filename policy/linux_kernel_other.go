//go:build !linux

package policy

import (
	"context"
	"errors"
)

func (l *Linux) read(context.Context, *view) error {
	return errors.New("the source linux needs Linux")
}
