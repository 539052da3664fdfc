package onnxpb

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// schema is what the scan needs of a message type: its fields by number, numbers not declared being nil.
type schema struct {
	fields []*field
}

type field struct {
	name     string
	bit      uint64 // its place in the set of singular fields seen; members of one oneof share it
	wire     protowire.Type
	packable bool // a repeated number, which may also come packed in a BytesType
	repeated bool
	text     bool    // proto3 strings must be UTF-8
	external bool    // TensorProto.external_data
	message  *schema // nil unless the field is a message
	cost     int64   // bytes of one decoded value that the wire bytes do not pay for
}

// The memory charged for one decoded value. A message costs about 100 to 220 bytes (its struct, a pointer, the
// allocator's rounding); a repeated string costs its header, a repeated number at most 8 bytes for 1 on the wire.
const (
	messageCost = 256
	stringCost  = 24
	numberCost  = 8
)

const externalField = protoreflect.FullName("aftonnx.onnx.TensorProto.external_data")

func (s *schema) field(number protowire.Number) *field {
	if number < 0 || int64(number) >= int64(len(s.fields)) {
		return nil
	}
	return s.fields[number]
}

// newSchema derives the schema of a message and everything below it from the generated descriptors.
func newSchema(d protoreflect.MessageDescriptor) *schema {
	return deriveSchema(d, map[protoreflect.FullName]*schema{})
}

func deriveSchema(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*schema) *schema {
	if s, ok := known[d.FullName()]; ok {
		return s
	}
	s := &schema{}
	known[d.FullName()] = s
	bits := map[protoreflect.FullName]uint64{}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := deriveField(fd, known)
		f.external = fd.FullName() == externalField
		key := fd.FullName()
		if o := fd.ContainingOneof(); o != nil {
			key = o.FullName()
		}
		if bits[key] == 0 {
			bits[key] = 1 << len(bits)
		}
		f.bit = bits[key]
		for int(fd.Number()) >= len(s.fields) {
			s.fields = append(s.fields, nil)
		}
		s.fields[fd.Number()] = f
	}
	return s
}

func deriveField(fd protoreflect.FieldDescriptor, known map[protoreflect.FullName]*schema) *field {
	f := &field{name: string(fd.Name()), repeated: fd.Cardinality() == protoreflect.Repeated}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		f.wire, f.cost = protowire.BytesType, messageCost
		f.message = deriveSchema(fd.Message(), known)
		return f
	case protoreflect.StringKind, protoreflect.BytesKind:
		f.wire, f.text = protowire.BytesType, fd.Kind() == protoreflect.StringKind
	case protoreflect.FloatKind:
		f.wire = protowire.Fixed32Type
	case protoreflect.DoubleKind:
		f.wire = protowire.Fixed64Type
	default: // the other numbers of onnx.proto are int32, int64, uint64 and enums
		f.wire = protowire.VarintType
	}
	f.packable = f.repeated && f.wire != protowire.BytesType
	if f.repeated {
		f.cost = numberCost
		if f.wire == protowire.BytesType {
			f.cost = stringCost
		}
	}
	return f
}
