"""Features of many pictures on many machines: the exported ONNX model in Ray Data.

    vision-encoder export qwen-encoder --out onnx/encoder.onnx
    pip install "ray[data]" onnxruntime-gpu pillow        # onnxruntime where there is no GPU
    python ray_data.py onnx/encoder.onnx s3://bucket/pictures s3://bucket/features --actors 8 --gpus 1

The folder of the model holds encoder.onnx, encoder.onnx.data and preprocessor_config.json; it has to be at the same path on
every machine of the cluster: on a shared disk, or in the working directory that ray.init(runtime_env=...) sends there.
Rows of the Parquet files: `path`, and an array for each output of the model. A picture that cannot be read is logged and left out.

Written for Ray 2.51 or newer: https://docs.ray.io/en/latest/data/api/doc/ray.data.Dataset.map_batches.html
"""

import argparse
import io
import json
import logging
import pathlib

import numpy as np
from PIL import Image, ImageOps

EXTENSIONS = ["jpg", "jpeg", "png", "webp", "gif", "tif", "tiff", "bmp"]


def decode(data):
    """A picture's RGB pixels: turned as its EXIF data say, with white where it is transparent."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # of 16 bits the high ones
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


class Preprocessor:
    """What a preprocessor_config.json, as `vision-encoder export` writes it, makes of a picture."""

    def __init__(self, config):
        if not isinstance(config, dict):
            config = json.loads(pathlib.Path(config).read_text(encoding="utf-8"))
        self.config = config
        side, crop = config.get("image_size"), config.get("crop_size")
        self.longest = side
        self.crop = (side, side) if side else (crop["height"], crop["width"]) if config.get("do_center_crop") else None
        self.fill = [round(level) for level in config.get("background_color", [0, 0, 0])]
        self.levels = [self._levels(channel) for channel in range(3)]

    def __call__(self, image):
        """@return float32 (3, height, width)"""
        config = self.config
        if config.get("do_pad"):
            image = self._padded(image)
        width, height = self._resized(image.size)
        if config["image_processor_type"].startswith("DINOv3"):
            return self._unrounded(image, (width, height))
        if (width, height) != image.size:
            image = image.resize((width, height), resample=config["resample"])
        pixels = np.asarray(image)
        if self.crop is not None:
            pixels = self._cropped(pixels, *self.crop)
        return np.stack([levels[pixels[..., channel]] for channel, levels in enumerate(self.levels)])

    def _unrounded(self, image, size):
        """Resized levels stay fractions, as DINOv3's own processor leaves them."""
        planes = (Image.fromarray(plane.astype(np.float32)) for plane in np.asarray(image).transpose(2, 0, 1))
        resized = (np.asarray(plane.resize(size, resample=self.config["resample"])) for plane in planes)
        return np.stack([self._values(levels.astype(np.float64), channel) for channel, levels in enumerate(resized)])

    def _levels(self, channel):
        """What each of the 256 levels becomes."""
        return self._values(np.arange(256, dtype=np.float64), channel)

    def _values(self, levels, channel):
        """float32 after every step."""
        config = self.config
        levels = levels * (config["rescale_factor"] if config.get("do_rescale", True) else 1)
        levels = levels.astype(np.float32)
        if not config.get("do_normalize"):
            return levels
        return (levels - np.float32(config["image_mean"][channel])) / np.float32(config["image_std"][channel])

    def _padded(self, image):
        """In the middle of a square of the mean colour, as LLaVA does."""
        side = max(image.size)
        square = Image.new("RGB", (side, side), tuple(int(mean * 255) for mean in self.config["image_mean"]))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return square

    def _resized(self, size):
        width, height = size
        if self.longest:
            if self.config.get("side_rounding") == "half_even":
                return tuple(max(1, round(side / (max(size) / self.longest))) for side in size)
            return tuple(max(self.config.get("min_size", 14), int(side / max(size) * self.longest)) for side in size)
        if not self.config.get("do_resize"):
            return size
        wanted = self.config["size"]
        if "shortest_edge" not in wanted:
            return wanted["width"], wanted["height"]
        short = wanted["shortest_edge"]
        long = int(short * max(size) / min(size))
        return (short, long) if width <= height else (long, short)

    def _cropped(self, pixels, height, width):
        """The centre; what lies outside the picture gets the fill colour."""
        top, left = self._half(pixels.shape[0] - height), self._half(pixels.shape[1] - width)
        cropped = np.empty((height, width, 3), np.uint8)
        cropped[:] = self.fill
        seen = pixels[max(top, 0) : max(top, 0) + height, max(left, 0) : max(left, 0) + width]
        y, x = max(-top, 0), max(-left, 0)
        cropped[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        return cropped

    def _half(self, excess):
        if self.config.get("crop_rounding") != "half_even":
            return excess // 2
        return round(excess / 2) if excess >= 0 else -(-excess // 2)


def rows(row, config):
    """For flat_map: a file becomes one row, or none when it cannot be read."""
    try:
        return [{"path": row["path"], "pixel_values": Preprocessor(config)(decode(row["bytes"]))}]
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        logging.getLogger(__name__).warning("Left out: %s (%s)", row["path"], error)
        return []


class Encoder:
    """For map_batches: one of these lives in each actor, with the model loaded once."""

    def __init__(self, model):
        import onnxruntime

        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        available = onnxruntime.get_available_providers()
        self.session = onnxruntime.InferenceSession(str(model), providers=[name for name in wanted if name in available])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, batch):
        pixels = np.stack(list(batch["pixel_values"])).astype(np.float32, copy=False)
        return {"path": batch["path"], **dict(zip(self.outputs, self.session.run(self.outputs, {"pixel_values": pixels})))}


def main(arguments=None):
    import ray

    parser = argparse.ArgumentParser(description="Features of many pictures with the exported ONNX model in Ray Data.")
    parser.add_argument("model", type=pathlib.Path, help="encoder.onnx, at this path on every machine")
    parser.add_argument("pictures", help="a folder or address that Ray Data reads")
    parser.add_argument("out", help="where the Parquet files go")
    parser.add_argument("--actors", type=int, default=1, help="copies of the encoder that run at the same time")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs for each of them")
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args(arguments)

    config = json.loads((options.model.parent / "preprocessor_config.json").read_text(encoding="utf-8"))
    (
        ray.data.read_binary_files(options.pictures, include_paths=True, file_extensions=EXTENSIONS)
        .flat_map(rows, fn_kwargs={"config": config})
        .map_batches(
            Encoder,
            fn_constructor_kwargs={"model": options.model},
            batch_size=options.batch_size,
            compute=ray.data.ActorPoolStrategy(size=options.actors),
            num_gpus=options.gpus or None,
        )
        .write_parquet(options.out)
    )


if __name__ == "__main__":
    main()
