package intake

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Every list of numbers is a histogram that counts all of them, whatever floats
// do between them.
func TestHistogramOfAnyNumbers(t *testing.T) {
	least := math.SmallestNonzeroFloat64
	for name, nums := range map[string][]float64{
		"one":                             {5},
		"one large":                       {1e300},
		"the largest":                     {math.MaxFloat64},
		"the farthest":                    {-math.MaxFloat64, 0, math.MaxFloat64},
		"farther than a float":            {-1.7e308, 1.7e308},
		"next to each other":              {1, math.Nextafter(1, 2)},
		"large, next to each other":       {1e17, math.Nextafter(1e17, 2e17)},
		"the smallest":                    {0, least},
		"as many of the smallest as bins": {0, 64 * least},
		"nearly as small":                 {0, 1e-310},
	} {
		t.Run(name, func(t *testing.T) {
			v := pcommon.NewValueSlice()
			for _, n := range nums {
				v.Slice().AppendEmpty().SetDouble(n)
			}
			var got struct {
				Values []int     `json:"values"`
				Bins   []float64 `json:"bins"`
			}
			require.NoError(t, json.Unmarshal(histogramJSON(v), &got))
			assert.Len(t, got.Values, maxBins)
			sum := 0
			for _, n := range got.Values {
				sum += n
			}
			assert.Len(t, nums, sum)
			assert.Len(t, got.Bins, maxBins+1)
			assert.IsNonDecreasing(t, got.Bins)
			assert.Less(t, got.Bins[0], got.Bins[maxBins])
			assert.LessOrEqual(t, got.Bins[0], nums[0])
			assert.GreaterOrEqual(t, got.Bins[maxBins], nums[len(nums)-1])
		})
	}
}
