"""The vision-language templates of hiyouga/LLaMA-Factory, src/llamafactory/data/template.py at ff6d4d1,
and how their images are written."""

from __future__ import annotations

from lorachk.facts.encoding.layout import Layout
from lorachk.facts.encoding.llamafactory_chat import (
    CHATML,
    GEMMA,
    GEMMA4,
    GLM,
    HELPFUL,
    LLAMA3,
    MINISTRAL,
    MISTRAL,
    PHI,
    QWEN,
    THINK,
    VICUNA,
    Chat,
)

VISION: dict[str, Chat] = {
    "dots_ocr": Chat(
        user="<|user|>{}<|endofuser|><|assistant|>",
        assistant="{}<|endofassistant|>",
        system="<|system|>{}<|endofsystem|>\n",
        stop=("<|endofassistant|>",),
        efficient_eos=True,
        images="dots",
    ),
    "ernie_vl": PHI._replace(
        user="User: {}",
        assistant="\nAssistant: {}<|end_of_sentence|>",
        system="{}\n",
        stop=("<|end_of_sentence|>",),
        thought=THINK,
        images="ernie",
    ),
    "gemma3": GEMMA._replace(images="gemma3"),
    "gemma3n": GEMMA._replace(images="gemma3"),
    "gemma4": GEMMA4,
    "gemma4n": GEMMA4,
    "glm4_5v": GLM._replace(stop=("<|user|>", "<|observation|>", "</answer>"), thought=THINK, images="glm"),
    "glm4v": GLM._replace(stop=("<|user|>", "<|observation|>", "</answer>"), thought=THINK, images="glm"),
    "glm_ocr": GLM._replace(images="glm"),
    "granite3_vision": VICUNA._replace(user="<|user|>\n{}\n<|assistant|>\n", system="<|system|>\n{}\n", images="image"),
    "intern_s1": CHATML._replace(prefix="{bos}", images="internvl"),
    "intern_vl": CHATML._replace(
        prefix="{bos}",
        default="你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。",
        images="internvl",
    ),
    "keye_vl": QWEN._replace(thought=THINK, images="qwen"),
    "kimi_vl": CHATML._replace(
        user="<|im_user|>user<|im_middle|>{}<|im_end|><|im_assistant|>assistant<|im_middle|>",
        assistant="{}<|im_end|>",
        system="<|im_system|>system<|im_middle|>{}<|im_end|>",
        default="You are a helpful assistant",
        thought=("◁think▷", "◁/think▷"),
        images="kimi",
    ),
    "lfm2_vl": QWEN._replace(
        observation=(
            "<|im_start|>tool\n<|tool_response_start|>{}<|tool_response_end|><|im_end|>\n<|im_start|>assistant\n"
        ),
        default="You are a helpful multimodal assistant by Liquid AI.",
        images="image",
    ),
    "llama4": LLAMA3._replace(
        user="<|header_start|>user<|header_end|>\n\n{}<|eot|><|header_start|>assistant<|header_end|>\n\n",
        assistant="{}<|eot|>",
        system="<|header_start|>system<|header_end|>\n\n{}<|eot|>",
        observation="<|header_start|>ipython<|header_end|>\n\n{}<|eot|><|header_start|>assistant<|header_end|>\n\n",
        stop=("<|eot|>", "<|eom|>"),
        images="llama4",
    ),
    "llava": VICUNA._replace(images="image"),
    "llava_next": VICUNA._replace(images="image"),
    "llava_next_llama3": LLAMA3._replace(images="image"),
    "llava_next_mistral": MISTRAL._replace(images="image"),
    "llava_next_qwen": QWEN._replace(default=HELPFUL, images="image"),
    "llava_next_video": VICUNA._replace(images="image"),
    "llava_next_video_mistral": MISTRAL._replace(images="image"),
    "llava_next_video_yi": CHATML._replace(images="image"),
    "llava_next_yi": CHATML._replace(images="image"),
    "mimo_vl": QWEN._replace(
        default="You are MiMo, an AI assistant developed by Xiaomi.", thought=THINK, images="qwen"
    ),
    "minicpm_o": CHATML._replace(
        default="You are a helpful assistant. You can accept audio and text input and output voice and text.",
        images="minicpmv",
    ),
    "minicpm_v": CHATML._replace(default=HELPFUL, images="minicpmv"),
    "minicpm_v_4_6": CHATML._replace(default=HELPFUL, images="minicpmv46"),
    "ministral3": MINISTRAL._replace(images="pixtral"),
    "mistral_small": MINISTRAL._replace(system="[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]", fused=False, images="pixtral"),
    "mllama": LLAMA3._replace(images="mllama"),
    "paligemma": Chat(user="{}\n", prefix="{bos}", fused=True, images="paligemma"),
    "paligemma_chat": GEMMA._replace(system="{}", images="paligemma"),
    "pixtral": MINISTRAL._replace(images="pixtral"),
    "qwen2_omni": QWEN._replace(default=HELPFUL, images="omni"),
    "qwen2_vl": QWEN._replace(default=HELPFUL, images="qwen"),
    "qwen3_5": QWEN._replace(thought=THINK, images="qwen"),
    "qwen3_5_nothink": QWEN._replace(images="qwen"),
    "qwen3_6": QWEN._replace(thought=THINK, images="qwen"),
    "qwen3_omni": QWEN._replace(thought=THINK, images="qwen"),
    "qwen3_omni_nothink": QWEN._replace(images="qwen"),
    "qwen3_vl": QWEN._replace(thought=THINK, images="qwen"),
    "qwen3_vl_nothink": QWEN._replace(images="qwen"),
    "video_llava": VICUNA._replace(images="image"),
    "yi_vl": Chat(
        user="### Human: {}\n### Assistant:",
        assistant="{}\n",
        default=(
            "This is a chat between an inquisitive human and an AI assistant. Assume the role of the AI "
            "assistant. Read all the images carefully, and respond to the human's questions with "
            "informative, helpful, detailed and polite answers. "
            "这是一个好奇的人类和一个人工智能助手之间的对话。假设你扮演这个AI助手的角色。仔细阅读所有的图像，并对人类的问题做出信息丰富、有帮助、详细的和礼貌的回答。\n\n"
        ),
        stop=("###",),
        efficient_eos=True,
        images="image",
    ),
}

# Where images go: mm_plugin.py's process_messages of each plugin. Markers that tokenizers name themselves (Gemma's
# boi_token and eoi_token) are as the published tokenizers have them.
LAYOUTS: dict[str, Layout] = {
    "image": Layout("<image>"),
    "qwen": Layout("<|image_pad|>", "<|vision_start|>", "<|vision_end|>"),
    "dots": Layout("<|imgpad|>", "<|img|>", "<|endofimg|>"),
    "omni": Layout("<|IMAGE|>", "<|vision_bos|>", "<|vision_eos|>"),
    "glm": Layout("<|image|>", "<|begin_of_image|>", "<|end_of_image|>"),
    "gemma3": Layout("<image_soft_token>", "<start_of_image>", "<end_of_image>", around=("\n\n", "\n\n")),
    "gemma4": Layout("<|image|>", "<|image>", "<image|>"),
    "internvl": Layout("<IMG_CONTEXT>", "<img>", "</img>"),
    "kimi": Layout("<|media_pad|>", "<|media_start|>image<|media_content|>", "<|media_end|>"),
    "ernie": Layout("<|IMAGE_PLACEHOLDER|>", "<|IMAGE_START|>", "<|IMAGE_END|>", around=("Picture {n}:", "")),
    "pixtral": Layout("[IMG]", rows=("[IMG_BREAK]", "[IMG_END]")),
    "paligemma": Layout("<image>", front=True),
    # The image stands for itself and its features are attended to from outside the sequence.
    "mllama": Layout("<|image|>", exact=False),
    # get_mm_inputs puts start and end markers side by side, which fails where one is missing.
    "minicpmv": Layout(
        "<unk>", "<image>", starts=("<image>", "<slice>"), ends=("</image>", "</slice>"), whole=True, exact=False
    ),
    "minicpmv46": Layout(
        "<|image_pad|>", "<image>", starts=("<image>", "<slice>"), ends=("</image>", "</slice>"), whole=True
    ),
    "llama4": Layout("<|patch|>", "<|image_start|>", ends=("<|image_end|>",), whole=True),
}
