"""What a chat template of hiyouga/LLaMA-Factory is (src/llamafactory/data/template.py at ff6d4d1), and the ones that
others are copied from.

Strings hold the slots in their order: `{}` is the turn's text, `{bos}` and `{eos}` those tokens, `{token:X}` the token
X of the vocabulary, `{+}` a place where the text before and after it is tokenised apart. How calls of tools are written
is not in the table.
"""

from __future__ import annotations

from typing import NamedTuple


class Chat(NamedTuple):
    """A template. Turns: `prefix`, `system` (with the first question), `user`, `assistant`, and so on.

    `observation`: empty where it is written as the user's turn. `stop`: words that become special tokens; with
    `replace_eos` the first becomes the EOS token. `efficient_eos`: an EOS token follows the last answer only, and is
    the label of the token after every other. `fused`: the system message stands inside the first question's slot.
    `thought`: marks of a reasoning template, None otherwise; `empty_thought`: what stands for no thought where that is
    not both marks. `images`: a layout of LAYOUTS in llamafactory_vision.py, None where the template takes no image.
    """

    user: str = "{}"
    assistant: str = "{}{eos}"
    system: str = "{}"
    prefix: str = ""
    observation: str = ""
    default: str = ""
    stop: tuple[str, ...] = ()
    thought: tuple[str, str] | None = None
    empty_thought: str | None = None
    fused: bool = False
    efficient_eos: bool = False
    replace_eos: bool = False
    images: str | None = None


HELPFUL = "You are a helpful assistant."
CURIOUS = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
THINK = ("<think>\n", "\n</think>\n\n")
THINK_BARE = ("<think>", "</think>")
CHATML = Chat(
    user="<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    assistant="{}<|im_end|>\n",
    system="<|im_start|>system\n{}<|im_end|>\n",
    stop=("<|im_end|>",),
)
QWEN = Chat(
    user="<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    assistant="{}<|im_end|>\n",
    system="<|im_start|>system\n{}<|im_end|>\n",
    observation="<|im_start|>user\n<tool_response>\n{}\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    stop=("<|im_end|>",),
    replace_eos=True,
)
LLAMA3 = Chat(
    user=("<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
    assistant="{}<|eot_id|>",
    system="<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
    prefix="{bos}",
    observation=(
        "<|start_header_id|>ipython<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    stop=("<|eot_id|>", "<|eom_id|>"),
    replace_eos=True,
)
VICUNA = Chat(user="USER: {} ASSISTANT:", default=CURIOUS)
GEMMA = Chat(
    user="<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
    assistant="{}<end_of_turn>\n",
    system="{}\n\n",
    prefix="{bos}",
    observation="<start_of_turn>tool\n{}<end_of_turn>\n<start_of_turn>model\n",
    stop=("<end_of_turn>",),
    fused=True,
    replace_eos=True,
)
GLM = Chat(
    user="<|user|>\n{}<|assistant|>",
    assistant="\n{}",
    system="<|system|>\n{}",
    prefix="[gMASK]<sop>",
    observation="<|observation|>\n{}<|assistant|>",
    stop=("<|user|>", "<|observation|>"),
    efficient_eos=True,
)
MISTRAL = Chat(
    user="[INST] {}[/INST]",
    assistant=" {}{eos}",
    system="{}\n\n",
    prefix="{bos}",
    observation='[TOOL_RESULTS] {"content": {}}[/TOOL_RESULTS]',
    fused=True,
)
MINISTRAL = Chat(
    user="[INST]{}[/INST]",
    system="{}\n\n",
    prefix="{bos}",
    observation='[TOOL_RESULTS]{"content": {}}[/TOOL_RESULTS]',
    fused=True,
)
PHI = Chat(
    user="<|user|>\n{}<|end|>\n<|assistant|>\n",
    assistant="{}<|end|>\n",
    system="<|system|>\n{}<|end|>\n",
    stop=("<|end|>",),
    replace_eos=True,
)
GRANITE = Chat(
    user="<|start_of_role|>user<|end_of_role|>{}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
    assistant="{}<|end_of_text|>\n",
    system="<|start_of_role|>system<|end_of_role|>{}<|end_of_text|>\n",
)
GEMMA4 = Chat(
    user="<|turn>user\n{}<turn|>\n<|turn>model\n",
    assistant="{}<turn|>\n",
    system="<|turn>system\n<|think|>{}<turn|>\n",
    prefix="{bos}",
    observation="<|turn>tool\n{}<turn|>\n<|turn>model\n",
    default=HELPFUL,
    stop=("<turn|>",),
    thought=("<|channel>thought\n", "<channel|>"),
    replace_eos=True,
    images="gemma4",
)
