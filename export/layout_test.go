package export

import "testing"

func TestParsePath(t *testing.T) {
	at := PartitionPath("service-ingress-octets", 1, "2026-03-04") + "/ab.parquet"
	if at != "service-ingress-octets/v1/date=2026-03-04/ab.parquet" {
		t.Fatal(at)
	}
	f, ok := ParsePath(at)
	if want := (DataFile{Table: "service-ingress-octets", Version: 1, Date: "2026-03-04", Path: at, Rows: -1}); !ok || f != want {
		t.Errorf("%+v, %v; want %+v", f, ok, want)
	}
	for _, p := range []string{
		"", "catalog.sql", "a/date=2026-03-04/ab.parquet", "a/v0/date=2026-03-04/ab.parquet", "a/v01/date=2026-03-04/ab.parquet",
		"a/v+1/date=2026-03-04/ab.parquet", "a/1/date=2026-03-04/ab.parquet", "a/v1/2026-03-04/ab.parquet", "a/v1/date=2026-3-4/ab.parquet",
		"a/v1/date=2026-02-30/ab.parquet", "a/v1/date=2026-03-04/ab.txt", "a/v1/date=2026-03-04/.parquet", "a/v1/date=2026-03-04/b/ab.parquet",
		"/v1/date=2026-03-04/ab.parquet",
	} {
		if f, ok := ParsePath(p); ok {
			t.Errorf("%q is taken for %+v", p, f)
		}
	}
}
