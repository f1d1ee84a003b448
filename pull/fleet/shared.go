package fleet

import (
	"errors"
	"net/url"
)

// checkLedger checks the URL of a shared ledger. Its error does not repeat the
// URL: somebody may have written a password into it.
func checkLedger(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" && u.Query().Get("host") == "" || u.Opaque != "":
		return errors.New("it is no URL of a PostgreSQL database, such as postgres://acctpull@db.example.net/acctpull")
	case u.Query().Has("password"):
		return errPassword
	}
	if _, has := u.User.Password(); has {
		return errPassword
	}
	return nil
}

var errPassword = errors.New("it holds a password: name it by ledger-password-file, ledger-password-env or ledger-password-credential")
