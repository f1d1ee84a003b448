"""Reads the tables of a dataset with Spark, in one JVM. See canonical.py."""

import os
import sys

os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
# The queries are small and many: a JVM that compiles less is twice as quick.
os.environ["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from canonical import answer, digest, number

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.warehouse.dir", sys.argv[2])
    .config("spark.sql.shuffle.partitions", "1")
    # The tables are small and their columns many: interpreting is quicker than compiling.
    .config("spark.sql.codegen.wholeStage", "false")
    .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    .getOrCreate()
)


def read(path, columns, numbers, times):
    t = spark.read.parquet(path)
    # A sum of bigint is a bigint: with spark.sql.ansi.enabled it is an error
    # when it does not fit, without it goes round.
    exprs = [F.count(F.lit(1)).alias("rows")]
    exprs += [F.count(F.col(c)).alias("n " + c) for c in columns if c != "date"]
    exprs += [F.sum(F.col(c).cast("decimal(20,0)")).alias("+ " + c) for c in numbers]
    exprs += [F.min(c).alias("< " + c) for c in numbers]
    exprs += [F.max(c).alias("> " + c) for c in numbers]
    days = t.groupBy("date").agg(*exprs).collect()

    def each(sign, names, combine):
        found = {c: [d[sign + c] for d in days if d[sign + c] is not None] for c in names}
        return {c: number(combine(v) if v else None) for c, v in found.items()}

    rows = sum(d["rows"] for d in days)
    present = {c: sum(d["n " + c] for d in days) for c in columns if c != "date"}
    # Spark gives times to Python in the zone of the process, without saying so.
    values = [F.unix_micros(F.col(c)).alias(c) if c in times else F.col(c) for c in columns]
    return {
        "rows": rows,
        "types": dict(t.dtypes),
        "present": present | {"date": rows},
        "sums": each("+ ", numbers, sum),
        "least": each("< ", numbers, min),
        "most": each("> ", numbers, max),
        "days": {str(d["date"]): d["rows"] for d in days},
        "digest": digest(t.select(values).collect()),
    }


try:
    answer(read)
finally:
    spark.stop()
