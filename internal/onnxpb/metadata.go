package onnxpb

// RepeatedMetadata finds a key of metadata_props that a model has twice: ONNX wants them distinct, and readers differ in
// which one they take.
func RepeatedMetadata(m *ModelProto) (key string, twice bool) {
	seen := make(map[string]bool, len(m.GetMetadataProps()))
	for _, p := range m.GetMetadataProps() {
		if seen[p.GetKey()] {
			return p.GetKey(), true
		}
		seen[p.GetKey()] = true
	}
	return "", false
}

// SetMetadata puts a value into metadata_props, in place of one that the key has.
func SetMetadata(m *ModelProto, key, value string) {
	for _, p := range m.GetMetadataProps() {
		if p.GetKey() == key {
			p.Value = value
			return
		}
	}
	m.MetadataProps = append(m.MetadataProps, &StringStringEntryProto{Key: key, Value: value})
}
