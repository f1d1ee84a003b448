"""Usage with Spark: the questions of the notebooks beside this file.

    ACCTPULL_DATASET=/data/dataset ACCTPULL_MONTH=2026-11 spark-submit usage_spark.py

It reads the usage tables of a dataset, made by acctpull usage. The figures are
those of acctpull report with the gap policy exclude. Which intervals count is
said in the notebooks.
"""

import calendar
import datetime
import json
import os

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

DATASET = os.environ.get("ACCTPULL_DATASET", "dataset")
MONTH = os.environ.get("ACCTPULL_MONTH", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m"))
CUSTOMERS = os.environ.get("ACCTPULL_CUSTOMERS", "customers.csv")  # columns group, device, sap
SPEED = float(os.environ.get("ACCTPULL_SPEED", 1e9))  # of every link, in bits per second
FIGURES = os.environ.get("ACCTPULL_FIGURES")  # where all figures are written, if anywhere

# An interval belongs to a month if it ends after its first midnight and not after its last, UTC.
FROM = datetime.datetime.strptime(MONTH + "+0000", "%Y-%m%z")
TO = FROM + datetime.timedelta(days=calendar.monthrange(FROM.year, FROM.month)[1])

# A table has rows of several scopes, which count the same octets in different ways. These have the
# counters that are added up here; the rows of a whole SAP have others.
SCOPES = ["per meter", "per queue"]
SERIES = ["device", "service_id", "sap", "port_id", "meter_id", "queue_id", "sub_record", "scope"]

spark = SparkSession.builder.appName("usage").config("spark.sql.session.timeZone", "UTC").getOrCreate()


def load(table):
    """The rows of the month. Read the directory of the version, not a day of it, or date is lost."""
    micros = F.unix_micros("interval_end")
    return (
        spark.read.parquet(f"{DATASET}/{table}/v1")
        .where(F.col("date").between(FROM.date(), TO.date()))  # only files of these days are opened
        .where((micros > int(FROM.timestamp()) * 1_000_000) & (micros <= int(TO.timestamp()) * 1_000_000))
        # NULL if one of them is
        .withColumn("octets", F.col("in_profile_octets_forwarded") + F.col("out_of_profile_octets_forwarded"))
    )


def samples(df, by):
    """The rates of each object, one for each interval that counts."""
    length = df.where("break IS NULL").groupBy("interval_seconds").count().orderBy(F.desc("count"), "interval_seconds").first()[0]
    df = df.withColumn("slot", F.floor((F.unix_micros("interval_end") + length * 500_000) / (length * 1_000_000)))
    # Which intervals have a row that does not count, or no row of a series that goes on.
    bad = df.where(
        F.col("octets").isNull() | F.col("break").isNotNull() | (F.col("final") != 0)
        | F.coalesce(F.abs(F.col("interval_seconds") - length) > 30, F.lit(True))
    ).select(*by, "slot")
    series = by + [c for c in SERIES if c in df.columns and c not in by]
    before = df.withColumn("before", F.lag("slot").over(Window.partitionBy(*series).orderBy("slot")))
    skipped = before.where("slot > before + 1").select(*by, F.explode(F.sequence(F.col("before") + 1, F.col("slot") - 1)).alias("slot"))
    broken = bad.unionByName(skipped).distinct()
    sums = df.join(broken, by + ["slot"], "left_anti").groupBy(*by, "slot").agg(
        F.sum("octets").alias("octets"), F.max("interval_seconds").alias("seconds")
    )
    # Octets of one interval are far below 2^53: a double is exact.
    return sums.withColumn("rate", F.col("octets").cast("double") * 8 / F.col("seconds"))


all_saps, all_links = load("service-ingress-octets-usage"), load("network-egress-octets-usage")
saps, links = all_saps.where(F.col("scope").isin(SCOPES)), all_links.where(F.col("scope").isin(SCOPES))

# The ten SAPs that carried most. A bigint may be too small for the sum.
top = (
    saps.groupBy("device", "service_id", "sap").agg(F.sum(F.col("octets").cast("decimal(20,0)")).alias("total"))
    .orderBy(F.desc("total"), "device", "service_id", "sap").limit(10)
)

# Links over 80 %.
over = (
    samples(links, ["device", "port_id"]).groupBy("device", "port_id")
    .agg(F.count_if(F.col("rate") > 0.8 * SPEED).alias("intervals"), F.max("rate").alias("most"))
    .where("intervals > 0").orderBy(F.desc("intervals"), "device", "port_id")
)

# The 95th percentile of each customer, by nearest rank.
customers = spark.read.csv(CUSTOMERS, header=True).distinct()
each = Window.partitionBy("group")
p95 = (
    samples(saps.join(customers, ["device", "sap"]), ["group"])
    .withColumn("samples", F.count("*").over(each))
    .withColumn("rank", F.row_number().over(each.orderBy("rate")))
    .where("rank = floor((samples * 95 + 99) / 100)").select("group", "rate", "samples").orderBy("group")
)

# Where the gaps are.
gaps = (
    saps.where("gap_seconds > 0").groupBy("device", "service_id", "sap").agg(F.sum("gap_seconds").alias("seconds"))
    .orderBy(F.desc("seconds"), "device", "service_id", "sap")
)
breaks = all_saps.groupBy(F.coalesce("break", F.lit("none")).alias("reason")).count()

figures = {
    "top": [[*row[:3], int(row[3])] for row in top.collect()],
    "over": [list(row) for row in over.collect()],
    "p95": {row[0]: [row[1], row[2]] for row in p95.collect()},
    "gaps": [list(row) for row in gaps.collect()],
    "breaks": {row[0]: row[1] for row in breaks.collect()},
}
if FIGURES:
    with open(FIGURES, "w") as f:
        json.dump(figures, f, indent=1)
else:
    print(json.dumps(figures, indent=1))
spark.stop()
