package ledger

import "database/sql"

// collect reads all rows of a query result.
func collect[T any](scan func(scanner) (T, error)) func(*sql.Rows, error) ([]T, error) {
	return func(rows *sql.Rows, err error) ([]T, error) {
		var all []T
		err = each(scan, func(v T) { all = append(all, v) })(rows, err)
		if err != nil {
			return nil, err
		}
		return all, nil
	}
}

// each calls f for every row of a query.
func each[T any](scan func(scanner) (T, error), f func(T)) func(*sql.Rows, error) error {
	return func(rows *sql.Rows, err error) error {
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				return err
			}
			f(v)
		}
		return rows.Err()
	}
}

// stream yields the rows of a query until yield says no or a row is bad. It
// returns whether the caller wants more.
func stream[T any](l *Ledger, scan func(scanner) (T, error), yield func(T) bool, stop func(error)) func(*sql.Rows, error) bool {
	return func(rows *sql.Rows, err error) bool {
		if err != nil {
			stop(l.fail("read", err))
			return false
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				stop(l.fail("read", err))
				return false
			}
			if !yield(v) {
				return false
			}
		}
		if err := rows.Err(); err != nil {
			stop(l.fail("read", err))
			return false
		}
		return true
	}
}
