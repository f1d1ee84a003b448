// Package need lets a test ask for a real peer. A developer without the peer
// sees a skip with its name; in CI, where everything is installed, a missing
// peer is a failure.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Missing skips the test, or fails it in CI.
func Missing(t testing.TB, format string, a ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needed in CI: "+format, a...)
	}
	t.Skipf("needs "+format, a...)
}

// Tool returns the path of a program, looked up in PATH and the sbin directories.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if st, err := os.Stat(dir + name); err == nil && st.Mode()&0o111 != 0 {
			return dir + name
		}
	}
	Missing(t, "the program %s", name)
	return ""
}

// Root asks for uid 0, which network namespaces, mounts and power cuts need.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root")
	}
}

// PythonModule returns the path of python3 if it can import the module.
func PythonModule(t testing.TB, module string) string {
	t.Helper()
	py := Tool(t, "python3")
	if err := exec.Command(py, "-c", "import "+module).Run(); err != nil {
		Missing(t, "python3 with the module %s", module)
	}
	return py
}
