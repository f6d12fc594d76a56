"""Image blocks as text: MiniCPM-V's, made again from its numbers, and the tokens of those that come again."""

from __future__ import annotations

from lorachk.facts.encoding.types import ImageBlock, Tokens

_CACHED = 4096  # blocks; a block of MiniCPM-V is about 700 tokens


def minicpm_text(block: ImageBlock, number: int, placeholder: str, *, image_id: bool) -> str:
    """What the models' own processors write (`get_slice_image_placeholder`) for an image of that many tokens.

    `image_id`: the tokenizer has <image_id>, as from 2.6 on; slices then have markers of their own. How many columns
    the slices stand in, the newlines tell. Pieces share the features equally, which is so up to 4.5; in 4.6 the
    whole image can have more or fewer than a slice, and gets what is over.
    """
    if block.text is not None:
        return block.text
    count = max(block.pieces, 1)
    each = block.features // count
    whole = f"<image>{placeholder * (block.features - each * (count - 1))}</image>"
    over = block.tokens - block.features - 2 * count
    written = f"<image_id>{number}</image_id>"
    if image_id and over >= 2 + len(str(number)):
        over -= 2 + len(str(number))
        whole = written + whole
    if count == 1:
        return whole
    rows = (over if image_id else over - 2) + 1
    if rows < 1 or (count - 1) % rows:
        rows = 1
    cell = f"<slice>{placeholder * each}</slice>" if image_id else f"<image>{placeholder * each}</image>"
    slices = "\n".join([cell * ((count - 1) // rows)] * rows)
    return whole + slices if image_id else f"{whole}<slice>{slices}</slice>"


class BlockIds:
    """Tokens of blocks written as text, which many images have in common."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """Tokens of one block."""
        if text not in self._known:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[text] = self._tokens.encode(text)
        return self._known[text]
