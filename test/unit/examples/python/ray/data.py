"""
The calls of Ray Data that the example makes, in one process and in memory: the arguments' names are those of
https://docs.ray.io/en/latest/data/api/doc/ray.data.Dataset.map_batches.html and the pages beside it. It shows that the example's
functions fit together, not that Ray runs them.
"""
import json
import pathlib

import numpy as np


class ActorPoolStrategy:
    def __init__(self, *, size):
        self.size = size


class Dataset:
    def __init__(self, rows):
        self.rows = rows

    def flat_map(self, fn, *, fn_kwargs):
        return Dataset([made for row in self.rows for made in fn(row, **fn_kwargs)])

    def map_batches(self, fn, *, fn_constructor_kwargs, batch_size, compute, num_gpus):
        assert isinstance(compute, ActorPoolStrategy) and num_gpus is None
        actors = [fn(**fn_constructor_kwargs) for _ in range(compute.size)]
        made = []
        for number, start in enumerate(range(0, len(self.rows), batch_size)):
            rows = self.rows[start : start + batch_size]
            # Columns of one shape come as one array: https://docs.ray.io/en/latest/data/working-with-tensors.html
            batch = actors[number % len(actors)]({name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]})
            made += [{name: values[index] for name, values in batch.items()} for index in range(len(rows))]
        return Dataset(made)

    def write_parquet(self, path):
        folder = pathlib.Path(path)
        folder.mkdir(parents=True)
        (folder / "rows.json").write_text(json.dumps([{name: np.asarray(value).ravel().tolist() if name != "path" else str(value) for name, value in row.items()} for row in self.rows]))


def read_binary_files(paths, *, include_paths, file_extensions):
    assert include_paths
    found = sorted(path for path in pathlib.Path(paths).iterdir() if path.suffix[1:].lower() in file_extensions)
    return Dataset([{"bytes": path.read_bytes(), "path": str(path)} for path in found])
