"""Reads the tables of a dataset with DuckDB. See canonical.py."""

import duckdb
from canonical import answer, digest, number

con = duckdb.connect()
con.execute("SET TimeZone = 'UTC'")


def read(path, columns, numbers, times):
    con.execute(f"""CREATE OR REPLACE VIEW t AS
      SELECT * FROM read_parquet('{path}/*/*.parquet', hive_partitioning = true, union_by_name = true)""")

    def each(function, names):
        got = con.execute("SELECT " + ", ".join(f"{function}({c})" for c in names) + " FROM t").fetchone()
        return dict(zip(names, got))

    rows = con.execute("SELECT " + ", ".join(columns) + " FROM t").fetchall()
    return {
        "rows": con.execute("SELECT count(*) FROM t").fetchone()[0],
        "types": {c: t for c, t, *_ in con.execute("DESCRIBE t").fetchall()},
        "present": each("count", columns),
        "sums": {c: number(v) for c, v in each("sum", numbers).items()},
        "least": {c: number(v) for c, v in each("min", numbers).items()},
        "most": {c: number(v) for c, v in each("max", numbers).items()},
        "days": {str(d): n for d, n in con.execute("SELECT date, count(*) FROM t GROUP BY date").fetchall()},
        "digest": digest(rows),
    }


answer(read)
