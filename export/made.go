package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"acctpull/internal/columns"
)

// The keys of the metadata of files that are no output of a batch. They carry no
// list of sources: the columns that name these are in every row.
const (
	metaMade      = "acctpull.made"      // JSON object of Made
	metaTruncated = "acctpull.truncated" // JSON array of Source: those that were cut off and salvaged; absent if there are none
)

// Made says how a file came about that is no output of a batch.
type Made struct {
	// Kind is what made it: one of the reasons of a replacement.
	Kind string `json:"kind"`
	// Inputs counts what it was made from, and Digest is the SHA-256 of their
	// names, each with a line feed behind it, in order.
	Inputs int    `json:"inputs"`
	Digest string `json:"digest"`
}

// NewMade describes a file that was made from the inputs, in any order.
func NewMade(kind string, inputs []string) Made {
	h := sha256.New()
	for _, in := range slices.Sorted(slices.Values(inputs)) {
		fmt.Fprintln(h, in)
	}
	return Made{Kind: kind, Inputs: len(inputs), Digest: hex.EncodeToString(h.Sum(nil))}
}

// Metadata is the entries for the footer: how the file was made, and which of its
// sources were truncated, by device, name and hash.
func (m Made) Metadata(truncated []Source) []columns.KeyValue {
	list := []columns.KeyValue{{Key: metaMade, Value: toJSON(m)}}
	if len(truncated) > 0 {
		list = append(list, columns.KeyValue{Key: metaTruncated, Value: toJSON(truncated)})
	}
	return list
}

// readMade reads how a file was made from its metadata; ok is false if it is the
// output of a batch.
func readMade(lookup func(key string) (string, bool)) (m Made, ok bool, err error) {
	text, ok := lookup(metaMade)
	if !ok {
		return m, false, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, true, fmt.Errorf("metadata %s: %w", metaMade, err)
	}
	return m, true, nil
}

// readTruncated reads which sources of a file were truncated, whatever made it.
func readTruncated(lookup func(key string) (string, bool)) ([]Source, error) {
	for _, key := range []string{metaTruncated, metaSources} {
		text, ok := lookup(key)
		if !ok {
			continue
		}
		var list []Source
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, fmt.Errorf("metadata %s: %w", key, err)
		}
		return slices.DeleteFunc(list, func(s Source) bool { return !s.Truncated }), nil
	}
	return nil, nil
}

// MadeOf reads how a file was made from its metadata, by key; ok is false if it is
// the output of a batch.
func MadeOf(metadata func(key string) (string, bool)) (m Made, ok bool, err error) {
	return readMade(metadata)
}
