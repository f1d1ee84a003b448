"""Reads the tables of a dataset with polars. See canonical.py."""

import polars as pl
from canonical import answer, digest, number


def read(path, columns, numbers, times):
    # With a pattern the option is needed, or there is no date.
    t = pl.scan_parquet(f"{path}/**/*.parquet", hive_partitioning=True)
    # sum of Int64 is an Int64 that goes round.
    sums = t.select(pl.col(c).cast(pl.Int128).sum() for c in numbers).collect().row(0)
    present = t.select(pl.col(c).count() for c in columns).collect().row(0, named=True)
    least, most = t.select(pl.col(numbers).min()), t.select(pl.col(numbers).max())
    df = t.select(columns).collect()
    return {
        "rows": t.select(pl.len()).collect().item(),
        "types": {c: str(d) for c, d in t.collect_schema().items()},
        "present": present,
        "sums": {c: number(v) if present[c] else None for c, v in zip(numbers, sums)},  # of none it is 0
        "least": {c: number(v) for c, v in least.collect().row(0, named=True).items()},
        "most": {c: number(v) for c, v in most.collect().row(0, named=True).items()},
        "days": {str(d): n for d, n in t.group_by("date").len().collect().rows()},
        "digest": digest(df.iter_rows()),
    }


answer(read)
