package explain

import "strings"

// shortener shortens ids made of trace and span, which are long and say little,
// as far as those of the report's runs stay different.
type shortener int

func (r *Report) shortener() shortener {
	for _, digits := range []shortener{4, 8} {
		seen := map[string]bool{}
		for _, run := range r.Runs {
			seen[digits.shorten(run.id)] = true
		}
		distinct := map[string]bool{}
		for _, run := range r.Runs {
			distinct[run.id] = true
		}
		if len(seen) == len(distinct) {
			return digits
		}
	}
	return 32
}

func (digits shortener) shorten(id string) string {
	trace, span, ok := strings.Cut(id, "-")
	if !ok || len(trace) != 32 || len(span) != 16 || digits > 16 {
		return id
	}
	return trace[:digits] + "…-" + span[:digits]
}
