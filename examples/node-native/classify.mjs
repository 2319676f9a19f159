// Early exit on images: node classify.mjs BUNDLE IMAGE.ppm... One JSON line per image on stdout.
import { readFileSync } from "node:fs";
import { Model, NativeError, Session } from "./eetool_runtime.mjs";

// Return the pixels of a binary PGM or PPM file with 256 levels and without comments.
function readPicture(path) {
  const file = readFileSync(path);
  const header = file.subarray(0, 64).toString("latin1").match(/^P([56])\s+(\d+)\s+(\d+)\s+255\s/);
  if (!header) throw new Error(`${path} is no binary PGM or PPM file with 256 levels`);
  const [, kind, width, height] = header.map(Number);
  return { pixels: file.subarray(header[0].length), height, width, channels: kind === 5 ? 1 : 3 };
}

const [bundle, ...images] = process.argv.slice(2);
if (images.length === 0) {
  console.error("usage: node classify.mjs BUNDLE IMAGE.ppm...");
  process.exit(2);
}
try {
  const model = new Model(bundle);
  const session = new Session(model);
  for (const path of images) {
    const { pixels, height, width, channels } = readPicture(path);
    session.pixels(pixels, height, width, channels);
    const { exit, label, confidence } = session.run();
    console.log(JSON.stringify({ image: path, label, exit, confidence }));
  }
  console.log(JSON.stringify({ exit_counts: model.stats().exit_counts }));
  session.free();
  model.close();
} catch (error) {
  console.error(`error: ${error.message}`);
  if (error instanceof NativeError && error.hint) console.error(`hint: ${error.hint}`);
  process.exitCode = 3;
}
