"""The model folder's own processor or tokenizer, also where torchvision is missing."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock


def load_encoder(model: str, trust: bool) -> Any:
    """The model's processor, else its tokenizer; None when the folder has neither."""
    from transformers import AutoProcessor, AutoTokenizer

    loaders: list[Callable[..., Any]] = [AutoProcessor.from_pretrained, _without_video, AutoTokenizer.from_pretrained]
    for load in loaders:
        try:
            return load(model, trust_remote_code=trust, local_files_only=True)
        # Whatever is missing or foreign in the folder: there is no such encoder, and the next one takes its place.
        except Exception:  # noqa: S112, PERF203
            continue
    return None


class _NoVideo:
    """Stands where a processor wants its video processor; settings it is asked for are the image processor's."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image_processor, name)


def _without_video(model: str, **options: Any) -> Any:
    """The processor for text and images only.

    transformers 5 loads no processor with a video part unless torchvision is there, though its image processors have a
    Pillow backend; a rehearsal shows no videos. Raises what the libraries raise when this cannot be done either.
    """
    import transformers

    image_processor = transformers.AutoImageProcessor.from_pretrained(model, **options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
    made = getattr(transformers, _processor_class(Path(model)))
    settings, _ = made.get_processor_dict(model, **options)  # processor_config.json and the chat template's own file
    taken = inspect.signature(made.__init__).parameters
    with mock.patch.object(made, "check_argument_for_proper_class", return_value=None):
        return made(
            **{"chat_template": tokenizer.chat_template}
            | {name: value for name, value in settings.items() if name in taken}
            | {
                "image_processor": image_processor,
                "tokenizer": tokenizer,
                "video_processor": _NoVideo(image_processor),
            }
        )


def _processor_class(folder: Path) -> str:
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file() and (found := json.loads(file.read_text(encoding="utf-8")).get("processor_class")):
            return str(found)
    raise FileNotFoundError(f"{folder} names no processor class")
