// Early exit from JavaScript: node run.mjs model.onnx samples.json [operating point]
// One JSON line per sample on stdout. Inputs and outputs of the file: docs/single-file.md.
import { readFileSync } from "node:fs";
import ort from "onnxruntime-node";

const [file, samplesFile, point] = process.argv.slice(2);
if (!samplesFile) {
  console.error("usage: node run.mjs model.onnx samples.json [operating point]");
  process.exit(2);
}
const { input, shape, samples, labels, operating_points: points } = JSON.parse(readFileSync(samplesFile, "utf8"));
const chosen = points[point ?? "full"];
if (!chosen) {
  console.error(`unknown operating point ${point}; there are: ${Object.keys(points).join(", ")}`);
  process.exit(2);
}

const session = await ort.InferenceSession.create(file, { intraOpNumThreads: 1 });

// The thresholds are inputs like any other: scalars, so their shape is [].
const feeds = {};
chosen.forEach((threshold, i) => {
  feeds[`exit${i}_threshold`] = new ort.Tensor("float32", [threshold], []);
});

for (const [sample, values] of samples.entries()) {
  feeds[input] = new ort.Tensor("float32", values, shape);
  const { logits, exit, confidence } = await session.run(feeds);
  const label = labels[logits.data.indexOf(Math.max(...logits.data))];
  console.log(JSON.stringify({ sample, label, exit: Number(exit.data[0]), confidence: confidence.data[0] }));
}
