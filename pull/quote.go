package pull

import (
	"fmt"
	"strings"
)

// The path that `scp -f` gets goes through a login shell on most peers and
// through a command line of their own on routers. Both meet here: what no shell
// treats specially is sent bare, which is also the only form a router
// understands; everything else is quoted for a POSIX shell, except for a path
// with backslashes on a file system of a device (`cf1:\act`), which no POSIX
// shell will ever see and which must be bare.
//
// Paths are typed or configured by a person. The names below them come from
// the device, but only after they parsed as accounting file names, whose bytes
// are all bare ones.

// bareBytes are safe unquoted in every shell and in the CLI of a router.
const bareBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+=:,./-"

// usesBackslash reports whether a path is written the way the CLI of a device
// prints it.
func usesBackslash(path string) bool { return isDevicePath(path) && strings.Contains(path, `\`) }

// joinPath returns the path of a file in a directory of the device.
func joinPath(dir, name string) string {
	sep := "/"
	if usesBackslash(dir) {
		sep = `\`
	}
	if strings.HasSuffix(dir, sep) || strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + sep + name
}

// shellWord returns a path as one word of a command line for a peer.
func shellWord(path string) (string, error) {
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	if strings.Trim(path, bareBytes) == "" && path != "" {
		return path, nil
	}
	if usesBackslash(path) {
		if strings.Trim(path, bareBytes+`\`) != "" {
			return "", fmt.Errorf("path %s: a path with backslashes can hold letters, digits and @%%_+=:,.- only", quote(path))
		}
		return path, nil
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'", nil
}

// globWord returns the command line word for all files of a directory.
func globWord(dir string) (string, error) {
	w, err := shellWord(dir)
	if err != nil {
		return "", err
	}
	return joinPath(w, "*"), nil
}
