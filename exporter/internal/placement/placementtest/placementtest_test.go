package placementtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseErrorsSayWhereAndWhatToWrite(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no case", "span train", `f:1: "span" stands before the first case: begin with a line ` + "`case what it shows`"},
		{"a case without a name", "case  # x", `f:1: case "# x" has no lines`},
		{"an empty case", "case a\n\ncase b\nspan x", `f:1: case "a" has no lines: let something arrive`},
		{"an unknown verb", "case a\nspann train", `f:2: no verb is called "spann": use one of case, config`},
		{"a span without a name", "case a\nspan mode=auto", `f:2: which span?`},
		{"an unknown word", "case a\nspan x below y", `f:2: span does not take "below": use ` + "`under NAME`"},
		{"a quote that is not closed", "case a\nspan x id=\"r", `f:2: a quote is not closed`},
		{"no duration", "case a\nspan x\nafter a while", `f:3: after takes one duration: after 61s`},
		{"config too late", "case a\nspan x\nconfig settle=1s", `f:3: config stands behind other lines`},
		{"an expectation of nothing", "case a\nspan x\nexpect x", `f:3: cannot read what is expected; write expect A, B in run R`},
		{"a count that is none", "case a\nspan x\nexpect many links", `f:3: cannot read what is expected`},
		{"two traces", "case a\nspan x in trace 1\nspan x in trace 2", `f:3: x was in trace 1 before`},
		{"any what", "case a\nany thing", "f:2: write `any order`"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", tt.text)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestAFailureSaysLineOrderDeliveryAndWhereEverythingIs(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"another run", "span a mode=auto\nspan b under a\nexpect b in run b", "f:4: expect b in run b: b is in run "},
		{"nothing waits", "span a mode=auto\nexpect a waits", "a is in run "},
		{"only in one order", "any order\nspan a mode=auto logs\nspan b under a logs\nexpect b by ancestor\nspan c under d logs\nspan d mode=new logs\nexpect c by opens", "arrivals as written, one by one"},
		{"a name that never came", "span a\nexpect b waits", `nothing called "b" has arrived`},
		{"an unknown setting", "config settel=1s\nspan a\nexpect 1 links", `config has no "settel": use host`},
		{"a count", "span a\nexpect 2 links", "1 spans are remembered, want 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cases, err := Parse("f", "case x\n"+tt.text)
			require.NoError(t, err)
			require.Len(t, cases, 1)
			assert.ErrorContains(t, cases[0].Check(), tt.want)
		})
	}
}

func TestTheTraceOfASpanIsItsParents(t *testing.T) {
	cases, err := Parse("f", "case x\nspan a in trace one\nspan c under b\nspan b under a\nspan d\nexpect 4 links")
	require.NoError(t, err)
	c := cases[0]
	for name, want := range map[string]string{"a": "one", "b": "one", "c": "one", "d": "main"} {
		assert.Equal(t, want, c.traceOf(name), name)
	}
	require.NoError(t, c.Check())
}
