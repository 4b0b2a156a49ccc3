"""How models' own code prepares pictures, by Pillow, numpy and torch: python3 preprocess.py (Pillow 9.4, PyTorch 1.13).

Writes fixtures/preprocess/rules.json: for each rule a file in the words of the model's makers, what it is read for, and the sha256
of pixel_values (float32, 3 x H x W). The steps are those of the implementations that are named, written out here. Where levels are
resized as fractions no two implementations agree to the bit, so the values themselves are kept.
"""
import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

FIXTURES = Path(__file__).parent.parent / 'fixtures'
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5] * 3, [0.5] * 3)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def normalised(array, statistics, rescale=1 / 255):
    """transformers' image_transforms.py: rescale, then normalize, in float32."""
    array = (array * rescale).astype(np.float32)
    return array if statistics is None else (array - np.float32(statistics[0])) / np.float32(statistics[1])


def shortest_edge(image, size, resample):
    """get_resize_output_image_size of transformers: the longer side is cut off to whole pixels."""
    width, height = image.size
    long = int(size * max(width, height) / min(width, height))
    return image.resize((size, long) if width <= height else (long, size), resample)


def cut(array, height, width):
    """The middle of an array that is large enough; half a pixel is left off (center_crop of transformers)."""
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top:top + height, left:left + width]


def expand2square(image, colour):
    """llava/mm_utils.py."""
    side = max(image.size)
    square = Image.new('RGB', (side, side), colour)
    square.paste(image, ((side - image.size[0]) // 2, (side - image.size[1]) // 2))
    return square


def llava(image):
    square = expand2square(image, tuple(int(mean * 255) for mean in CLIP[0]))
    return normalised(cut(np.asarray(shortest_edge(square, 28, Image.BICUBIC)), 28, 28), CLIP)


def deepseek(image):
    """VLMImageProcessor of DeepSeek-VL: the longer side to the size, the other cut off to whole pixels, then a square."""
    longest = max(image.size)
    width, height = (max(int(side / longest * 28), 14) for side in image.size)
    return normalised(np.asarray(expand2square(image.resize((width, height), Image.BICUBIC), (127, 127, 127))), HALF)


def open_clip_longest(image):
    """open_clip/transform.py: ResizeKeepRatio(longest=1), then center_crop_or_pad with a fill."""
    ratio = max(side / 28 for side in image.size)
    width, height = (round(side / ratio) for side in image.size)
    resized = image.resize((width, height), Image.BILINEAR)
    padded = Image.new('RGB', (28, 28), (9, 9, 9))
    padded.paste(resized, ((28 - width) // 2, (28 - height) // 2))
    return normalised(np.asarray(padded), CLIP)


def open_clip_shortest(image):
    """torchvision's Resize and CenterCrop, which rounds half a pixel as Python does."""
    array = np.asarray(shortest_edge(image, 28, Image.BICUBIC))
    top, left = (int(round((side - 28) / 2)) for side in array.shape[:2])
    return normalised(array[top:top + 28, left:left + 28], CLIP)


def siglip(image):
    return normalised(np.asarray(image.resize((28, 28), Image.BICUBIC)), HALF)


def unscaled(image):
    """do_rescale false: the levels themselves are normalised."""
    return normalised(np.asarray(image.resize((28, 28), Image.BILINEAR)), HALF, 1)


def unresized(image):
    """do_resize false: the middle of the picture as it is."""
    return normalised(cut(np.asarray(image), 28, 28), CLIP)


def dinov2(image):
    return normalised(cut(np.asarray(shortest_edge(image, 32, Image.BICUBIC)), 28, 28), IMAGENET)


def dinov3(image):
    """DINOv3ViTImageProcessorFast: to 0 to 1 first, then torchvision's resize of a float tensor."""
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() * (1 / 255)
    resized = torch.nn.functional.interpolate(levels, (28, 28), mode='bilinear', align_corners=False, antialias=True)
    return normalised(resized[0].permute(1, 2, 0).numpy(), IMAGENET, 1)


SHORTEST = {'size': {'shortest_edge': 28}, 'crop_size': {'height': 28, 'width': 28}, 'do_center_crop': True, 'resample': 3}
BOX = {'height': 28, 'width': 28}
RULES = [
    ('LLaVA: a rim in the mean colour, then CLIP\'s', {'image_processor_type': 'LlavaImageProcessor', 'do_pad': True, **SHORTEST}, llava),
    ('DeepSeek-VL: the longer side, then a rim', {'image_processor_type': 'VLMImageProcessor', 'image_size': 28, 'min_size': 14, 'background_color': [127] * 3, 'image_mean': HALF[0], 'image_std': HALF[1]}, deepseek),
    ('OpenCLIP: longest, with a fill', {'preprocess_cfg': {'mean': CLIP[0], 'std': CLIP[1], 'interpolation': 'bilinear', 'resize_mode': 'longest', 'fill_color': 9}}, open_clip_longest),
    ('OpenCLIP: shortest', {'preprocess_cfg': {'mean': CLIP[0], 'std': CLIP[1], 'interpolation': 'bicubic', 'resize_mode': 'shortest'}}, open_clip_shortest),
    ('SigLIP: straight to the square', {'image_processor_type': 'SiglipImageProcessor', 'size': BOX, 'resample': 3}, siglip),
    ('do_rescale false', {'image_processor_type': 'ViTImageProcessor', 'size': BOX, 'resample': 2, 'do_rescale': False}, unscaled),
    ('do_resize false', {'image_processor_type': 'CLIPImageProcessor', 'do_resize': False, 'do_center_crop': True, 'crop_size': BOX}, unresized),
    ('DINOv2: larger, then its middle', {'image_processor_type': 'BitImageProcessor', 'size': {'shortest_edge': 32}, 'crop_size': BOX, 'do_center_crop': True, 'resample': 3, 'image_mean': IMAGENET[0], 'image_std': IMAGENET[1]}, dinov2),
    ('DINOv3: levels stay fractions', {'image_processor_type': 'DINOv3ViTImageProcessorFast', 'size': BOX, 'resample': 2}, dinov3),
]
# Of the one whose sides are 96 and 36, the shorter side is 10.5 of 28.
PICTURES = {'97 x 61': (97, 61), '96 x 36': (96, 36), '36 x 96': (36, 96)}


def picture(size):
    return Image.open(FIXTURES / 'pictures/rgb8.png').convert('RGB').resize(size, Image.NEAREST)


def main():
    cases = []
    for title, file, rule in RULES:
        for name, size in PICTURES.items():
            image = picture(size)
            values = np.ascontiguousarray(rule(image).transpose(2, 0, 1).astype(np.float32))
            kept = {'values': base64.b64encode(values.tobytes()).decode()} if rule is dinov3 else {'sha256': hashlib.sha256(values.tobytes()).hexdigest()}
            cases.append({'title': title, 'file': file, 'picture': name, 'size': image.size, 'shape': values.shape, **kept})
    (FIXTURES / 'preprocess/rules.json').write_text('[\n' + ',\n'.join(json.dumps(case) for case in cases) + '\n]\n')


main()
