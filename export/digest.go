package export

// WeightsKey is the metadata key of the digest of a model's weights, as onnxpb.WeightsDigest has it. A weight that changed
// after the export, which nothing else in the file contradicts, shows there.
const WeightsKey = MetadataPrefix + "weights_sha256"
