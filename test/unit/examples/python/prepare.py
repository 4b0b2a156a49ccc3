"""What the example's Preprocessor makes of pictures by each of the numbered rules in a folder: raw float32 files beside them."""
import pathlib
import sys

import ray_data

folder, rules, *pictures = sys.argv[1:]
for rule in range(int(rules)):
    prepare = ray_data.Preprocessor(pathlib.Path(folder) / f"{rule}.json")
    for picture in map(pathlib.Path, pictures):
        prepare(ray_data.decode(picture.read_bytes())).tofile(pathlib.Path(folder) / f"{rule}-{picture.name}.raw")
