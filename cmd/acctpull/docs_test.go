package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentLinks follows every relative link of the README and the documents.
func TestDocumentLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	files := []string{"../../README.md", "../../CHANGELOG.md"}
	check(t, filepath.WalkDir("../../docs", func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			files = append(files, path)
		}
		return err
	}))
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", file, m[1])
			}
		}
	}
}

// TestExitCodesAreDocumented compares docs/operations.md with the constants.
func TestExitCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	check(t, err)
	for _, code := range []string{"0", "1", "2", "3", "4", "5", "6", "130"} {
		if !strings.Contains(string(text), "\n| "+code+" |") {
			t.Errorf("docs/operations.md does not document exit code %s", code)
		}
	}
}

// TestDocumentedFlagsExist: every flag that README and operations mention
// exists.
func TestDocumentedFlagsExist(t *testing.T) {
	flags := map[string]bool{"--help": true}
	for _, c := range (&app{}).rootCommand().Commands() {
		for _, line := range strings.Split(c.UsageString(), "\n") {
			for _, f := range regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(line, -1) {
				flags[f] = true
			}
		}
		for _, sub := range c.Commands() {
			for _, f := range regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(sub.UsageString(), -1) {
				flags[f] = true
			}
		}
	}
	for _, file := range []string{"../../README.md", "../../docs/operations.md", "../../CHANGELOG.md"} {
		text, err := os.ReadFile(file)
		check(t, err)
		for _, f := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(string(text), -1) {
			if !flags[f] {
				t.Errorf("%s mentions %s, which no command has", file, f)
			}
		}
	}
}
