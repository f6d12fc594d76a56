"""The text templates of hiyouga/LLaMA-Factory, src/llamafactory/data/template.py at ff6d4d1."""

from __future__ import annotations

from lorachk.facts.encoding.llamafactory_chat import (
    CHATML,
    GEMMA,
    GLM,
    GRANITE,
    HELPFUL,
    LLAMA3,
    MINISTRAL,
    MISTRAL,
    PHI,
    QWEN,
    THINK,
    THINK_BARE,
    VICUNA,
    Chat,
)

TEXT: dict[str, Chat] = {
    "aeva": GLM._replace(
        default=(
            "You are an AI assistant named Aeva created by Zongzhi Lou. Your answer should be friendly, "
            "unbiased, faithful, informative and detailed."
        ),
        thought=THINK_BARE,
        empty_thought="</think>",
    ),
    "alpaca": Chat(
        user="### Instruction:\n{}\n\n### Response:\n",
        assistant="{}{eos}\n\n",
        default=(
            "Below is an instruction that describes a task. Write a response that appropriately completes "
            "the request.\n\n"
        ),
    ),
    "bailing": Chat(
        user="<role>HUMAN</role>{}<role>ASSISTANT</role>",
        assistant="{}",
        system="<role>SYSTEM</role>{}",
        observation="<role>OBSERVATION</role>{}<role>ASSISTANT</role>",
        stop=("<|endoftext|>",),
        efficient_eos=True,
    ),
    "bailing_v2": Chat(
        user="<role>HUMAN</role>{}<|role_end|><role>ASSISTANT</role>",
        assistant="{}<|role_end|>",
        system="<role>SYSTEM</role>{}<|role_end|>",
        observation=(
            "<role>OBSERVATION</role>\n<tool_response>\n{}\n</tool_response><|role_end|><role>ASSISTANT</role>"
        ),
        stop=("<|endoftext|>",),
        efficient_eos=True,
    ),
    "breeze": Chat(user="[INST] {} [/INST] ", assistant="{}", prefix="{bos}", efficient_eos=True),
    "chatglm3": GLM._replace(
        user="{token:<|user|>}\n{+}{}{token:<|assistant|>}",
        assistant="\n{+}{}",
        system="{token:<|system|>}\n{+}{}",
        prefix="{token:[gMASK]}{token:sop}",
        observation="{token:<|observation|>}\n{+}{}{token:<|assistant|>}",
    ),
    "chatml": QWEN._replace(
        observation="<|im_start|>tool\n{}<|im_end|>\n<|im_start|>assistant\n", stop=("<|im_end|>", "<|im_start|>")
    ),
    "chatml_de": QWEN._replace(
        observation="<|im_start|>tool\n{}<|im_end|>\n<|im_start|>assistant\n",
        default="Du bist ein freundlicher und hilfsbereiter KI-Assistent.",
        stop=("<|im_end|>", "<|im_start|>"),
    ),
    "cohere": Chat(
        user=("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{}<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"),
        system="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
        prefix="{bos}",
    ),
    "cpm4": CHATML._replace(prefix="{bos}", observation="<|im_start|>tool\n{}<|im_end|>\n<|im_start|>assistant\n"),
    "deepseek": Chat(user="User: {}\n\nAssistant:", system="{}\n\n", prefix="{bos}"),
    "deepseek3": Chat(user="<｜User｜>{}<｜Assistant｜>", prefix="{bos}"),
    "deepseekcoder": Chat(
        user="### Instruction:\n{}\n### Response:",
        assistant="\n{}\n<|EOT|>\n",
        prefix="{bos}",
        default=(
            "You are an AI programming assistant, utilizing the DeepSeek Coder model, developed by DeepSeek "
            "Company, and you only answer questions related to computer science. For politically sensitive "
            "questions, security and privacy issues, and other non-computer science questions, you will "
            "refuse to answer.\n"
        ),
    ),
    "deepseekr1": Chat(user="<｜User｜>{}<｜Assistant｜>", prefix="{bos}", thought=THINK),
    "default": Chat(user="Human: {}{eos}\nAssistant:", assistant="{}{eos}\n", system="System: {}{eos}\n"),
    "empty": Chat(assistant="{}"),
    "ernie": CHATML._replace(
        user="<|im_start|>user\n{}<|im_end|>\n\n<|im_start|>assistant\n",
        assistant="{}<|im_end|>\n\n",
        system="<|im_start|>system\n{}<|im_end|>\n\n",
        observation="<|im_start|>tool\n{}<|im_end|>\n\n<|im_start|>assistant\n",
        default="<global_setting>\nthink_mode=True\n</global_setting>",
    ),
    "ernie_nothink": Chat(
        user="User: {}\nAssistant: ",
        assistant="{}<|end_of_sentence|>",
        system="{}\n",
        prefix="<|begin_of_sentence|>",
        stop=("<|end_of_sentence|>",),
    ),
    "exaone": Chat(user="[|user|]{}\n[|assistant|]", assistant="{}{eos}\n", system="[|system|]{}[|endofturn|]\n"),
    "falcon": Chat(user="User: {}\nFalcon:", assistant="{}\n", efficient_eos=True),
    "falcon_h1": CHATML._replace(
        prefix="{bos}",
        observation="<|im_start|>tool\n{}<|im_end|>\n<|im_start|>assistant\n",
        stop=("<|im_end|>", "<|end_of_text|>"),
    ),
    "fewshot": Chat(assistant="{}\n\n", efficient_eos=True),
    "gemma": GEMMA,
    "gemma2": GEMMA._replace(stop=("<eos>", "<end_of_turn>"), efficient_eos=True, replace_eos=False),
    "glm4": GLM,
    "glm4_7": GLM._replace(thought=THINK_BARE, empty_thought="</think>"),
    "glm4_moe": GLM._replace(thought=THINK),
    "glmz1": GLM._replace(thought=THINK),
    "gpt_oss": Chat(
        user="<|start|>user<|message|>{}<|end|><|start|>assistant",
        assistant="{}",
        system="<|start|>system<|message|>{}<|end|>",
        default="You are ChatGPT, a large language model trained by OpenAI.",
        thought=("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        efficient_eos=True,
    ),
    "granite3": GRANITE,
    "granite4": GRANITE._replace(
        observation="<|start_of_role|>tool<|end_of_role|>{}<|end_of_text|>\n<|start_of_role|>assistant\n",
        default="You are Granite, developed by IBM. You are a helpful AI assistant.",
        stop=("<|end_of_text|>",),
    ),
    "hunyuan": Chat(
        user="{}<|extra_0|>", assistant="{}<|eos|>", system="{}<|extra_4|>", prefix="<|startoftext|>", stop=("<|eos|>",)
    ),
    "hunyuan_small": Chat(
        user="<｜hy_User｜>{}<｜hy_place▁holder▁no▁8｜>",
        assistant="{}<｜hy_place▁holder▁no▁2｜>",
        system="{}<｜hy_place▁holder▁no▁3｜>",
        prefix="<｜hy_begin▁of▁sentence｜>",
        stop=("<｜hy_place▁holder▁no▁2｜>",),
    ),
    "hy3": Chat(
        user="<｜hy_User｜>{}<｜hy_Assistant｜>",
        assistant="{}<｜hy_eos｜>",
        prefix="{bos}",
        stop=("<｜hy_eos｜>",),
        thought=THINK_BARE,
        replace_eos=True,
    ),
    "hy_dense_1_8b": Chat(
        user="<｜hy_User｜>{}",
        assistant="<｜hy_Assistant｜>{}",
        system="{}<｜hy_place▁holder▁no▁3｜>",
        prefix="{bos}",
        stop=("<｜hy_place▁holder▁no▁2｜>",),
        efficient_eos=True,
    ),
    "hy_dense_7b": Chat(
        user="{}<|extra_0|>",
        assistant="{}",
        system="{}<|extra_4|>",
        prefix="{bos}",
        stop=("<|eos|>",),
        efficient_eos=True,
    ),
    "index": Chat(user="reserved_0{}reserved_1", assistant="{}", system="<unk>{}", efficient_eos=True),
    "intern2": CHATML._replace(
        prefix="{bos}",
        default=(
            "You are an AI assistant whose name is InternLM (书生·浦语).\n- InternLM (书生·浦语) is a conversational "
            "language model that is developed by Shanghai AI Laboratory (上海人工智能实验室). It is designed to be "
            "helpful, honest, and harmless.\n- InternLM (书生·浦语) can understand and communicate fluently in "
            "the language chosen by the user such as English and 中文."
        ),
    ),
    "lfm2": QWEN._replace(
        observation=(
            "<|im_start|>tool\n<|tool_response_start|>{}<|tool_response_end|><|im_end|>\n<|im_start|>assistant\n"
        ),
        default="You are a helpful AI assistant.",
    ),
    "llama2": Chat(user="{bos}[INST] {} [/INST]", system="<<SYS>>\n{}\n<</SYS>>\n\n", fused=True),
    "llama2_zh": Chat(
        user="{bos}[INST] {} [/INST]",
        system="<<SYS>>\n{}\n<</SYS>>\n\n",
        default="You are a helpful assistant. 你是一个乐于助人的助手。",
        fused=True,
    ),
    "llama3": LLAMA3,
    "mimo": QWEN._replace(default=HELPFUL, thought=THINK),
    "mimo_v2": QWEN._replace(default="You are MiMo, a helpful AI assistant engineered by Xiaomi.", thought=THINK_BARE),
    "minimax1": Chat(
        user=("<beginning_of_sentence>user name=user\n{}<end_of_sentence>\n<beginning_of_sentence>ai name=assistant\n"),
        assistant="{}<end_of_sentence>\n",
        system="<beginning_of_sentence>system ai_setting=assistant\n{}<end_of_sentence>\n",
        observation=(
            "<beginning_of_sentence>tool name=tools\n{}<end_of_sentence>\n<beginning_of_sentence>ai name=assistant\n"
        ),
        default=HELPFUL,
        stop=("<end_of_sentence>",),
    ),
    "minimax2": Chat(
        user="]~b]user\n{}[e~[\n]~b]ai\n",
        assistant="{}[e~[\n",
        system="]~!b[]~b]system\n{}[e~[\n",
        observation="]~b]tool\n<response>{}</response>[e~[\n]~b]ai\n",
        default="You are a helpful assistant. Your name is MiniMax-M2.1 and is built by MiniMax.",
        stop=("[e~[",),
        thought=THINK,
    ),
    "ministral": MINISTRAL,
    "mistral": MISTRAL,
    "moonlight": QWEN._replace(
        user="<|im_user|>user<|im_middle|>{}<|im_end|><|im_assistant|>assistant<|im_middle|>",
        assistant="{}<|im_end|>",
        system="<|im_system|>system<|im_middle|>{}<|im_end|>",
        observation="",
        default="You are a helpful assistant provided by Moonshot-AI.",
    ),
    "olmo": Chat(user="<|user|>\n{}<|assistant|>\n", prefix="{eos}"),
    "openchat": Chat(user="GPT4 Correct User: {}{eos}GPT4 Correct Assistant:", prefix="{bos}"),
    "opencoder": CHATML._replace(
        observation="<|im_start|>tool\n{}<|im_end|>\n<|im_start|>assistant\n",
        default="You are OpenCoder, created by OpenCoder Team.",
    ),
    "phi": PHI,
    "phi4": QWEN._replace(
        user="<|im_start|>user<|im_sep|>{}<|im_end|><|im_start|>assistant<|im_sep|>",
        assistant="{}<|im_end|>",
        system="<|im_start|>system<|im_sep|>{}<|im_end|>",
        observation="",
    ),
    "phi4_mini": PHI._replace(
        user="<|user|>{}<|end|><|assistant|>", assistant="{}<|end|>", system="<|system|>{}<|end|>"
    ),
    "phi_small": PHI,
    "qwen": QWEN._replace(default="You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "qwen2_audio": QWEN._replace(observation="", default=HELPFUL),
    "qwen3": QWEN._replace(thought=THINK),
    "qwen3_nothink": QWEN,
    "seed_coder": Chat(
        user="{bos}user\n{}{eos}{bos}assistant\n",
        system="{bos}system\n{}{eos}",
        default=(
            "You are an AI programming assistant, utilizing the Seed-Coder model, developed by ByteDance "
            "Seed, and you only answer questions related to computer science. For politically sensitive "
            "questions, security and privacy issues, and other non-computer science questions, you will "
            "refuse to answer.\n\n"
        ),
    ),
    "seed_oss": Chat(
        user="{bos}user\n{}{eos}{bos}assistant\n",
        system="{bos}system\n{}{eos}",
        thought=("<seed:think>", "</seed:think>"),
    ),
    "smollm": CHATML,
    "smollm2": CHATML._replace(default="You are a helpful AI assistant named SmolLM, trained by Hugging Face."),
    "solar": Chat(
        user="### User:\n{}\n\n### Assistant:\n", assistant="{}", system="### System:\n{}\n\n", efficient_eos=True
    ),
    "starchat": PHI._replace(user="<|user|>\n{}<|end|>\n<|assistant|>", replace_eos=False),
    "vicuna": VICUNA,
    "yi": CHATML,
    "youtu": LLAMA3._replace(
        user="<|User|>{}<|Assistant|>",
        assistant="{}<|end_of_text|>",
        system="{}",
        observation="<tool_response>\n{}\n</tool_response><|Assistant|>",
        stop=("<|end_of_text|>",),
        thought=THINK,
    ),
    "yuan": Chat(user="{}{token:<sep>}", assistant="{}<eod>\n", stop=("<eod>",)),
    "zephyr": Chat(
        user="<|user|>\n{}{eos}<|assistant|>\n",
        system="<|system|>\n{}{eos}",
        default="You are Zephyr, a helpful assistant.",
    ),
}
