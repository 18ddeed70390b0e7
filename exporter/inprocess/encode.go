package inprocess

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// encode encodes OTLP. Protobuf refuses text that is not UTF-8, and with it the
// whole request: one odd byte in one exception must not cost what else is in
// there, so such text is mended, where there is any.
func encode(m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err == nil {
		return b, nil
	}
	mend(m.ProtoReflect())
	return proto.Marshal(m)
}

func mend(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.IsList():
			for i := range v.List().Len() {
				if field.Message() != nil {
					mend(v.List().Get(i).Message())
				} else if s, ok := v.List().Get(i).Interface().(string); ok && !utf8.ValidString(s) {
					v.List().Set(i, mended(s))
				}
			}
		case field.Message() != nil: // OTLP has no maps
			mend(v.Message())
		case field.Kind() == protoreflect.StringKind && !utf8.ValidString(v.String()):
			m.Set(field, mended(v.String()))
		}
		return true
	})
}

func mended(s string) protoreflect.Value {
	return protoreflect.ValueOfString(strings.ToValidUTF8(s, "\uFFFD"))
}
