//go:build !linux

package policy

import (
	"context"
	"errors"
)

func dumpLinks(context.Context, string, *links) error {
	return errors.New("the source linux needs Linux")
}
