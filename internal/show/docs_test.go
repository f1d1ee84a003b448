package show

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// Every field of the JSON is described.
func TestFieldsAreDocumented(t *testing.T) {
	for file, all := range map[string][]any{
		"show.md": {Agent{}, Policy{}, Collection{}, Association{}, Object{}, FileID{}, Fault{}, File{}, Record{}},
		"plan.md": {Plan{}, PlannedPolicy{}, PlannedCard{}, OutageLoss{}, Warning{}},
	} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range all {
			for f := range reflect.TypeOf(v).Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if f.IsExported() && (name == "" || !strings.Contains(string(text), "`"+name+"`")) {
					t.Errorf("docs/%s does not name %q of %T", file, name, v)
				}
			}
		}
	}
}
