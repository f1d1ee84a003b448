package classic

import (
	"fmt"
	"time"

	"acctpull/policy"
)

// id reads the number behind file-id or accounting-policy, and what may follow
// it.
func id(args []word) (n int, rest []word, _ *problem) {
	if len(args) == 0 {
		return 0, nil, unknown("it has no number")
	}
	n, ok := number(args[0])
	if !ok {
		return 0, nil, unknown("%q is not its number", bounded(args[0].text))
	}
	rest = args[1:]
	if len(rest) > 1 && rest[0].is("name") {
		rest = rest[2:]
	}
	if len(rest) > 0 && rest[len(rest)-1].is("create") {
		rest = rest[:len(rest)-1]
	}
	return n, rest, nil
}

func (p *importer) logCommand(l *line, name string, args []word, no bool) ([]word, bool, *problem) {
	switch name {
	case "file-id":
		n, rest, bad := id(args)
		switch {
		case bad != nil:
			return nil, false, bad
		case no:
			return nil, false, p.deleteFile(n)
		}
		f := p.files[n]
		if f == nil {
			f = &fileID{FileID: policy.FileID{ID: n, Location: p.o.Card(DefaultCard), Line: l.number}}
			p.files[n] = f
		}
		f.lines = append(f.lines, Line{Number: l.number, Text: bounded(l.text), Block: l.number})
		return p.open(l, rest, frame{kind: inFile, file: f})
	case "accounting-policy":
		n, rest, bad := id(args)
		switch {
		case bad != nil:
			return nil, false, bad
		case no:
			return nil, false, p.deletePolicy(n)
		}
		a := p.policies[n]
		if a == nil {
			a = &accountingPolicy{AccountingPolicy: policy.AccountingPolicy{ID: n, Shutdown: true, Line: l.number}}
			p.policies[n] = a
		}
		if len(rest) > 0 && rest[0].is("interval") { // older releases
			if bad := number1(rest, "minutes", func(n int) { a.CollectionInterval = time.Duration(n) * time.Minute }); bad != nil {
				return nil, false, bad
			}
			rest = rest[2:]
		}
		return p.open(l, rest, frame{kind: inPolicy, policy: a})
	case "log-id":
		if len(args) == 0 {
			return nil, false, unknown("it has no number")
		}
		key := args[0].text
		if no {
			delete(p.logs, key)
			return nil, false, noMeaning("event logs are not ours")
		}
		e := p.logs[key]
		if e == nil {
			e = &eventLog{id: key}
			p.logs[key] = e
		}
		p.leave(l, NoMeaning, "event logs are not ours")
		return p.open(l, nil, frame{kind: inEvents, log: e})
	}
	return nil, false, p.other(name, logWords)
}

// number1 reads the number in args[1], after the keyword in args[0].
func number1(args []word, unit string, set func(int)) *problem {
	if len(args) < 2 {
		return unknown("%s has no value", args[0].text)
	}
	n, ok := number(args[1])
	if !ok {
		return unknown("%q is not a number of %s", bounded(args[1].text), unit)
	}
	set(n)
	return nil
}

func (p *importer) deleteFile(n int) *problem {
	for _, a := range p.policies {
		if int(a.To) == n {
			return &problem{Refused, fmt.Sprintf("accounting-policy %d writes to file-id %d, in line %d", a.ID, n, a.toLine)}
		}
	}
	for _, l := range p.logs {
		if l.file == n {
			return &problem{Refused, fmt.Sprintf("log-id %s writes to file-id %d, in line %d", bounded(l.id), n, l.toLine)}
		}
	}
	if p.files[n] == nil {
		return &problem{Refused, fmt.Sprintf("there is no file-id %d", n)}
	}
	delete(p.files, n)
	return nil
}

func (p *importer) deletePolicy(n int) *problem {
	for _, o := range p.objects {
		if o.Policy == n {
			return &problem{Refused, fmt.Sprintf("%s uses accounting-policy %d, in line %d", bounded(o.String()), n, o.Line)}
		}
	}
	if p.policies[n] == nil {
		return &problem{Refused, fmt.Sprintf("there is no accounting-policy %d", n)}
	}
	delete(p.policies, n)
	return nil
}

func (p *importer) fileCommand(f *fileID, name string, args []word, no bool) *problem {
	switch name {
	case "description":
		return text(args, no, &f.Description)
	case "location":
		return p.location(f, args, no)
	case "rollover":
		if no {
			f.Rollover = 0
			return nil
		}
		all := append([]word{{text: name}}, args...)
		if bad := number1(all, "minutes", func(n int) { f.Rollover = time.Duration(n) * time.Minute }); bad != nil {
			return bad
		}
		if len(all) > 2 {
			if !all[2].is("retention") || len(all) != 4 {
				return unknown("after the rollover only retention may follow")
			}
			return number1(all[2:], "hours", func(n int) { f.Retention = time.Duration(n) * time.Hour })
		}
		return nil
	case "retention":
		if no {
			f.Retention = 0
			return nil
		}
		return number1(append([]word{{text: name}}, args...), "hours", func(n int) { f.Retention = time.Duration(n) * time.Hour })
	}
	return unknown("")
}

// location takes a flash card, and with a second one a backup.
func (p *importer) location(f *fileID, args []word, no bool) *problem {
	if no {
		f.Location, f.BackupLocation = p.o.Card(DefaultCard), ""
		return nil
	}
	if len(args) == 0 || len(args) > 2 {
		return unknown("location takes one or two flash cards")
	}
	for _, a := range args {
		if _, ok := p.o.Cards[a.text]; !ok && !isCard(a.text) {
			return unknown("%q is not a flash card", bounded(a.text))
		}
	}
	f.Location, f.BackupLocation = p.o.Card(args[0].text), ""
	if len(args) == 2 {
		f.BackupLocation = p.o.Card(args[1].text)
	}
	return nil
}

// text takes one text.
func text(args []word, no bool, v *string) *problem {
	switch {
	case no:
		*v = ""
	case len(args) != 1:
		return unknown("one text is expected")
	default:
		*v = args[0].text
	}
	return nil
}

func (p *importer) policyCommand(l *line, a *accountingPolicy, name string, args []word, no bool) *problem {
	flags := map[string]*bool{"default": &a.Default, "align": &a.Align, "include-system-info": &a.IncludeSystemInfo, "log-memory": &a.LogMemory, "shutdown": &a.Shutdown}
	if flag, ok := flags[name]; ok {
		if len(args) > 0 {
			return unknown("%s takes no value", name)
		}
		*flag = !no
		return nil
	}
	switch name {
	case "description":
		return text(args, no, &a.Description)
	case "record":
		return text(args, no, (*string)(&a.Record))
	case "collection-interval":
		if no {
			a.CollectionInterval = 0
			return nil
		}
		return number1(append([]word{{text: name}}, args...), "minutes", func(n int) { a.CollectionInterval = time.Duration(n) * time.Minute })
	case "to":
		if no {
			a.To = 0
			return nil
		}
		to, bad := destination(args)
		if bad == nil {
			a.To, a.toLine = to, l.number
		}
		return bad
	}
	return unknown("")
}

// destination reads "file 11" and "no-file".
func destination(args []word) (policy.Destination, *problem) {
	if len(args) == 1 && args[0].is("no-file") {
		return policy.NoFile, nil
	}
	if len(args) == 2 && (args[0].is("file") || args[0].is("file-id")) {
		if n, ok := number(args[1]); ok {
			return policy.Destination(n), nil
		}
	}
	return 0, unknown("it is neither file with a number nor no-file")
}

// eventCommand looks for the file of an event log.
func eventCommand(l *line, e *eventLog, name string, args []word, no bool) *problem {
	if name == "to" {
		e.file = 0
		if to, bad := destination(args); bad == nil && to > 0 && !no {
			e.file, e.toLine = int(to), l.number
		}
	}
	return noMeaning("event logs are not ours")
}
