package show

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// Every field of the JSON is described in docs/show.md.
func TestFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/show.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{Agent{}, Policy{}, Collection{}, Association{}, Object{}, FileID{}, File{}, Record{}} {
		for i := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			if name == "" || !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("docs/show.md does not name %q of %T", name, v)
			}
		}
	}
}
