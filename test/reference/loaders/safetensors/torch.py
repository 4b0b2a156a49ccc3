"""Stands for the safetensors package: reads a file by the format's description."""
import json
import torch

DTYPES = {'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16}


def load_file(path):
    with open(path, 'rb') as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
        data = file.read()
    header.pop('__metadata__', None)
    return {key: torch.frombuffer(bytearray(data[slice(*entry['data_offsets'])]), dtype=DTYPES[entry['dtype']]).reshape(entry['shape']) for key, entry in header.items()}
