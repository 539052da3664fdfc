// Runs an exported model in ONNX Runtime for Node, which knows nothing of aftonnx: the function bodies in the file do the work.
//
//   npm install --ignore-scripts onnxruntime-node@1.24.3
//   node run.mjs model.onnx x=x.npy [grid=grid.npy] y=y.npy
//
// NAME=FILE of an input is read, of an output written: .npy files in C order, of the types an export has.
import { readFileSync, writeFileSync } from "node:fs";
import ort from "onnxruntime-node";

const types = {
  "<f2": ["float16", Uint16Array], // the bits: Node 20 has no Float16Array
  "<f4": ["float32", Float32Array],
  "<f8": ["float64", Float64Array],
  "<i8": ["int64", BigInt64Array],
};

const [model, ...pairs] = process.argv.slice(2);
const files = Object.fromEntries(pairs.map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
if (!model || pairs.length === 0 || Object.values(files).includes(undefined)) {
  console.error("usage: node run.mjs model.onnx NAME=FILE.npy...");
  process.exit(2);
}

function readNpy(path) {
  const file = readFileSync(path);
  const wide = file[6] >= 2; // version 2 and later have a 4-byte header length
  const start = (wide ? 12 : 10) + (wide ? file.readUInt32LE(8) : file.readUInt16LE(8));
  const header = file.toString("latin1", wide ? 12 : 10, start);
  const type = types[header.match(/'descr': *'([^']*)'/)?.[1]];
  if (!type || !/'fortran_order': *False/.test(header)) {
    throw new Error(`${path}: want ${Object.keys(types).join(", ")} in C order, found ${header.trim()}`);
  }
  const shape = header.match(/'shape': *\(([^)]*)\)/)[1].split(",").filter((s) => s.trim()).map(Number);
  const bytes = file.buffer.slice(file.byteOffset + start, file.byteOffset + file.length);
  return new ort.Tensor(type[0], new type[1](bytes), shape);
}

function writeNpy(path, { type, dims, data }) {
  const descr = Object.keys(types).find((key) => types[key][0] === type);
  if (!descr) {
    throw new Error(`${path}: cannot write ${type}`);
  }
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims.join(", ")}${dims.length === 1 ? "," : ""}), }`;
  const padded = text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11) + "\n";
  const head = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${padded}`, "latin1");
  head.writeUInt16LE(padded.length, 8);
  writeFileSync(path, Buffer.concat([head, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]));
}

const session = await ort.InferenceSession.create(model);
const feeds = Object.fromEntries(session.inputNames.filter((name) => files[name]).map((name) => [name, readNpy(files[name])]));
const results = await session.run(feeds);
for (const name of session.outputNames.filter((name) => files[name])) {
  writeNpy(files[name], results[name]);
  console.log(`${files[name]}: ${results[name].type} (${results[name].dims.join(",")})`);
}
