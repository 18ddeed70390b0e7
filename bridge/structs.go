package bridge

import (
	"fmt"
	"reflect"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
)

// LogStruct logs a row from the fields of a struct that have a tag `wandb:"name"`;
// a nil pointer among them is left out. The fields of a tagged struct field
// get its name and a slash in front, those of an embedded struct nothing.
//
//	type metrics struct {
//		Loss float64 `wandb:"loss"`
//		Val  struct {
//			Accuracy float64 `wandb:"accuracy"` // val/accuracy
//		} `wandb:"val"`
//	}
//	run.LogStruct(metrics{Loss: 0.5})
func (r *Run) LogStruct(row any) {
	if !r.Recording() {
		return
	}
	v := reflect.ValueOf(row)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		r.wrong(fmt.Errorf("wandb bridge: LogStruct takes a struct, and was given %T: use Log for maps", row))
		return
	}
	fields := fieldsOf(v.Type())
	if len(fields) == 0 {
		r.wrong(fmt.Errorf("wandb bridge: %T has no field to log: tag those that are metrics, as in `wandb:\"loss\"`", row))
		return
	}
	attrs := make([]attribute.KeyValue, 0, len(fields))
	for _, f := range fields {
		at, err := v.FieldByIndexErr(f.index)
		if err != nil || at.Kind() == reflect.Pointer && at.IsNil() {
			continue // a nil pointer on the way, or at its end
		}
		val, err := f.value(at)
		if err != nil {
			r.wrong(err)
			continue
		}
		attrs = append(attrs, attribute.KeyValue{Key: attribute.Key(f.name), Value: val})
	}
	r.row(0, false, attrs, nil)
}

// field is one metric of a struct.
type field struct {
	name  string
	index []int
}

func (f *field) value(v reflect.Value) (attribute.Value, error) {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Float64:
		return attribute.Float64Value(v.Float()), nil
	case reflect.Int, reflect.Int64, reflect.Int32:
		if v.Type().PkgPath() == "" { // named types may have a JSON form of their own
			return attribute.Int64Value(v.Int()), nil
		}
	}
	return valueOf("metric "+f.name, v.Interface())
}

var structFields sync.Map // reflect.Type to []field: a loop logs the same type over and over

func fieldsOf(t reflect.Type) []field {
	if known, ok := structFields.Load(t); ok {
		return known.([]field)
	}
	fields := appendFields(nil, t, "", nil, nil)
	structFields.Store(t, fields)
	return fields
}

func appendFields(to []field, t reflect.Type, prefix string, index []int, seen []reflect.Type) []field {
	if slices.Contains(seen, t) {
		return to // a type that holds itself by pointer
	}
	seen = append(seen[:len(seen):len(seen)], t)
	for i := range t.NumField() {
		f := t.Field(i)
		name, tagged := f.Tag.Lookup("wandb")
		at := slices.Concat(index, []int{i})
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case f.Anonymous && !tagged && inner.Kind() == reflect.Struct:
			if f.IsExported() || f.Type.Kind() == reflect.Struct {
				to = appendFields(to, inner, prefix, at, seen)
			}
		case !tagged || name == "" || name == "-" || !f.IsExported():
		case inner.Kind() == reflect.Struct && len(appendFields(nil, inner, "", nil, seen)) > 0:
			to = appendFields(to, inner, prefix+name+"/", at, seen)
		default:
			to = append(to, field{prefix + name, at})
		}
	}
	return to
}
