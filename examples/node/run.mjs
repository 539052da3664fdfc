// Runs an exported model in ONNX Runtime for Node, which knows nothing of aftonnx: the function bodies in the file do the work.
//
//   npm install --ignore-scripts onnxruntime-node@1.24.3
//   node run.mjs model.onnx x.npy y.npy
//
// x.npy is a float32 array in C order, as `aftonnx run` reads; y.npy is written in the same form.
import { readFileSync, writeFileSync } from "node:fs";
import ort from "onnxruntime-node";

const [model, input, output] = process.argv.slice(2);
if (!output) {
  console.error("usage: node run.mjs model.onnx x.npy y.npy");
  process.exit(2);
}

function readNpy(path) {
  const file = readFileSync(path);
  const wide = file[6] >= 2; // version 2 and later have a 4-byte header length
  const length = wide ? file.readUInt32LE(8) : file.readUInt16LE(8);
  const start = (wide ? 12 : 10) + length;
  const header = file.toString("latin1", wide ? 12 : 10, start);
  if (!/'descr': *'<f4'/.test(header) || !/'fortran_order': *False/.test(header)) {
    throw new Error(`${path}: want float32 in C order, found ${header.trim()}`);
  }
  const shape = header.match(/'shape': *\(([^)]*)\)/)[1].split(",").filter((s) => s.trim()).map(Number);
  return { shape, data: new Float32Array(file.buffer.slice(file.byteOffset + start, file.byteOffset + file.length)) };
}

function writeNpy(path, { shape, data }) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const padded = text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11) + "\n";
  const head = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${padded}`, "latin1");
  head.writeUInt16LE(padded.length, 8);
  writeFileSync(path, Buffer.concat([head, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]));
}

const session = await ort.InferenceSession.create(model);
const x = readNpy(input);
const { y } = await session.run({ x: new ort.Tensor("float32", x.data, x.shape) });
writeNpy(output, { shape: y.dims, data: y.data });
console.log(`${output}: (${y.dims.join(",")})`);
