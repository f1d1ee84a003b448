-- Figures of a usage table with intervals of 15 minutes, computed set by set.
-- {…} are filled in by the test.
WITH picked AS (
  SELECT *, {group} AS label, ({main})::HUGEINT AS main, ({forward})::HUGEINT AS forward,
    (epoch_us(interval_end) + 450000000) // 900000000 AS slot,
    CASE WHEN interval_seconds < 45 THEN interval_seconds ELSE (interval_seconds + 30) // 60 * 60 END AS nominal
  FROM source {join}
  WHERE {counts} AND {where}
), lined AS MATERIALIZED (
  -- a member may be named twice in a group; its row counts once
  SELECT DISTINCT ON (label, device, service_id, sap, meter_id, queue_id, sub_record, scope, interval_end, final) *,
    concat_ws('/', device, service_id, sap, 'm' || meter_id, 'q' || queue_id, sub_record, scope) AS series
  FROM picked
  WHERE slot > {from} // 900000000 AND slot <= {to} // 900000000
), usage AS MATERIALIZED (
  SELECT *, main IS NOT NULL AND forward IS NOT NULL AS whole,
    coalesce(main IS NOT NULL AND forward IS NOT NULL AND interval_seconds > 0
      AND (nominal = 900 OR (final > 0 OR break = 'final') AND 2 * nominal < 2700), false) AS own
  FROM lined
), reasons(reason, weight) AS (
  VALUES ('absent', 1), ('length', 2), ('gap', 3), ('no-counter', 4), ('final', 5), ('first', 6), ('mode-change', 7),
    ('overlap', 8), ('clock-step', 9), ('unknown', 10), ('wrap32', 11), ('wrap64', 12), ('reset', 13)
), bad AS (
  SELECT label, slot, coalesce(break, CASE WHEN whole THEN 'length' ELSE 'no-counter' END) AS reason FROM usage WHERE NOT own
), steps AS (
  SELECT label, series, slot, bool_or(final = 0) AS live FROM usage GROUP BY ALL
), walked AS MATERIALIZED (
  SELECT *, lag(slot) OVER w AS before, lag(live) OVER w AS lived FROM steps WINDOW w AS (PARTITION BY label, series ORDER BY slot)
), skipped AS (
  SELECT label, unnest(range(before + 1, slot)) AS slot, 'absent' AS reason FROM walked WHERE lived AND slot > before + 1
), broken AS MATERIALIZED (
  SELECT label, slot, max(weight) AS weight FROM (SELECT * FROM bad UNION ALL SELECT * FROM skipped) JOIN reasons USING (reason) GROUP BY ALL
), segments AS (
  SELECT *, sum(CASE WHEN before IS NULL OR NOT lived THEN 1 ELSE 0 END) OVER (PARTITION BY label, series ORDER BY slot) AS segment FROM walked
), lives AS (
  SELECT label, series, segment, min(slot) AS first, max(slot) AS last FROM segments GROUP BY ALL
), living AS (
  SELECT label, slot, count(*) AS alive FROM (SELECT label, unnest(range(first, last + 1)) AS slot FROM lives) GROUP BY ALL
), seconds AS (
  SELECT label, slot, max(greatest(coalesce(single, 0), coalesce(ended, 0))) AS seconds FROM (
    SELECT label, series, slot, sum(interval_seconds) FILTER (own AND final = 0) AS single, max(interval_seconds) FILTER (own AND final > 0) AS ended
    FROM usage GROUP BY ALL) GROUP BY ALL
), sums AS (
  SELECT label, slot, sum(main) FILTER (own) AS octets FROM usage GROUP BY ALL
), objects AS (
  SELECT label, count(DISTINCT series) AS series, count(*) AS n_rows, count(*) FILTER (whole) AS deltas, coalesce(sum(gap_seconds), 0)::BIGINT AS gap_seconds,
    coalesce(sum(main) FILTER (whole), 0)::HUGEINT AS total, coalesce(sum(forward) FILTER (whole), 0)::HUGEINT AS forwarded
  FROM usage GROUP BY ALL
), slots AS (
  SELECT o.label, o.series, r.slot FROM objects o, (SELECT unnest(range({from} // 900000000 + 1, {to} // 900000000 + 1)) AS slot) r
), judged AS (
  SELECT s.label, s.slot, s.series, octets, seconds, weight, coalesce(seconds, 0) > 0 AS sampled,
    coalesce(alive, 0) AS alive
  FROM slots s LEFT JOIN living USING (label, slot) LEFT JOIN sums USING (label, slot) LEFT JOIN seconds USING (label, slot) LEFT JOIN broken USING (label, slot)
), told AS MATERIALIZED (
  SELECT *, sampled AND weight IS NULL AS counted, CASE WHEN NOT (sampled AND weight IS NULL) THEN coalesce(weight, 1) END AS why FROM judged
), covered AS (
  SELECT label, count(*) AS expected, count(*) FILTER (counted) AS counted, count(*) FILTER (counted AND alive < series) AS partial FROM told GROUP BY ALL
), why AS (
  SELECT label, string_agg(reason || ':' || n, ' ' ORDER BY reason) AS missing
  FROM (SELECT label, why AS weight, count(*) AS n FROM told WHERE why IS NOT NULL GROUP BY ALL) JOIN reasons USING (weight) GROUP BY label
), samples AS MATERIALIZED (
  SELECT label, slot, CASE WHEN sampled THEN octets::DOUBLE * 8 / seconds ELSE 0::DOUBLE END AS rate
  FROM told WHERE counted OR '{policy}' = 'zero'
), ranked AS (
  SELECT label, slot, rate, row_number() OVER (PARTITION BY label ORDER BY rate) AS n, count(*) OVER (PARTITION BY label) AS samples FROM samples
), chosen AS (
  SELECT label, any_value(samples) AS samples, max(rate) AS most, max(rate) FILTER (n = (samples * {percentile} + 99999) // 100000) AS p FROM ranked GROUP BY label
), found AS (
  SELECT c.label, min(s.slot) * 900000000 AS at_us FROM chosen c JOIN samples s ON s.label = c.label AND s.rate = c.p GROUP BY ALL
)
SELECT o.label, o.series, n_rows, deltas, gap_seconds, total, forwarded, expected, counted, partial, coalesce(missing, '') AS missing,
  coalesce(samples, 0) AS samples, p, most, at_us,
  CASE WHEN total + forwarded > 0 THEN total::DOUBLE * 100 / (total + forwarded)::DOUBLE END AS percent,
  CASE WHEN '{policy}' = 'refuse' AND (expected > counted OR partial > 0) THEN 'true' ELSE 'false' END AS refused
FROM objects o JOIN covered USING (label) LEFT JOIN why USING (label) LEFT JOIN chosen USING (label) LEFT JOIN found USING (label)
