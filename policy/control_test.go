package policy

import "testing"

func TestControlSocket(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"control-socket: none", ""},
		{"control-socket: /run/agent.sock", "/run/agent.sock"},
		{"file-ids: [{id: 12, location: /b}, {id: 11, location: /a}]", "/a/.acctpull.sock"},
		{"control-socket: none\nfile-ids: [{id: 11, location: /a}]", ""},
		{"control-socket: /run/agent.sock\nfile-ids: [{id: 11, location: /a}]", "/run/agent.sock"},
	} {
		config, err := ParseYAML([]byte(c.text))
		if err != nil {
			t.Fatalf("%q: %v", c.text, err)
		}
		if got := config.Control(); got != c.want {
			t.Errorf("%q: control socket %q, want %q", c.text, got, c.want)
		}
	}
}
