package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// skeleton writes a profile with everything that could be found out, and with
// what could not as comments to fill in. If nothing in the files was known, it
// takes a guess at every name, so that the reader at least keeps the values.
func (in *inspection) skeleton() string {
	var b strings.Builder
	rep := in.report
	b.WriteString("# Skeleton of a profile, made by inspecting files. docs/formats/profile.md\n# explains every line. Lines that begin with # are for you to decide.\n\n")
	nothingKnown := !in.tree.knowsCounters() && !slices.ContainsFunc(rep.RowSets, func(s RowSetReport) bool { return s.Known })
	in.skeletonRecord(&b)
	if p := in.o.Profile; p != nil && p.TimeZone != "" {
		fmt.Fprintf(&b, "time-zone: %s\n", yamlText(p.TimeZone))
	} else {
		b.WriteString("# time-zone: Europe/Berlin   # of times that are written without one; without this line UTC\n")
	}
	if rep.Intervals == 0 && !slices.ContainsFunc(rep.Unknown, func(u UnknownReport) bool { return u.Looks == "time" }) {
		b.WriteString("# time: file-name   # no end of an interval was found; this takes it from the file name\n")
	}
	b.WriteString("# semantics: cumulative   # or interval: what the counters count\n")

	in.skeletonNames(&b, nothingKnown)
	in.skeletonFields(&b, nothingKnown)
	in.skeletonSubs(&b)
	return b.String()
}

func (in *inspection) skeletonRecord(b *strings.Builder) {
	rep := in.report
	if in.o.Platform != "" {
		fmt.Fprintf(b, "platform: %s\n", yamlText(in.o.Platform))
	} else {
		b.WriteString("# platform: 7210 SAS   # decides where several row sets fit\n")
	}
	names := map[Name]bool{}
	for _, s := range rep.RowSets {
		names[s.Record] = true
	}
	def, known := in.r.v.record(string(rep.Header.Record))
	switch {
	case known:
		fmt.Fprintf(b, "# record: %s   # the file says so itself\n", def.Name)
	case rep.Header.Record != "":
		fmt.Fprintf(b, "# records:   # the file names its record in a way nobody knows\n#   %s: service-ingress-octets\n", yamlText(string(rep.Header.Record)))
	case len(names) == 1 && rep.RowSets[0].Known:
		fmt.Fprintf(b, "# record: %s   # follows from the sub-records; it can stay a comment\n", rep.RowSets[0].Record)
	case len(in.records) > 0:
		slices.Sort(in.records)
		for _, name := range slices.Compact(in.records) {
			fmt.Fprintf(b, "# record: %s   # one of these; the file does not say which\n", name)
		}
	default:
		b.WriteString("# record: service-ingress-octets   # the file does not say; acctpull records lists the names\n")
	}
	if rep.Header.Policy == 0 {
		b.WriteString("# policy: 10   # the file does not give the accounting policy\n")
	}
}

// skeletonNames guesses at names of times.
func (in *inspection) skeletonNames(b *strings.Builder, guess bool) {
	var times []UnknownReport
	for _, u := range in.report.Unknown {
		if u.Looks == "time" && !slices.ContainsFunc(times, func(t UnknownReport) bool { return t.Name == u.Name }) {
			times = append(times, u)
		}
	}
	if len(times) == 0 {
		return
	}
	mark := "# "
	if guess && in.report.Intervals == 0 && len(times) <= 2 {
		mark = ""
	}
	fmt.Fprintf(b, "\n%snames:\n", mark)
	keys := []string{"end", "start"}
	if len(times) == 2 && times[0].Examples[0] < times[1].Examples[0] {
		keys = []string{"start", "end"}
	}
	for i, u := range times {
		key := "end"
		if len(times) == 2 {
			key = keys[i]
		}
		fmt.Fprintf(b, "%s  %s: [%s]   # %s\n", mark, key, yamlText(u.Name), yamlExamples(u))
	}
}

// skeletonFields lists the unknown names. Where nothing else was known they are
// made extra fields, with a guess at their role.
func (in *inspection) skeletonFields(b *strings.Builder, guess bool) {
	var fields []UnknownReport
	for _, u := range in.report.Unknown {
		if u.Looks != "time" && u.Name != string(mixedText) && !slices.ContainsFunc(fields, func(f UnknownReport) bool { return f.Name == u.Name }) {
			fields = append(fields, u)
		}
	}
	if len(fields) == 0 {
		return
	}
	b.WriteString("\n# fields:   # what these names are in the catalogue: name in the file, then abbreviation\n")
	for _, u := range fields {
		fmt.Fprintf(b, "#   %s: iof   # %d × %s\n", yamlText(u.Name), u.Count, yamlExamples(u))
	}
	mark, note := "# ", "names that are expected though the catalogue lacks them; they are kept in either case"
	if guess {
		mark, note = "", "a guess, so that the values are kept until the names are known"
	}
	fmt.Fprintf(b, "\n%sextra-fields:   # %s\n", mark, note)
	for _, u := range fields {
		fmt.Fprintf(b, "%s  - {name: %s, role: %s}   # %s\n", mark, yamlText(u.Name), guessRole(u, guess), yamlExamples(u))
	}
}

// guessRole guesses what a name is for: numbers are counters, unless they are
// called a number, and everything else names the object.
func guessRole(u UnknownReport, guess bool) string {
	name := strings.ToLower(u.Name)
	numbering := slices.ContainsFunc([]string{"id", "index", "idx", "num", "no"}, func(end string) bool { return strings.HasSuffix(name, end) })
	switch {
	case !guess || u.parent.Count <= 1:
		return "info"
	case u.Looks == "number" && !numbering && !u.parent.holdsMany():
		return "counter"
	}
	return "key"
}

// holdsMany tells whether the element holds elements with values of their own,
// more often than it occurs itself: it is an object then, and they are its rows.
func (n *ShapeNode) holdsMany() bool {
	for _, c := range n.Children {
		if c.kind == elementNode && c.Count > n.Count && len(c.Children) > 0 {
			return true
		}
	}
	return false
}

func (in *inspection) skeletonSubs(b *strings.Builder) {
	first := true
	seen := map[string]bool{}
	for _, s := range in.report.RowSets {
		if s.Known || s.Sub == "" || seen[s.Sub] || len(in.r.v.cat.SubRecord(s.Sub)) > 0 {
			continue
		}
		seen[s.Sub] = true
		if first {
			b.WriteString("\n# sub-records:   # what these elements are in the catalogue: name in the file, then sub-record\n")
			first = false
		}
		fmt.Fprintf(b, "#   %s: sio   # %d records\n", yamlText(s.Sub), s.Records)
	}
}

// yamlText quotes a text from a file so that YAML reads back the same.
func yamlText(s string) string {
	plain := s != ""
	for i, c := range s {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		plain = plain && (letter || i > 0 && (c == '-' || '0' <= c && c <= '9'))
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "true", "false", "on", "off", "null":
		plain = false
	}
	if plain {
		return s
	}
	return strconv.QuoteToASCII(s) // a double-quoted YAML scalar knows these escapes
}

func yamlExamples(u UnknownReport) string {
	return u.Looks + ", " + examples(u.Examples)
}
