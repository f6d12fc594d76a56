"""What Hugging Face datasets needs only to load the same file."""

from __future__ import annotations

import sys
import tempfile

from datasets import load_dataset

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        print(len(load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=cache)))
