// Package wildcard matches names against the patterns of the configuration: *
// stands for any text, also none, and everything else for itself. So every text
// is a pattern, and a name with brackets or slashes in it can be given as it is.
package wildcard

import "strings"

// Match tells whether all of name is what pattern stands for.
func Match(pattern, name string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return name == pattern
	}
	name, ok := strings.CutPrefix(name, head)
	if !ok {
		return false
	}
	for {
		part, more, wild := strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(name, part)
		}
		// The first place will do: what it leaves holds every other.
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(part):], more
	}
}
