package onnxpb

import "testing"

func TestMetadata(t *testing.T) {
	m := &ModelProto{}
	for _, value := range []string{"1", "2"} {
		SetMetadata(m, "k", value)
		SetMetadata(m, "other", value)
		if key, twice := RepeatedMetadata(m); twice || len(m.MetadataProps) != 2 || m.MetadataProps[0].Value != value {
			t.Errorf("%v, repeated %q", m.MetadataProps, key)
		}
	}
	m.MetadataProps = append(m.MetadataProps, &StringStringEntryProto{Key: "k", Value: "3"})
	if key, twice := RepeatedMetadata(m); !twice || key != "k" {
		t.Errorf("found %q", key)
	}
}
