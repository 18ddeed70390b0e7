package run

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// A number that is kept as one is written as its text would have been.
func TestNumbersKeepTheirText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1: "1", -7: "-7", 1_000_000: "1000000",
		MaxExact - 1: "9007199254740991", MaxExact: "9007199254740992", MaxExact + 1: "9007199254740993",
		-MaxExact - 1: "-9007199254740993", math.MaxInt64: "9223372036854775807", math.MinInt64: "-9223372036854775808",
	} {
		v := intValue("n", n)
		assert.Equal(t, want, v.Text())
		read := parseValue(dotwandb.Item{Key: "n", JSON: v.Text()})
		assert.Equal(t, want, read.Text(), "and as it was, when it is read back")
		assert.True(t, read.Numeric)
	}
	for want, f := range map[string]float64{
		"0": 0, "-0": math.Copysign(0, -1), "0.5": 0.5, "-2": -2, "1e-07": 1e-7, "9007199254740992": MaxExact,
		"100000000000000000000": 1e20, "1e+21": 1e21, "NaN": math.NaN(), "-Infinity": math.Inf(-1),
	} {
		var v Value
		v.SetFloat(f)
		assert.Equal(t, want, v.Text())
		assert.Equal(t, want, string(appendText(nil, &v)))
		read := parseValue(dotwandb.Item{JSON: want})
		assert.Equal(t, want, read.Text(), "and as it was, when it is read back")
	}
	text := parseValue(dotwandb.Item{Key: "n", JSON: `"7"`})
	assert.Equal(t, Value{Key: "n", JSON: `"7"`}, text)
}
