"""Reads the tables of a dataset with pandas. See canonical.py."""

import pandas as pd
import pyarrow as pa
from canonical import answer, digest, number

wide = pd.ArrowDtype(pa.decimal128(38, 0))


def read(path, columns, numbers, times):
    # Without dtype_backend a counter with a NULL becomes a float.
    df = pd.read_parquet(path, dtype_backend="pyarrow")

    def plain(v):
        if v is None or v is pd.NA:
            return None
        return v.to_pydatetime() if isinstance(v, pd.Timestamp) else v

    def least(v):
        return None if v is pd.NA else number(v)

    # Series.sum of int64 is an int64 that goes round; no number at all adds up to 0.
    sums = {c: df[c].astype(wide).sum(min_count=1) for c in numbers}
    return {
        "rows": len(df),
        "types": {c: str(df[c].dtype) for c in df.columns},
        "present": {c: int(n) for c, n in df.count().items()},
        "sums": {c: least(v) for c, v in sums.items()},
        "least": {c: least(df[c].min()) for c in numbers},
        "most": {c: least(df[c].max()) for c in numbers},
        "days": {str(d): int(n) for d, n in df.groupby("date", observed=True).size().items()},
        "digest": digest(zip(*([plain(v) for v in df[c]] for c in columns))),
    }


answer(read)
