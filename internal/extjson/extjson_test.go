package extjson

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecodeKeepsWhatJSONCannotSay(t *testing.T) {
	v, err := DecodeObject(` {"nan": NaN, "inf":Infinity,"ninf":-Infinity, "big":9007199254740993, "f":1.0, "l":[1,"a",null,true], "d":{"e":{}}} `)
	require.NoError(t, err)
	assert.True(t, math.IsNaN(v["nan"].(float64)))
	delete(v, "nan")
	assert.Equal(t, map[string]any{
		"inf": math.Inf(1), "ninf": math.Inf(-1), "big": int64(9007199254740993), "f": 1.0,
		"l": []any{int64(1), "a", nil, true}, "d": map[string]any{"e": map[string]any{}},
	}, v)
}

func TestMembersKeepTheText(t *testing.T) {
	members, err := Members(`{"a\n":  {"x": [1.50, NaN, "}"]} ,"b":1e400}`)
	require.NoError(t, err)
	assert.Equal(t, []Member{{"a\n", `{"x": [1.50, NaN, "}"]}`}, {"b", "1e400"}}, members)

	raw, ok := Get(`{"_wandb":{"value":{"t":{"5":"1"}}}}`, "_wandb", "value", "t")
	assert.True(t, ok)
	assert.JSONEq(t, `{"5":"1"}`, raw)
	_, ok = Get(`{"_wandb":{"value":1}}`, "_wandb", "value", "t")
	assert.False(t, ok, "a path through a number leads nowhere")
}

func TestWhatIsNoJSON(t *testing.T) {
	for _, s := range []string{
		"", "{", "[1,]", `{"a"}`, `{"a":}`, `{"a":1,}`, "1 2", "nan", "01", "+1", "0x1", "1_000", `"a`, `"\x"`, "{1:2}", "]", "1e", ".5",
	} {
		_, err := Decode(s)
		assert.Error(t, err, "%q", s)
	}
	deep := make([]byte, 100_000)
	for i := range deep {
		deep[i] = '['
	}
	_, err := Decode(string(deep))
	assert.ErrorContains(t, err, "deep")
}

func FuzzDecodeAgreesWithJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x\u0041",null,true]}`, `[[],{}]`, `"\ud800"`, "NaN", "-0", "1e5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Decode(s)
		if json.Valid([]byte(s)) {
			require.NoError(t, err, "valid JSON")
			d := json.NewDecoder(strings.NewReader(s))
			d.UseNumber()
			var want any
			require.NoError(t, d.Decode(&want))
			_, isMap := want.(map[string]any)
			_, gotMap := v.(map[string]any)
			assert.Equal(t, isMap, gotMap)
		}
		_, _ = Members(s)
	})
}
