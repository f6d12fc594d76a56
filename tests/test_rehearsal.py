"""Whole rehearsals with real ranks: what trains is called clean, what fails is named, and no process is left behind."""

import json
import os
import textwrap
import time
from pathlib import Path

import pytest

from lorachk.facts import rehearsal
from lorachk.facts.collector import Context, NotCollected, Options
from lorachk.rehearsal import launch
from lorachk.rehearsal.plan import make_plan
from lorachk.rehearsal.rows import read_rows
from lorachk.run import Run

MODELS = Path(__file__).parents[1] / "fixtures" / "models"
TRAIN = {"use_lora": True, "lora_r": 4, "target_modules": ["q_proj"], "bf16": True, "learning_rate": 1e-4}
ZERO = {
    "bf16": {"enabled": "auto"},
    "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
}

# A model with its own code, as MiniCPM-V ships it: it writes in place and checkpoints by itself when told to.
REMOTE = """
import torch
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

class ToyConfig(PretrainedConfig):
    model_type = "lorachk_toy"
    def __init__(self, vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, habit="", **more):
        self.vocab_size, self.hidden_size, self.habit = vocab_size, hidden_size, habit
        self.num_hidden_layers, self.num_attention_heads = num_hidden_layers, num_attention_heads
        super().__init__(**more)

class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.q_proj = torch.nn.Linear(width, width)
    def forward(self, x):
        return x + torch.nn.functional.gelu(self.q_proj(x))

class ToyForCausalLM(PreTrainedModel):
    config_class = ToyConfig
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = torch.nn.ModuleList(Block(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
    def get_input_embeddings(self):
        return self.embed_tokens
    def forward(self, input_ids=None, attention_mask=None, labels=None, **_):
        x = self.embed_tokens(input_ids)
        if self.config.habit == "inplace":
            for i in range(len(x)):
                x[i, :2].mul_(0.5)
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=True) if self.config.habit == "reentrant" else layer(x)
        logits = self.lm_head(x).float()
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)
"""


class Facts:
    """A sink of plain lists."""

    def __init__(self):
        self.tables, self.unknowns = {}, {}

    def add(self, table, rows):
        self.tables.setdefault(table, []).extend(dict(r) for r in rows)

    def unknown(self, fact, reason, count=None):
        self.unknowns[fact] = reason

    def __getitem__(self, table):
        return self.tables.get(table, [])


def rehearse(options=None, **run):
    facts = Facts()
    rehearsal.collect(Context(Run(**{**TRAIN, **run}), facts, options=options or Options()))
    return facts


def remote(tmp_path, habit):
    (tmp_path / "modeling_toy.py").write_text(REMOTE, encoding="utf-8")
    auto = {"AutoConfig": "modeling_toy.ToyConfig", "AutoModelForCausalLM": "modeling_toy.ToyForCausalLM"}
    config = {"model_type": "lorachk_toy", "architectures": ["ToyForCausalLM"], "habit": habit, "auto_map": auto}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(tmp_path)


def assert_clean(facts, stage):
    (row,) = facts["rehearsal"]
    assert row["outcome"] == "ok", row["error"]
    assert (row["world_size"], row["zero_stage"], row["steps"]) == (2, stage, 3)
    assert len(facts["step"]) == 6
    assert {g["status"] for g in facts["gradient"] if "lora_B" in g["name"]} == {"finite"}
    assert all(u["changed"] == u["requires_grad"] for u in facts["update"])
    assert any(not u["requires_grad"] for u in facts["update"])
    saved = facts["saved"]
    assert saved
    assert all(s["equal"] and s["numel"] == s["expected_numel"] for s in saved)
    assert not facts.unknowns


@pytest.mark.slow
def test_zero2_with_accumulation_is_clean():
    """A working run that is called broken is the end of trust in this tool."""
    facts = rehearse(
        model=str(MODELS / "qwen2-tiny"),
        deepspeed_config=ZERO,
        world_size=8,
        gradient_accumulation_steps=2,
        gradient_checkpointing=True,
        use_reentrant=True,
    )
    assert_clean(facts, 2)


@pytest.mark.slow
def test_zero3_with_offload_is_clean():
    """Under ZeRO-3 parameters are empty between uses: gradients, changes and the file must still be seen whole."""
    zero = {"stage": 3, "offload_optimizer": {"device": "cpu"}, "stage3_param_persistence_threshold": "auto"}
    facts = rehearse(
        model=str(MODELS / "qwen2-tiny"), deepspeed_config={**ZERO, "zero_optimization": zero}, world_size=8
    )
    assert_clean(facts, 3)


@pytest.mark.slow
def test_images_of_the_users_dataset_reach_the_vision_tower():
    """G103 for vision is only worth something when a real image went through the real processor."""
    data = Path(__file__).parents[1] / "fixtures" / "clean" / "llava"
    facts = rehearse(
        model=str(MODELS / "qwen2_5-vl-tiny"),
        family="qwen2_5_vl",
        data=[str(data / "train.json")],
        image_root=str(data / "images"),
        target_modules=["q_proj", "qkv"],
        world_size=1,
    )
    assert facts["rehearsal"][0]["outcome"] == "ok", facts["rehearsal"][0]["error"]
    assert "finite" in {g["status"] for g in facts["gradient"] if g["component"] == "vision"}


@pytest.mark.slow
def test_reentrant_without_input_gradients_is_no_gradient(tmp_path):
    """G102 must come from a backward that really failed."""
    facts = rehearse(Options(trust_remote_code=True), model=remote(tmp_path, "reentrant"), world_size=1)
    (row,) = facts["rehearsal"]
    assert row["no_gradient"]
    assert (row["outcome"], row["phase"], row["architecture"]) == ("error", "backward", "ToyForCausalLM")
    assert "gradient" in facts.unknowns  # not passed: it was never seen


@pytest.mark.slow
def test_a_trained_head_hides_an_adapter_without_gradient(tmp_path):
    """G103: the run trains, the loss falls, and no LoRA weight ever moves."""
    facts = rehearse(
        Options(trust_remote_code=True),
        model=remote(tmp_path, "reentrant"),
        modules_to_save=["lm_head"],
        world_size=1,
    )
    assert facts["rehearsal"][0]["outcome"] == "ok"
    status = {g["name"]: g["status"] for g in facts["gradient"]}
    assert {s for n, s in status.items() if "lora_" in n} == {"none"}
    assert {s for n, s in status.items() if "lm_head" in n} == {"finite"}


@pytest.mark.slow
def test_a_write_in_place_is_named_in_the_users_own_file(tmp_path):
    """G101: the line in the model folder, not in a cache that is gone after the rehearsal."""
    facts = rehearse(
        Options(trust_remote_code=True), model=remote(tmp_path, "inplace"), input_require_grads=True, world_size=1
    )
    (hazard,) = facts["hazard"]
    assert hazard["operator"] == "mul_"
    assert Path(hazard["file"]) == tmp_path / "modeling_toy.py"
    assert "mul_" in REMOTE.splitlines()[hazard["line"] - 1]
    assert "leaf Variable that requires grad" in facts["rehearsal"][0]["error"]


@pytest.mark.slow
def test_code_of_the_model_runs_only_when_it_is_allowed(tmp_path):
    """Opening a model folder must not execute it."""
    code = Path(remote(tmp_path, "")) / "modeling_toy.py"
    code.write_text("import pathlib; pathlib.Path(__file__ + '.ran').touch()\n" + REMOTE, encoding="utf-8")
    with pytest.raises(NotCollected, match="--trust-remote-code"):
        rehearse(model=str(tmp_path), world_size=1)
    assert not list(tmp_path.glob("*.ran"))


def ranks(tmp_path, body, timeout):
    """Two real torchrun ranks that run `body` instead of a training."""
    folder = tmp_path / "work"
    folder.mkdir()
    script = tmp_path / "rank.py"
    head = """
        import os, signal, sys, time
        sys.path.insert(0, {root!r})
        from lorachk.children import die_with_parent
        from lorachk.rehearsal.rows import Rows
        die_with_parent()
        rank = int(os.environ["RANK"])
        Rows({folder!r}, f"rank{{rank}}").add("started", rank=rank, pid=os.getpid())
    """
    root = str(Path(__file__).parents[1])
    script.write_text(textwrap.dedent(head).format(root=root, folder=str(folder)) + body, encoding="utf-8")
    plan = make_plan(Run(**TRAIN, model="m", world_size=2), Options(), folder)
    arguments = ["-m", "lorachk.rehearsal.ranks", "--standalone", "--nproc_per_node", "2", str(script)]
    return plan, folder, launch._run(plan, "train", arguments, timeout)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2:3]


@pytest.mark.slow
def test_a_timeout_leaves_no_process(tmp_path):
    """Ranks that live on would hold the user's memory and GPUs, unseen."""
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n"
    for seconds in (12, 40, 120):  # a busy machine may need longer than the first until both ranks have started
        here = tmp_path / str(seconds)
        here.mkdir()
        _plan, folder, ended = ranks(here, body, seconds)
        assert ended.timed_out
        pids = [r["pid"] for r in read_rows(folder) if r["row"] == "started"]
        if len(pids) == 2:
            break
    assert len(pids) == 2
    time.sleep(0.5)
    assert not [p for p in pids if alive(p)]


@pytest.mark.slow
def test_a_killed_rank_is_told_from_an_error(tmp_path):
    """A rank the kernel killed (host memory) leaves no traceback; 'exit code 1' would send people looking for a bug."""
    body = "os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else time.sleep(600)\n"
    plan, folder, ended = ranks(tmp_path, body, 60)
    verdict = rehearsal._outcome(plan, rehearsal._by_table(list(read_rows(folder))), ended)
    assert not ended.timed_out
    assert verdict["outcome"] == "killed"
    assert "SIGKILL" in verdict["error"]


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [("exitcode  : -9 (pid: 1)", "SIGKILL"), ("exitcode : -15 (pid: 1)", None), ("exitcode : 1 (pid: 2)", None)],
)
def test_the_signal_of_a_rank_is_read_from_the_summary(stderr, expected):
    """SIGTERM is what torchrun sends to the other ranks: it is never the cause."""
    assert launch.killing_signal(stderr) == expected


def test_ranks_that_ran_different_modules_are_told_from_a_crash():
    """gloo aborts when collectives differ in size; SIGABRT alone would look like a broken installation."""
    stderr = "terminate called ...\n  what():  [enforce fail at pair.cc:456] op.preamble.length <= op.nbytes. 256 vs 8"
    assert "different modules" in launch.last_words(stderr)
    assert launch.last_words("Traceback ...") is None


def test_the_first_error_counts_not_what_other_ranks_say_after_it(tmp_path):
    plan = make_plan(Run(**TRAIN, model="m", world_size=2), Options(), tmp_path)
    error = {"row": "error", "rank": 1, "type": "RuntimeError", "phase": "backward", "no_gradient": False}
    rows = [
        {**error, "at": 1.0, "text": "[gloo] Connection closed by peer"},
        {**error, "at": 2.0, "text": "shape '[0]' is invalid", "rank": 0},
    ]
    verdict = rehearsal._outcome(plan, rehearsal._by_table(rows), launch.Ended(1, False, ""))
    assert verdict["error"] == "shape '[0]' is invalid"


def test_a_gradient_on_one_rank_is_a_gradient(tmp_path):
    """A rank whose batch has no image gives the vision tower none; that is no finding."""
    row = {"row": "gradient", "at": 1.0, "name": "a", "adapter": True, "norm": None}
    merged = rehearsal._gradients([{**row, "rank": 0, "status": "none"}, {**row, "rank": 1, "status": "finite"}])
    assert [m["status"] for m in merged] == ["finite"]


def test_a_missing_library_is_a_reason_not_a_crash(monkeypatch):
    monkeypatch.setattr(rehearsal, "find_spec", lambda name: None if name == "deepspeed" else object())
    with pytest.raises(NotCollected, match=r"deepspeed; pip install 'lorachk\[train\]'"):
        rehearse(model="m", deepspeed_config=ZERO)


def test_real_weights_need_a_gpu(tmp_path):
    """Without one the answer is 'not looked at', never 'passed'."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(NotCollected, match="CUDA GPU"):
        rehearse(Options(real_weights=True), model=str(MODELS / "qwen2-tiny"), num_gpus=1)
