// Run graphs in onnxruntime-web. Arguments: a folder node_modules, and a folder with cases.json, which
// lists graphs, rows, their type and shape. Prints the labels of all rows, that of the first row
// alone, and the distances where a graph gives them.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [modules, folder] = process.argv.slice(2).map((name) => path.resolve(name));
const ort = createRequire(path.join(modules, "tilewise.cjs"))("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const bytesOf = (name) => new Uint8Array(readFileSync(path.join(folder, name)));
const kinds = { float32: Float32Array, float64: Float64Array };

async function results(item) {
  const session = await ort.InferenceSession.create(bytesOf(item.graph), {
    executionProviders: ["wasm"],
  });
  const rows = new kinds[item.type](bytesOf(item.rows).buffer);
  const run = (values, n) =>
    session.run({ X: new ort.Tensor(item.type, values, [n, item.shape[1]]) });
  const all = await run(rows, item.shape[0]);
  const one = await run(rows.slice(0, item.shape[1]), 1);
  const answer = { label: Array.from(all.label.data, Number), first: Number(one.label.data[0]) };
  if (all.distances) answer.distances = Array.from(all.distances.data);
  await session.release();
  return answer;
}

const answers = [];
for (const item of JSON.parse(readFileSync(path.join(folder, "cases.json"), "utf8"))) {
  answers.push(await results(item));
}
// JSON has no infinity: it writes null.
console.log(JSON.stringify(answers));
