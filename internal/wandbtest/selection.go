package wandbtest

import (
	"encoding/json"
	"regexp"
	"strings"
)

// Missing reads the selection set of a GraphQL document and tells which of its
// fields data has not, each by its path. Lists are looked through, null ends a
// path, and conditions such as @include are taken to be true.
func Missing(document string, data any) []string {
	text, err := json.Marshal(data)
	if err != nil {
		return []string{err.Error()}
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return []string{err.Error()}
	}
	p := parser{tokens: tokens(document), fragments: map[string][]field{}}
	root := p.document()
	var missing []string
	p.compare(root, v, "", &missing)
	return missing
}

// Selection lists what a GraphQL document selects, each field by its path, in
// the order of the document.
func Selection(document string) []string {
	p := parser{tokens: tokens(document), fragments: map[string][]field{}}
	return p.paths(p.document(), "")
}

func (p *parser) paths(fields []field, prefix string) []string {
	var list []string
	for _, f := range fields {
		switch {
		case f.spread && f.name != "":
			list = append(list, p.paths(p.fragments[f.name], prefix)...)
		case f.spread:
			list = append(list, p.paths(f.fields, prefix)...)
		default:
			list = append(list, prefix+f.name)
			list = append(list, p.paths(f.fields, prefix+f.name+".")...)
		}
	}
	return list
}

// field of a selection set, or with spread a fragment in its place.
type field struct {
	name   string
	spread bool
	fields []field
}

var token = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\.\.\.|[\w$@]+|[{}()\[\]:!=|]`)

// tokens cuts a document up, without arguments, variables and directives'
// conditions: all that is in parentheses.
func tokens(document string) []string {
	var kept []string
	depth := 0
	for _, t := range token.FindAllString(document, -1) {
		switch {
		case t == "(":
			depth++
		case t == ")":
			depth--
		case depth == 0 && !strings.HasPrefix(t, "@"):
			kept = append(kept, t)
		}
	}
	return kept
}

type parser struct {
	tokens    []string
	fragments map[string][]field
}

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

// document gives the selection set of the document's first operation.
func (p *parser) document() []field {
	var root []field
	for p.peek() != "" {
		kind, name := p.next(), ""
		for p.peek() != "{" && p.peek() != "" {
			if t := p.next(); name == "" {
				name = t
			}
		}
		p.next()
		fields := p.selection()
		if kind == "fragment" {
			p.fragments[name] = fields
		} else if root == nil {
			root = fields
		}
	}
	return root
}

// selection reads a selection set behind its opening brace.
func (p *parser) selection() []field {
	var fields []field
	for {
		switch t := p.next(); t {
		case "", "}":
			return fields
		case "...":
			f := field{name: p.next(), spread: true}
			if f.name == "on" { // ... on Type { … }
				p.next()
				f.name = ""
				p.next()
				f.fields = p.selection()
			}
			fields = append(fields, f)
		default:
			f := field{name: t}
			if p.peek() == ":" { // the alias is what the answer holds
				p.next()
				p.next()
			}
			if p.peek() == "{" {
				p.next()
				f.fields = p.selection()
			}
			fields = append(fields, f)
		}
	}
}

func (p *parser) compare(fields []field, v any, path string, missing *[]string) {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			p.compare(fields, element, path, missing)
		}
	case map[string]any:
		for _, f := range fields {
			switch {
			case f.spread && f.name != "":
				p.compare(p.fragments[f.name], v, path, missing)
			case f.spread:
				p.compare(f.fields, v, path, missing)
			default:
				value, ok := v[f.name]
				if !ok {
					*missing = append(*missing, strings.TrimPrefix(path+"."+f.name, "."))
					continue
				}
				p.compare(f.fields, value, path+"."+f.name, missing)
			}
		}
	case nil:
	default:
		if len(fields) > 0 {
			*missing = append(*missing, strings.TrimPrefix(path, ".")+" is no object")
		}
	}
}
