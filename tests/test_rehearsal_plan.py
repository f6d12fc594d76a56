"""The plan: what of the user's run is rehearsed as it is, and what must differ on a CPU."""

import pytest

from lorachk.facts.collector import NotCollected, Options
from lorachk.rehearsal.plan import Plan, make_plan
from lorachk.run import Run

ZERO3 = {
    "bf16": {"enabled": "auto"},
    "optimizer": {"type": "AdamW", "params": {"lr": "auto"}},
    "scheduler": {"type": "WarmupLR", "params": {}},
    "zero_optimization": {
        "stage": 3,
        "offload_optimizer": {"device": "nvme", "nvme_path": "/nvme"},
        "stage3_param_persistence_threshold": "auto",
        "stage3_gather_16bit_weights_on_model_save": True,
    },
    "train_batch_size": 64,
    "train_micro_batch_size_per_gpu": 8,
}


def plan(tmp_path, options=None, **run):
    settings = {"model": "m", "use_lora": True, "lora_r": 8, "target_modules": ["q_proj"], "world_size": 8, **run}
    return make_plan(Run(**settings), options or Options(), tmp_path)


def test_small_parameters_are_released_under_zero3(tmp_path):
    """With the default threshold a miniature's parameters are never released and ZeRO-3's failures stay hidden."""
    zero = plan(tmp_path, deepspeed_config=ZERO3).deepspeed["zero_optimization"]
    assert zero["stage3_param_persistence_threshold"] == 0
    assert zero["stage3_gather_16bit_weights_on_model_save"] is True


def test_offload_stays_without_compiling_anything(tmp_path):
    """Building DeepSpeed's CPU Adam takes minutes and a compiler; offload itself must still be rehearsed."""
    made = plan(tmp_path, deepspeed_config=ZERO3)
    assert made.deepspeed["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert made.deepspeed["zero_force_ds_cpu_optimizer"] is False
    assert made.deepspeed["optimizer"]["params"]["torch_adam"] is True
    assert any("nvme" in change for change in made.changes)


def test_a_micro_batch_that_contradicts_the_trainer_stays(tmp_path):
    """The user's own mistake must fail in the rehearsal as it would in the run."""
    made = plan(tmp_path, deepspeed_config=ZERO3, per_device_train_batch_size=2)
    assert made.deepspeed["train_micro_batch_size_per_gpu"] == 8
    agreed = plan(tmp_path, deepspeed_config=ZERO3, per_device_train_batch_size=8)
    assert agreed.deepspeed["train_micro_batch_size_per_gpu"] == agreed.args["per_device_train_batch_size"] == 4


def test_the_file_of_the_user_is_not_changed(tmp_path):
    run = Run(model="m", use_lora=True, lora_r=8, deepspeed_config=ZERO3)
    make_plan(run, Options(), tmp_path)
    assert run.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] == "auto"


def test_fp16_runs_as_bf16_and_says_so(tmp_path):
    """A CPU has no fp16 training; a report that hid this would claim what was not tried."""
    made = plan(tmp_path, fp16=True, deepspeed_config={"fp16": {"enabled": True}, "zero_optimization": {"stage": 2}})
    assert made.dtype == "bfloat16"
    assert made.deepspeed["bf16"] == {"enabled": True}
    assert any("fp16" in change for change in made.changes)


def test_warm_up_is_left_out(tmp_path):
    """Its first step has learning rate 0: three rehearsed steps would look like a run that does not train."""
    made = plan(tmp_path, deepspeed_config=ZERO3, learning_rate=1e-6)
    assert made.args["lr_scheduler_type"] == "constant"
    assert made.args["learning_rate"] == 1e-6
    assert "scheduler" not in made.deepspeed


@pytest.mark.parametrize(("world", "ranks"), [(8, 2), (1, 1), (2, 2)])
def test_as_many_ranks_as_shard_but_no_more_than_the_run_has(tmp_path, world, ranks):
    assert plan(tmp_path, world_size=world).ranks == ranks


def test_a_regular_expression_stays_one_string(tmp_path):
    """A list of one regular expression matches nothing in PEFT."""
    made = plan(tmp_path, target_modules=[r"llm\..*q_proj"], target_regex=True)
    assert made.lora["target_modules"] == r"llm\..*q_proj"


def test_a_run_without_lora_is_not_collected(tmp_path):
    with pytest.raises(NotCollected, match="LoRA"):
        make_plan(Run(model="m"), Options(), tmp_path)
    with pytest.raises(NotCollected, match="model"):
        make_plan(Run(use_lora=True), Options(), tmp_path)


def test_a_quantized_run_says_that_the_miniature_is_not(tmp_path):
    """bitsandbytes has no CPU training here; the hook that k-bit preparation sets is kept (see build.prepare_base)."""
    made = plan(tmp_path, load_in_4bit=True, bf16=True, bnb_4bit_quant_storage="bfloat16")
    assert made.quantization["bnb_4bit_quant_storage"] == "bfloat16"
    assert any("not quantized" in change for change in made.changes)


def test_a_plan_survives_its_file(tmp_path):
    made = plan(tmp_path, deepspeed_config=ZERO3)
    assert Plan.load(str(made.save())) == made
