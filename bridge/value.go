package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
)

// ValueError is a value that cannot be JSON, and so no config value, summary
// value or metric.
type ValueError struct {
	Field string // where it is: "config.optimizer.hook"
	Type  string // its Go type
	Err   error  // what the encoder said; may be nil
}

func (e *ValueError) Error() string {
	why := ""
	if e.Err != nil {
		why = ": " + e.Err.Error()
	}
	return fmt.Sprintf("wandb bridge: %s must be a value that JSON can hold, but is of type %s%s: give a number, text, bool, slice, map or struct of these", e.Field, e.Type, why)
}

// Unwrap gives what the encoder said.
func (e *ValueError) Unwrap() error { return e.Err }

// maxNesting bounds maps in maps, which may hold themselves.
const maxNesting = 64

// valueOf makes an attribute value of any Go value that JSON can hold. Numbers
// keep their kind; maps are in the order of their keys. The usual kinds of
// hyperparameters and metrics take the short way, all others that of
// encoding/json, whose tags and interfaces they so have.
func valueOf(field string, v any) (attribute.Value, error) { return nested(field, v, 0) }

func nested(field string, v any, depth int) (attribute.Value, error) {
	switch v := v.(type) {
	case nil:
		return attribute.Value{}, nil
	case bool:
		return attribute.BoolValue(v), nil
	case string:
		return attribute.StringValue(v), nil
	case float64:
		return attribute.Float64Value(v), nil
	case float32:
		return attribute.Float64Value(widen(v)), nil
	case int:
		return attribute.IntValue(v), nil
	case int64:
		return attribute.Int64Value(v), nil
	case int32:
		return attribute.Int64Value(int64(v)), nil
	case int16:
		return attribute.Int64Value(int64(v)), nil
	case int8:
		return attribute.Int64Value(int64(v)), nil
	case uint:
		return unsigned(uint64(v)), nil
	case uint64:
		return unsigned(v), nil
	case uint32:
		return attribute.Int64Value(int64(v)), nil
	case uint16:
		return attribute.Int64Value(int64(v)), nil
	case uint8:
		return attribute.Int64Value(int64(v)), nil
	case json.Number:
		return number(v), nil
	case time.Duration:
		return attribute.StringValue(v.String()), nil
	case attribute.Value:
		return v, nil
	case []string:
		return attribute.StringSliceValue(v), nil
	case []bool:
		return attribute.BoolSliceValue(v), nil
	case []int:
		return attribute.IntSliceValue(v), nil
	case []int64:
		return attribute.Int64SliceValue(v), nil
	case []float64:
		return attribute.Float64SliceValue(v), nil
	case []any:
		return sliceOf(field, v, depth)
	case map[string]any:
		return mapOf(field, v, depth)
	}
	if err, ok := v.(error); ok {
		if _, ok := v.(json.Marshaler); !ok {
			return attribute.StringValue(fmt.Sprint(err)), nil // which also takes nil pointers
		}
	}
	return viaJSON(field, v, depth)
}

// widen gives the float64 that is written as f is: 0.1, not 0.10000000149011612.
func widen(f float32) float64 {
	wide, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	if err != nil {
		return float64(f)
	}
	return wide
}

func unsigned(v uint64) attribute.Value {
	if v > math.MaxInt64 {
		return attribute.Float64Value(float64(v))
	}
	return attribute.Int64Value(int64(v))
}

func number(n json.Number) attribute.Value {
	if i, err := n.Int64(); err == nil {
		return attribute.Int64Value(i)
	}
	if f, err := n.Float64(); err == nil {
		return attribute.Float64Value(f)
	}
	return attribute.StringValue(n.String())
}

func sliceOf(field string, s []any, depth int) (attribute.Value, error) {
	if depth >= maxNesting {
		return attribute.Value{}, &ValueError{Field: field, Type: "[]interface {}", Err: errTooDeep}
	}
	out := make([]attribute.Value, len(s))
	for i, e := range s {
		v, err := nested(field+"["+strconv.Itoa(i)+"]", e, depth+1)
		if err != nil {
			return v, err
		}
		out[i] = v
	}
	return attribute.SliceValue(out...), nil
}

var errTooDeep = fmt.Errorf("it is nested more than %d deep, or holds itself", maxNesting)

func mapOf(field string, m map[string]any, depth int) (attribute.Value, error) {
	if depth >= maxNesting {
		return attribute.Value{}, &ValueError{Field: field, Type: "map[string]interface {}", Err: errTooDeep}
	}
	out := make([]attribute.KeyValue, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v, err := nested(field+"."+k, m[k], depth+1)
		if err != nil {
			return v, err
		}
		out = append(out, attribute.KeyValue{Key: attribute.Key(k), Value: v})
	}
	return attribute.MapValue(out...), nil
}

// viaJSON takes structs, pointers, named types and whatever else encoding/json takes.
func viaJSON(field string, v any, depth int) (attribute.Value, error) {
	bad := func(err error) (attribute.Value, error) {
		return attribute.Value{}, &ValueError{Field: field, Type: fmt.Sprintf("%T", v), Err: err}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return bad(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return bad(err)
	}
	return nested(field, plain, depth)
}

// flatten makes config attributes of a map: nested maps become dotted keys, so
// that scopes merge key by key.
func flatten(to map[string]attribute.Value, field, prefix string, values map[string]any) error {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		v, err := valueOf(field+"."+k, values[k])
		if err != nil {
			return err
		}
		flattenValue(to, prefix+k, v)
	}
	return nil
}

func flattenValue(to map[string]attribute.Value, key string, v attribute.Value) {
	if v.Type() != attribute.MAP || len(v.AsMap()) == 0 {
		to[key] = v
		return
	}
	for _, kv := range v.AsMap() {
		flattenValue(to, key+"."+string(kv.Key), kv.Value)
	}
}
