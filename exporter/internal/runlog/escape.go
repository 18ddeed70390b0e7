package runlog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxName  = 100
	maxID    = 128 // as the conventions bound run ids
	hashSize = 8
)

// Escape makes one path element of a name that comes from telemetry. Names of
// letters, digits, _ . and - stay as they are; others have what is special in
// them percent-encoded, and a hash of the whole at their end, which keeps apart
// what encoding and cutting would make the same. The result is never empty,
// hidden, or longer than 100 bytes.
func Escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
		if plain || c == '.' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	escaped := b.String()
	if escaped == name && name != "" && len(name) <= maxName && !looksCut(name) {
		return name
	}
	if keep := maxName - 1 - hashSize; len(escaped) > keep {
		escaped = escaped[:keep]
		if i := strings.LastIndexByte(escaped, '%'); i > keep-3 {
			escaped = escaped[:i] // no half an escape
		}
	}
	if escaped == "" {
		escaped = "%" // which no other name gives
	}
	return escaped + "-" + shortHash(name)
}

// Unescape gives back what [Escape] was given; false when it was cut. It is for
// showing names to people.
func Unescape(element string) (string, bool) {
	if i := len(element) - 1 - hashSize; i >= 0 && element[i] == '-' {
		switch name, err := url.PathUnescape(element[:i]); {
		case err == nil && Escape(name) == element:
			return name, true
		case element == Escape(""):
			return "", true
		}
	}
	return element, Escape(element) == element
}

// looksCut tells a name that a longer one, cut, could become: nobody may get
// into another's folder by choosing its name.
func looksCut(name string) bool {
	return len(name) == maxName && cutName.MatchString(name)
}

var cutName = regexp.MustCompile("-[0-9a-f]{8}$")

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:hashSize]
}

// checkRunID is the last line of defence before an id becomes part of a path.
// Ids stay as they are, also with spaces and letters of all languages: W&B's
// tools read the id back from the name.
func checkRunID(id string) error {
	bad := id == "" || len(id) > maxID || id == "." || id == ".." || !utf8.ValidString(id) ||
		strings.ContainsAny(id, `/\:`) ||
		strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) })
	if bad {
		return fmt.Errorf("run id %.160q: %w", id, ErrBadRunID)
	}
	return nil
}
