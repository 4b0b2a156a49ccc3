"""The part of onnxruntime that the example uses, over Node's onnxruntime-node: Debian has no package of the Python one."""
import json
import os
import pathlib
import subprocess
import tempfile
from types import SimpleNamespace

import numpy as np

RUN = """
const ort = require(process.argv[1]);
const fs = require('node:fs');
const [model, folder, shape] = process.argv.slice(2);
(async () => {
  const session = await ort.InferenceSession.create(model, { executionProviders: ['cpu'] });
  if (shape === undefined) { console.log(JSON.stringify(session.outputNames)); return; }
  const bytes = fs.readFileSync(folder + '/pixels');
  const results = await session.run({ pixel_values: new ort.Tensor('float32', new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)), JSON.parse(shape)) });
  const shapes = {};
  for (const [name, { dims, data }] of Object.entries(results)) {
    fs.writeFileSync(folder + '/' + name, Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    shapes[name] = dims;
  }
  console.log(JSON.stringify(shapes));
})();
"""


def get_available_providers():
    return ["CPUExecutionProvider"]


class InferenceSession:
    def __init__(self, path, providers):
        assert providers == ["CPUExecutionProvider"]
        self.path = path

    def get_outputs(self):
        return [SimpleNamespace(name=name) for name in self._node(self.path, "")]

    def run(self, names, feeds):
        (pixels,) = feeds.values()
        assert list(feeds) == ["pixel_values"] and pixels.dtype == np.float32
        with tempfile.TemporaryDirectory() as folder:
            pixels.tofile(pathlib.Path(folder) / "pixels")
            shapes = self._node(self.path, folder, json.dumps(pixels.shape))
            return [np.fromfile(pathlib.Path(folder) / name, np.float32).reshape(shapes[name]) for name in names]

    def _node(self, *arguments):
        return json.loads(subprocess.run([os.environ["NODE"], "-e", RUN, os.environ["ORT"], *arguments], check=True, capture_output=True, text=True).stdout)
