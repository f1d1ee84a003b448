package ledger_test

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
