"""Reads the tables of a dataset with pyarrow. See canonical.py."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from canonical import answer, digest, number

days = ds.partitioning(pa.schema([("date", pa.date32())]), flavor="hive")


def read(path, columns, numbers, times):
    t = ds.dataset(path, format="parquet", partitioning=days).to_table(columns=columns)
    t.validate(full=True)
    extremes = {c: pc.min_max(t[c]).as_py() for c in numbers}
    groups = t.group_by("date").aggregate([([], "count_all")]).to_pylist()
    return {
        "rows": t.num_rows,
        "types": {f.name: str(f.type) for f in t.schema},
        "present": {c: len(t[c]) - t[c].null_count for c in columns},
        # pc.sum of int64 is an int64 that goes round.
        "sums": {c: number(pc.sum(t[c].cast(pa.decimal128(38, 0))).as_py()) for c in numbers},
        "least": {c: number(e["min"]) for c, e in extremes.items()},
        "most": {c: number(e["max"]) for c, e in extremes.items()},
        "days": {str(g["date"]): g["count_all"] for g in groups},
        "digest": digest(zip(*(t[c].to_pylist() for c in columns))),
    }


answer(read)
