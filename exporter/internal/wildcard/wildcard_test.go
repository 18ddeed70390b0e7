package wildcard

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"train", "train", true},
		{"train", "trainer", false},
		{"*", "", true},
		{"*", "any/thing [x] \\ ?", true},
		{"train*", "train", true},
		{"train*", "train/1", true},
		{"train*", "a train", false},
		{"*train", "a train", true},
		{"*train", "trainer", false},
		{"*a*", "bab", true},
		{"*a*", "bbb", false},
		{"a*a", "a", false}, // one a is not two
		{"a*a", "aa", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"*aab", "aaab", true},
		{"a**b", "ab", true},
		{"*a*b*", strings.Repeat("a", 10_000), false}, // and quickly
		{"train[*", "train[7]", true},
		{"train[7]", "train7", false},
		{"train[7]", "train[7]", true},
		{"tra?n", "train", false},
		{"tra?n", "tra?n", true},
		{`a\*`, `a\b`, true},
		{`a\*`, "a*", false},
		{"*🚀*", "loss 🚀 run", true},
	} {
		assert.Equal(t, tt.want, Match(tt.pattern, tt.name), "%q %q", tt.pattern, tt.name)
	}
}
