package extjson

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecodeWhatRunLogsHold(t *testing.T) {
	type m = map[string]any
	for _, tt := range []struct {
		in   string
		want any
	}{
		{`1`, int64(1)},
		{`-0`, int64(0)},
		{`9007199254740993`, int64(9007199254740993)},
		{`-9223372036854775808`, int64(math.MinInt64)},
		{`9223372036854775808`, 9223372036854775808.0},
		{`1.0`, 1.0},
		{`1.7953802509269443e+09`, 1.7953802509269443e+09},
		{`1e400`, math.Inf(1)},
		{`NaN`, math.NaN()},
		{`Infinity`, math.Inf(1)},
		{`-Infinity`, math.Inf(-1)},
		{`Inf`, math.Inf(1)},
		{` -Inf `, math.Inf(-1)},
		{`[1,NaN,-Infinity,"NaN"]`, []any{int64(1), math.NaN(), math.Inf(-1), "NaN"}},
		{`{"NaN":NaN,"a\"Infinity":"-Infinity\\","b":{"c":[Infinity]}}`, m{"NaN": math.NaN(), `a"Infinity`: `-Infinity\`, "b": m{"c": []any{math.Inf(1)}}}},
		{`"x"`, "x"},
		{`null`, nil},
		{`true`, true},
	} {
		got, err := Decode(tt.in)
		require.NoError(t, err, tt.in)
		assert.Empty(t, cmp.Diff(tt.want, got, cmpopts.EquateNaNs()), tt.in)
	}
	for _, bad := range []string{``, `nan`, `1NaN`, `--Infinity`, `-NaN`, `{"a":}`, `1 2`, `"NaN`, `[NaN`, `NaNNaN`, `"\`} {
		_, err := Decode(bad)
		assert.Error(t, err, bad)
	}
}
