package usage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// StateDir is the directory of a dataset with what is known of the usage that
// was made. Its name keeps every reader out. Nothing in it is needed to read the
// dataset; without it all usage is made anew, to the same bytes.
const StateDir = ".usage"

// tableState is what is known of the usage of one record table.
type tableState struct {
	Days map[string]*dayState `json:"days"`
}

// dayState is how the usage of a day was made.
type dayState struct {
	// Key is the digest of all that it depends on: the files of the day, the
	// carry of the days before, and the rules.
	Key string `json:"key"`
	// Output is the path of the file in the usage table.
	Output string `json:"output"`
	// Carry is the path of the carry of the day, "" if no series was left.
	Carry string `json:"carry,omitempty"`
	Stats Stats  `json:"stats"`
}

// stateDigest ends the document with a line in a form of its own.
var stateDigest = durable.Digest{Before: `{"digest":"`, After: `"}`}

func stateBase(table string, version int) string {
	return StateDir + "/" + table + "/v" + strconv.Itoa(version)
}

// readState reads what is known of a table. A document that is damaged is as
// good as none.
func readState(ctx context.Context, dataset depot.Reader, base string) (*tableState, error) {
	s := &tableState{Days: map[string]*dayState{}}
	f, err := dataset.Open(ctx, base+"/state.json")
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of usage: %w", err)
	}
	text, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the state of usage: %w", err)
	}
	if stateDigest.Check(bytes.NewReader(text), int64(len(text))) != nil {
		return s, nil
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if json.Unmarshal(line, s) != nil || s.Days == nil {
		return &tableState{Days: map[string]*dayState{}}, nil
	}
	return s, nil
}

// write puts the document in place of the one before.
func (s *tableState) write(ctx context.Context, dataset depot.Writer, base string) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = dataset.Replace(ctx, base+"/state.json", stateDigest.Append(append(text, '\n')))
	}
	if err != nil {
		return fmt.Errorf("write the state of usage: %w", err)
	}
	return nil
}

// dates are the days that are known, in order.
func (s *tableState) dates() []string { return slices.Sorted(maps.Keys(s.Days)) }
