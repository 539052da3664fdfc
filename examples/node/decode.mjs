// Continues a text with a stateful model in ONNX Runtime for Node, which knows nothing of aftonnx. Every byte is run once; what
// comes out as present_X goes in as past_X.
//
//   aftonnx export testdata/model.bin --stateful -o stateful.onnx
//   npm install --ignore-scripts onnxruntime-node@1.24.3
//   node decode.mjs stateful.onnx 'func ' 100
import ort from "onnxruntime-node";

const [model, prompt, count = "100"] = process.argv.slice(2);
if (!model || !prompt) {
  console.error("usage: node decode.mjs stateful.onnx TEXT [BYTES]");
  process.exit(2);
}
const session = await ort.InferenceSession.create(model);

// At position 0 the state is not read: zeros of the right shape begin a sequence. Only batch, and the capacity of AFT-full's
// caches, are left open.
const text = [...Buffer.from(prompt)];
const sizes = { batch: 1, capacity: text.length + Number(count) };
const state = {};
for (const { name, type, shape } of session.inputMetadata.filter(({ name }) => name.startsWith("past_"))) {
  const dims = shape.map((size) => sizes[size] ?? size);
  const n = dims.reduce((a, b) => a * b, 1);
  const zeros = { float32: Float32Array, float64: Float64Array, float16: Uint16Array }[type];
  state[name] = new ort.Tensor(type, new zeros(n), dims);
}

let position = 0;
async function step(bytes) {
  const feeds = {
    ...state,
    input_ids: new ort.Tensor("int64", BigInt64Array.from(bytes, BigInt), [1, bytes.length]),
    position: new ort.Tensor("int64", BigInt64Array.of(BigInt(position)), [1]),
  };
  const { logits, ...present } = await session.run(feeds);
  for (const name of Object.keys(state)) {
    state[name] = present[name.replace("past_", "present_")];
  }
  position += bytes.length;
  const last = logits.data.slice(-256); // logits (1, bytes, 256): those behind the last byte
  return last.indexOf(Math.max(...last));
}

for (let next = await step(text), i = 0; i < Number(count); i++) {
  text.push(next);
  if (i + 1 < Number(count)) {
    next = await step([next]);
  }
}
console.log(Buffer.from(text).toString());
