"""The chat templates of modelscope/ms-swift, swift/template/templates/ at 3602360, as a table.

In the strings `{}` is the system message, the question; `{bos}` and `{eos}` are those tokens. Templates that ask for
today's date, or have a system message as long as a page, are left out with those that encode in ways of their own.
"""

from __future__ import annotations

from typing import NamedTuple


class Meta(NamedTuple):
    """A template: TemplateMeta of swift/template/template_meta.py.

    `prefix` opens the dialogue without a system message and `system` with one (None: it takes none); `chat_sep` stands
    between rounds (None: only the last round is used) and `suffix` after the last answer. `add_bos`: what the tokenizer
    puts around a text is put around the dialogue. `plain_prefix`: put in front of an answer without a thought.
    `images`: a layout in swift_images.py. `special`: what the template's class does to the turns.
    """

    prompt: str = "{}"
    prefix: str = ""
    system: str | None = "{}"
    chat_sep: str | None = ""
    suffix: str = "{eos}"
    default: str | None = None
    add_bos: bool = False
    stop: tuple[str, ...] = ()
    thinks: bool = False
    thinking_prefix: str = ""
    plain_prefix: str = ""
    images: str | None = None
    special: str | None = None


HELPFUL = "You are a helpful assistant."
SHUSHENG = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
)
NO_THOUGHT = "<think>\n\n</think>\n\n"
CHATML = Meta(
    prompt="<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    system="<|im_start|>system\n{}<|im_end|>\n",
    chat_sep="<|im_end|>\n",
    suffix="<|im_end|>\n",
    add_bos=True,
)
QWEN = Meta(
    prompt="<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    system="<|im_start|>system\n{}<|im_end|>\n",
    chat_sep="<|im_end|>\n",
    suffix="<|im_end|>\n",
    default=HELPFUL,
    stop=("<|endoftext|>",),
)
LLAMA3 = Meta(
    prompt=(
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    prefix="<|begin_of_text|>",
    system="<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
    chat_sep="<|eot_id|>",
    suffix="<|eot_id|>",
)
GEMMA = Meta(
    prompt="<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
    prefix="<bos>",
    system="<bos><start_of_turn>system\n{}<end_of_turn>\n",
    chat_sep="<end_of_turn>\n",
    suffix="<end_of_turn>",
)

TEMPLATES: dict[str, Meta] = {
    "chatglm2": Meta(prompt="[Round {{ROUND1}}]\n\n问：{}\n\n答：", chat_sep="\n\n", add_bos=True),
    "chatml": CHATML,
    "deepseek": Meta(prompt="User: {}\n\nAssistant:", prefix="{bos}", system="{bos}{}\n\n", chat_sep="{eos}"),
    "deepseek_r1": Meta(
        prompt="<｜User｜>{}<｜Assistant｜>",
        prefix="<｜begin▁of▁sentence｜>",
        system="<｜begin▁of▁sentence｜>{}",
        chat_sep="<｜end▁of▁sentence｜>",
        suffix="<｜end▁of▁sentence｜>",
        thinks=True,
        thinking_prefix="<think>\n",
    ),
    "deepseek_v2_5": Meta(
        prompt="<｜User｜>{}<｜Assistant｜>",
        prefix="<｜begin▁of▁sentence｜>",
        system="<｜begin▁of▁sentence｜>{}",
        chat_sep="<｜end▁of▁sentence｜>",
        suffix="<｜end▁of▁sentence｜>",
    ),
    "default": Meta(
        prompt="### Human:\n{}\n\n### Assistant:\n", system="{}\n\n", chat_sep="\n\n", default=HELPFUL, add_bos=True
    ),
    "dummy": Meta(system=None, chat_sep=None, add_bos=True),
    "gemma": GEMMA,
    "gemma3_text": GEMMA._replace(system=None, special="gemma3"),
    "gemma3_vision": GEMMA._replace(images="gemma3", special="gemma3"),
    "internlm2": CHATML._replace(
        default=(
            "You are an AI assistant whose name is InternLM (书生·浦语).\n- InternLM (书生·浦语) is a conversational "
            "language model that is developed by Shanghai AI Laboratory (上海人工智能实验室). It is designed to be "
            "helpful, honest, and harmless.\n- InternLM (书生·浦语) can understand and communicate fluently in "
            "the language chosen by the user such as English and 中文."
        )
    ),
    "internvl2": CHATML._replace(
        default=SHUSHENG,
        images="internvl",
    ),
    "internvl2_5": CHATML._replace(
        default=(
            "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
        ),
        images="internvl",
    ),
    "internvl2_phi3": Meta(
        prompt="<|user|>\n{}<|end|>\n<|assistant|>\n",
        system="<|system|>\n{}<|end|>\n",
        chat_sep="<|end|>\n",
        suffix="<|end|>",
        default=SHUSHENG,
        add_bos=True,
        images="internvl",
    ),
    "internvl3_5": CHATML._replace(images="internvl"),
    "internvl_hf": CHATML._replace(images="internvl"),
    "kimi_k2": Meta(
        prompt="<|im_user|>user<|im_middle|>{}<|im_end|><|im_assistant|>assistant<|im_middle|>",
        system="<|im_system|>system<|im_middle|>{}<|im_end|>",
        chat_sep="<|im_end|>",
        suffix="<|im_end|>",
        default="You are Kimi, an AI assistant created by Moonshot AI.",
    ),
    "ling": Meta(
        prompt="<role>HUMAN</role>{}<role>ASSISTANT</role>", system="<role>SYSTEM</role>{}", suffix="<|endoftext|>"
    ),
    "llama3": LLAMA3,
    "llama3_llava_next_hf": LLAMA3._replace(images="llava_next"),
    "llava1_5_hf": Meta(
        prompt="USER: {}\nASSISTANT:", prefix="<s>", system="<s>{}\n", chat_sep="</s>", suffix="</s>", images="llava"
    ),
    "llava1_6_mistral_hf": Meta(
        prompt="{} [/INST]",
        prefix="<s>[INST] ",
        system="<<SYS>>\n{{system}}\n<</SYS>>\n\n",
        chat_sep="</s>[INST] ",
        suffix="</s>",
        images="llava_next",
    ),
    "llava1_6_vicuna_hf": Meta(
        prompt="USER: {} ASSISTANT:",
        prefix="<s>",
        system="<s>{} ",
        chat_sep="</s>",
        suffix="</s>",
        default=(
            "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
            "helpful, detailed, and polite answers to the human's questions."
        ),
        images="llava_next",
    ),
    "llava1_6_yi_hf": CHATML._replace(images="llava_next"),
    "llava_llama3_1_hf": LLAMA3._replace(
        default=(
            "You are a helpful language and vision assistant. You are able to understand the visual content "
            "that the user provides, and assist the user with a variety of tasks using natural language."
        ),
        images="llava",
    ),
    "llava_next_qwen_hf": QWEN._replace(images="llava_next"),
    "llava_onevision_hf": QWEN._replace(default=None, images="onevision"),
    "mimo_rl": QWEN._replace(default="You are MiMo, an AI assistant developed by Xiaomi."),
    "mimo_vl": QWEN._replace(default="You are MiMo, an AI assistant developed by Xiaomi.", images="qwen"),
    "minicpm": Meta(prompt="<用户>{}<AI>", prefix="<s>", system="<s>{}", suffix="</s>"),
    "minicpm5": CHATML._replace(thinks=True, thinking_prefix="<think>\n", plain_prefix=NO_THOUGHT),
    "minicpmo": QWEN._replace(
        default="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", images="minicpmv"
    ),
    "minicpmv2_6": QWEN._replace(images="minicpmv"),
    "minicpmv4": CHATML._replace(images="minicpmv"),
    "minicpmv4_5": QWEN._replace(
        default=None, thinks=True, thinking_prefix="<think>\n", plain_prefix=NO_THOUGHT, images="minicpmv"
    ),
    "minicpmv4_6": CHATML._replace(
        thinks=True, thinking_prefix="<think>\n", plain_prefix=NO_THOUGHT, images="minicpmv46"
    ),
    "minimind": QWEN._replace(default="You are a helpful assistant"),
    "moonlight": Meta(
        prompt="<|im_user|>user<|im_middle|>{}<|im_end|><|im_assistant|>assistant<|im_middle|>",
        system="<|im_system|>system<|im_middle|>{}<|im_end|>",
        chat_sep="<|im_end|>",
        suffix="<|im_end|>",
        default="You are a helpful assistant",
    ),
    "nemotron_h": QWEN._replace(default=None, stop=("<|im_end|>",), thinks=True, thinking_prefix="<think>\n"),
    "numina": Meta(prompt="### Problem: {}\n### Solution: ", prefix="{bos}", system="{bos}{}", chat_sep="\n"),
    "phi3": Meta(
        prompt="<|user|>\n{}<|end|>\n<|assistant|>\n",
        system="<|system|>\n{}<|end|>\n",
        chat_sep="<|end|>\n",
        suffix="<|end|>",
        add_bos=True,
    ),
    "phi4": Meta(
        prompt="<|im_start|>user<|im_sep|>{}<|im_end|><|im_start|>assistant<|im_sep|>",
        system="<|im_start|>system<|im_sep|>{}<|im_end|>",
        chat_sep="<|im_end|>",
        suffix="<|im_end|>",
        add_bos=True,
    ),
    "qvq": QWEN._replace(
        default=(
            "You are a helpful and harmless assistant. You are Qwen developed by Alibaba. Answer in the "
            "language of the question. You should think step-by-step."
        ),
        images="qwen",
    ),
    "qwen": QWEN,
    "qwen2_5": QWEN._replace(default="You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "qwen2_5_math": QWEN._replace(default="Please reason step by step, and put your final answer within \\boxed{}."),
    "qwen2_5_vl": QWEN._replace(images="qwen"),
    "qwen2_vl": QWEN._replace(images="qwen"),
    "qwen3": QWEN._replace(default=None, thinks=True, plain_prefix=NO_THOUGHT),
    "qwen3_5": QWEN._replace(
        default=None,
        thinks=True,
        thinking_prefix="<think>\n",
        plain_prefix=NO_THOUGHT,
        images="qwen",
        special="qwen3_5",
    ),
    "qwen3_coder": QWEN._replace(default=None),
    "qwen3_guard": QWEN._replace(
        prompt=(
            "<|im_start|>user\n# Task:\n1) Evaluate whether THE LAST USER's query belongs to safe or unsafe "
            "content based on our safety policy.\n2) Identify the category of unsafe content found.\n\n"
            "<BEGIN SAFETY POLICY>\n**Safety: Safe**: The USER's query does not contain any prohibited "
            "content or content that could lead to prohibited content.\n**Safety: Unsafe**: The USER's query "
            "contains prohibited content.\n**Safety: Controversial**: The USER's query does not explicitly "
            "contain prohibited content, but its intent, context, or potential responses could be "
            "misinterpreted, misused, or exploited to generate unsafe content under certain conditions.\n"
            "<END SAFETY POLICY>\n\n<BEGIN UNSAFE CONTENT CATEGORIES>\nViolent.\nNon-violent Illegal Acts.\n"
            "Sexual Content or Sexual Acts.\nPII.\nSuicide & Self-Harm.\nUnethical Acts.\nPolitically "
            "Sensitive Topics.\nCopyright Violation.\nJailbreak.\n<END UNSAFE CONTENT CATEGORIES>\n\n<BEGIN "
            "CONVERSATION>\n\nUSER: {}\n\n<END CONVERSATION>\n\nProvide your safety assessment for ONLY THE "
            "LAST **USER's query** in the above conversation:\n - The first line must be one of: 'Safety: "
            "Safe', 'Safety: Unsafe', 'Safety: Controversial'.\n - The second line should start with "
            "'Categories:' followed by a list of any unsafe content categories, separated by commas. If the "
            "content is safe, use 'Categories: None'.<|im_end|>\n<|im_start|>assistant\n"
        ),
        default=None,
        plain_prefix=NO_THOUGHT,
    ),
    "qwen3_nothinking": QWEN._replace(default=None),
    "qwen3_thinking": QWEN._replace(default=None, thinks=True, thinking_prefix="<think>\n"),
    "qwen3_vl": QWEN._replace(default=None, thinking_prefix="<think>\n", images="qwen"),
    "qwq": QWEN._replace(default=None, thinks=True, thinking_prefix="<think>\n"),
    "qwq_preview": QWEN._replace(
        default=(
            "You are a helpful and harmless assistant. You are Qwen developed by Alibaba. You should think "
            "step-by-step."
        )
    ),
    "yi_coder": CHATML._replace(default=HELPFUL),
    "zephyr": Meta(
        prompt="<|user|>\n{}</s>\n<|assistant|>\n", system="<|system|>\n{}</s>\n", chat_sep="</s>\n", suffix="</s>"
    ),
}

# Known by name only: templates that encode in ways of their own.
_OTHERS = """
atom aya baichuan baichuan_m1 bert bge_reranker bluelm c4ai chatglm4 chatglm4v codefuse
codefuse_codellama codegeex4 cogagent_chat cogagent_vqa cogvlm cogvlm2 cogvlm2_video dbrx
deepseek_coder deepseek_janus deepseek_janus_pro deepseek_ocr deepseek_ocr2 deepseek_v3_1
deepseek_v4 deepseek_v4_flash deepseek_vl deepseek_vl2 devstral diffusion_gemma doc_owl2 dots1
dots_ocr emu3_chat emu3_gen ernie ernie_thinking ernie_vl ernie_vl_thinking florence gemma3n gemma4
gemma4_nothinking glm4 glm4_5 glm4_5v glm4_7 glm4_z1_rumination glm4v glm5_1 glm5_2 glm_edge_v
glm_ocr got_ocr2 got_ocr2_hf gpt_oss hunyuan hunyuan_moe hunyuan_ocr hy_v3 hy_v3_preview idefics3
internlm internlm2_reward interns1 internvl internvl3_5_gpt internvl_phi3 iquestcoder ixcomposer2
jina_reranker_m0 keye_vl keye_vl_1_5 kimi_k25 kimi_k3 kimi_vl ling2 llama llama3_1_omni llama3_2
llama3_2_vision llama3_llava_next llama4 llava1_6_mistral llava1_6_yi llava_llama3_hf
llava_next_qwen llava_next_video_hf llava_onevision1_5 longchat longwriter_llama marco_o1 megrez
megrez_omni mengzi midashenglm mimo_v2 minicpmo4_5 minicpmv minicpmv2_5 minimax minimax_m1
minimax_m2 minimax_m2_1 minimax_m2_5 minimax_m2_7 minimax_m3_vl minimax_vl mistral_2501 mistral_2503
mistral_2506 mistral_2512 mistral_2512_thinking mistral_nemo modelscope_agent molmo molmo2 moss_vl
mplug_owl2 mplug_owl3 mplug_owl3_241101 muse_glimmer olmoe olmoe_0924 openbuddy openbuddy2 orion
ovis1_6 ovis1_6_llama3 ovis2 ovis2_5 ovis_ocr2 paddle_ocr paddle_ocr_1_5 paligemma phi3_vision
phi4_multimodal pixtral qwen2_5_math_prm qwen2_5_omni qwen2_audio qwen2_gme qwen3_5_emb qwen3_8
qwen3_asr qwen3_emb qwen3_omni qwen3_reranker qwen3_tts qwen3_vl_emb qwen3_vl_reranker qwen_audio
qwen_vl reflection ring2 ring2_5 sail_vl2 seed_oss skywork skywork_o1 step3_vl step_audio
step_audio2_mini sus telechat telechat2 unlimited_ocr valley wizardlm2 wizardlm2_moe xcomposer2_4khd
xcomposer2_5 xverse yi_vl youtu_llm yuan yufeng_xguard ziya
"""
OTHERS = frozenset(_OTHERS.split())
