//go:build race

package policy

// raceEnabled: the race detector multiplies the memory of a process.
const raceEnabled = true
