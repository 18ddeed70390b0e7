package run

import (
	"math"
	"strconv"
	"strings"
)

// pathKey names a value's path in maps. The separator cannot be in valid text
// that came through intake.
func pathKey(key string, rest []string) string {
	if len(rest) == 0 {
		return key
	}
	return key + "\x00" + strings.Join(rest, "\x00")
}

// MaxExact is up to where a float64 holds every integer.
const MaxExact = 1 << 53

// AppendFloat writes extended JSON as W&B reads it: NaN and infinities bare.
func AppendFloat(b []byte, f float64) []byte {
	switch {
	case f != 0 && f > -MaxExact && f < MaxExact && f == float64(int64(f)):
		return strconv.AppendInt(b, int64(f), 10) // the same text, and faster
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}

func floatJSON(f float64) string { return string(AppendFloat(nil, f)) }

func intJSON(n int64) string { return strconv.FormatInt(n, 10) }
