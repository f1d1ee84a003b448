"""What the scripts of all engines share: the question, and the form of the answer.

A script gets a file with the tables of a dataset and prints, for each of them,
what the engine itself computed (rows, types, counts, sums, extremes, rows of
each day) and a digest of the values as they arrive in Python. The test computes
the same from the records that it exported.
"""

import datetime
import hashlib
import json
import sys

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def value(v):
    """One value as bytes that begin with its length; N is NULL."""
    if v is None:
        return b"N"
    if isinstance(v, datetime.datetime):
        if v.tzinfo is None:
            raise ValueError(f"a time without a zone: {v}")
        v = (v - EPOCH) // MICROSECOND
    elif isinstance(v, datetime.date):
        v = v.isoformat()
    if isinstance(v, dict):
        v = sorted(v.items())
    if isinstance(v, list):  # of the pairs of a map
        b = b"".join(value(k) + value(t) for k, t in sorted(v))
    elif isinstance(v, (int, str)) and not isinstance(v, bool):
        b = str(v).encode()
    else:
        raise TypeError(f"a value of {type(v)}: {v!r}")
    return b"%d:%s" % (len(b), b)


def digest(rows):
    """A sum over the hashes of the rows: their order does not matter, and a row
    that is there twice or not at all does."""
    total = 0
    for row in rows:
        h = hashlib.sha256(b"".join(value(v) for v in row)).digest()
        total = (total + int.from_bytes(h[:16], "big")) % (1 << 128)
    return f"{total:032x}"


def number(v):
    """A number as text, None if there is none. A float would have lost digits."""
    if v is None:
        return None
    if isinstance(v, float):
        raise TypeError(f"a float where a whole number was expected: {v!r}")
    return str(int(v))


def answer(read):
    """Calls read(path, columns, numbers, times) for each table and prints what it returns.
    columns are the names with date as the last, numbers those of integers."""
    with open(sys.argv[1]) as f:
        tables = json.load(f)
    out = {}
    for t in tables:
        names = [c["name"] for c in t["columns"]]
        numbers = [c["name"] for c in t["columns"] if c["type"] in ("int32", "int64")]
        times = [c["name"] for c in t["columns"] if c["type"] == "timestamp"]
        out[t["name"]] = read(t["path"], names + ["date"], numbers, times)
    json.dump(out, sys.stdout)
