package export

import (
	"slices"
	"testing"
)

func TestMade(t *testing.T) {
	m := NewMade("compact", []string{"b", "a"})
	// printf 'a\nb\n' | sha256sum
	if want := (Made{"compact", 2, "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2"}); m != want {
		t.Errorf("%+v", m)
	}
	if again := NewMade("compact", []string{"a", "b"}); again != m {
		t.Errorf("the order of inputs matters: %+v, %+v", m, again)
	}
	cut := []Source{{Device: "r1", Name: "a", SHA256: "1", Truncated: true}}
	lookup := func(m Made, cut []Source) func(string) (string, bool) {
		return func(key string) (string, bool) {
			for _, kv := range m.Metadata(cut) {
				if kv.Key == key {
					return kv.Value, true
				}
			}
			return "", false
		}
	}
	got, ok, err := readMade(lookup(m, cut))
	if err != nil || !ok || got != m {
		t.Errorf("%+v %v %v", got, ok, err)
	}
	list, err := readTruncated(lookup(m, cut))
	if err != nil || !slices.Equal(list, cut) {
		t.Errorf("%+v %v", list, err)
	}
	if list, err := readTruncated(lookup(m, nil)); err != nil || list != nil {
		t.Errorf("%+v %v", list, err)
	}
	sources := append(cut, Source{Device: "r1", Name: "b", SHA256: "2"})
	batch := func(key string) (string, bool) { return toJSON(sources), key == metaSources }
	if list, err := readTruncated(batch); err != nil || !slices.Equal(list, cut) {
		t.Errorf("%+v %v", list, err)
	}
	if _, ok, err := readMade(batch); ok || err != nil {
		t.Error(ok, err)
	}
	broken := func(string) (string, bool) { return "{", true }
	if _, _, err := readMade(broken); err == nil {
		t.Error("broken metadata was read")
	}
	if _, err := readTruncated(broken); err == nil {
		t.Error("broken metadata was read")
	}
}
