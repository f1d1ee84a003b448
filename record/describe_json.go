package record

import (
	"encoding/json"
	"time"
)

// The JSON forms of the catalogue.
type (
	jsonPlatform struct {
		Name       string `json:"name"`
		Confidence string `json:"confidence"` // of the weakest field
	}
	jsonOverview struct {
		Notes   []string     `json:"notes"`
		Records []jsonRecord `json:"records"`
	}
	jsonRecord struct {
		Name       Name           `json:"name"`
		Number     int            `json:"number,omitempty"`
		PolicyType string         `json:"policy_type"`
		Interval   int            `json:"default_interval_seconds,omitempty"`
		SubRecords []string       `json:"sub_records"`
		Platforms  []jsonPlatform `json:"platforms"`
		RowSets    []jsonRowSet   `json:"row_sets,omitempty"`
		Columns    []jsonColumn   `json:"columns,omitempty"`
		Notes      []string       `json:"notes,omitempty"`
	}
	jsonRowSet struct {
		Sub         string      `json:"sub_record"`
		Scope       string      `json:"scope"`
		CounterMode string      `json:"counter_mode"`
		Object      string      `json:"object"`
		Platforms   []string    `json:"platforms"`
		Fields      []jsonField `json:"fields"`
	}
	jsonField struct {
		Field    string         `json:"field"`
		Column   string         `json:"column"`
		Type     string         `json:"type"`
		Unit     string         `json:"unit"`
		Role     string         `json:"role"`
		Meaning  string         `json:"meaning"`
		Evidence []jsonEvidence `json:"evidence"`
	}
	jsonEvidence struct {
		Platform   string `json:"platform"`
		Confidence string `json:"confidence"`
		Source     string `json:"source"`
	}
	jsonColumn struct {
		Column  string   `json:"column"`
		Fields  []string `json:"fields"`
		Type    string   `json:"type"`
		Unit    string   `json:"unit"`
		Role    string   `json:"role"`
		Meaning string   `json:"meaning"`
	}
)

// OverviewJSON returns what Overview shows as JSON.
func OverviewJSON(c *Catalogue) ([]byte, error) {
	o := jsonOverview{Notes: allNotes}
	for _, d := range c.Definitions() {
		o.Records = append(o.Records, d.json())
	}
	return json.MarshalIndent(o, "", "  ")
}

// DescribeJSON returns what Describe shows as JSON, and the dataset's columns.
func DescribeJSON(d *Definition) ([]byte, error) {
	j := d.json()
	for _, s := range d.RowSets {
		j.RowSets = append(j.RowSets, s.json())
	}
	for _, c := range d.Columns {
		j.Columns = append(j.Columns, jsonColumn{c.Name, c.Abbrevs, typeText(c.Numeric), c.Unit, c.Role.String(), c.Meaning})
	}
	j.Notes = d.notes()
	return json.MarshalIndent(j, "", "  ")
}

func (d *Definition) json() jsonRecord {
	j := jsonRecord{Name: d.Name, Number: d.Number, PolicyType: d.PolicyType, Interval: int(d.DefaultInterval / time.Second), SubRecords: d.subRecords()}
	for _, p := range d.platforms() {
		j.Platforms = append(j.Platforms, jsonPlatform{p, d.confidence(p).String()})
	}
	return j
}

func (s *RowSet) json() jsonRowSet {
	j := jsonRowSet{Sub: s.Sub, Scope: s.Scope, CounterMode: s.CounterMode, Object: s.Object, Platforms: s.Platforms}
	for _, f := range s.Fields {
		field := jsonField{Field: f.Abbrev, Column: f.Column, Type: typeText(f.Numeric), Unit: f.Unit, Role: f.Role.String(), Meaning: f.Meaning}
		for _, e := range f.Evidence {
			field.Evidence = append(field.Evidence, jsonEvidence{e.Platform, e.Confidence.String(), e.Source})
		}
		j.Fields = append(j.Fields, field)
	}
	return j
}
