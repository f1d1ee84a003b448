//go:build linux && !race

package policy

const raceEnabled = false
