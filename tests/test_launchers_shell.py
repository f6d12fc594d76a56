"""Shell launch scripts: read as bash would read them, never run, nothing guessed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.errors import UsageError
from lorachk.launchers.command import find_launch, processes
from lorachk.launchers.shell_script import evaluate
from lorachk.launchers.values import Unknown

OFFICIAL = Path(__file__).parent.parent / "fixtures/clean/minicpmv-official/finetune_lora.sh"


def words(script: str) -> list[str]:
    """Arguments of the last command."""
    return [argument.text for argument in evaluate(script, "x.sh").invocations[-1].arguments]


SCRIPTS = [
    r"""run a 'b c' "d \"e\" \d" f\ g '#no' # comment""",
    'A=1 B="two words"\nrun $A $B "$B" x$A"y"',
    "A=(--one 1 # note\n --two 'x y')\nA+=(--three)\nrun \"${A[@]}\" end",
    'C=5\nrun ${A:-8} ${A-"x y"} ${A:-x y} "${B:-$C v}z" ${D:=4} $D',
    "run a \\\n  b \\\n  'c\\\nd' \"e\\\nf\"",
    'ARGS="\n  --x 1 \\\n  --y 2\n"\nrun $ARGS z',
    'A=1; A="$A 2"\nexport C=3 && run "$A" $C | cat 2>&1',
    r'run "llm\..*layers\.\d+\.self_attn\.(q_proj|k_proj)" > /dev/null',
    'E=\nrun a $E b "$E" ${E:-empty} ${E+set} ${E:+full}',
]


@pytest.mark.skipif(not shutil.which("bash"), reason="compares with bash")
@pytest.mark.parametrize("script", SCRIPTS)
def test_words_are_those_of_bash(script: str) -> None:
    """A flag read differently from how bash passes it would be judged wrongly."""
    printing = 'run() { printf "%s\\0" "$@" >&3; }\n' + script
    done = subprocess.run(["bash", "-c", f"exec 3>&1 1>/dev/null\n{printing}"], capture_output=True, check=True)
    bash = done.stdout.decode().split("\0")[:-1]
    calls = [call for call in evaluate(script, "x.sh").invocations if call.arguments[0].text == "run"]
    assert [argument.text for argument in calls[-1].arguments[1:]] == bash


def test_nothing_is_run(tmp_path: Path) -> None:
    """Linting a stranger's script must not execute it."""
    victim = tmp_path / "victim"
    words(f"A=$(touch {victim}) `touch {victim}`\nrun $A ${{B:-$(touch {victim})}}")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("N=$(nvidia-smi -L | wc -l)\ntorchrun --nproc_per_node $N t.py --x 1", "$(nvidia-smi -L | wc -l) (line 1)"),
        ("\ntorchrun --nproc_per_node $GPUS t.py --x 1", "$GPUS (line 2)"),
        ('N=8\nif [ -n "$FEW" ]; then\n  N=2\nfi\ntorchrun --nproc_per_node $N t.py --x 1', "set under a condition"),
        ("for N in 1 2; do\ntorchrun --nproc_per_node ${N%x} t.py --x 1\ndone", "${N%x} (line 2)"),
    ],
)
def test_what_only_the_shell_knows_stays_unknown_and_says_why(script: str, reason: str) -> None:
    """A guessed GPU count gives a wrong batch size and a wrong memory estimate."""
    launch = find_launch(evaluate(script, "x.sh"), "x.sh")
    gpus = processes(launch)["num_gpus"].value
    assert isinstance(gpus, Unknown)
    assert reason in gpus.reason


def test_script_arguments_that_are_not_given_change_nothing() -> None:
    """Qwen's scripts loop over "$1"; launched without arguments their defaults hold."""
    loop = 'while [[ "$1" != "" ]]; do\n case $1 in\n -m ) shift; M=$1 ;;\n esac\ndone\n'
    script = f'M="model"\n{loop}python t.py --m $M --x 1'
    assert words(script)[3] == "model"


@pytest.mark.parametrize(
    ("command", "gpus", "nodes"),
    [
        ("torchrun --nproc_per_node=4 --nnodes 2 t.py --x 1", 4, 2),
        ("torchrun --standalone t.py --x 1", 1, 1),
        ("python3 -m torch.distributed.run --nproc-per-node 3 t.py --x 1", 3, 1),
        ("deepspeed --include localhost:0,2 --master_port 1 t.py --x 1", 2, 1),
        ("CUDA_VISIBLE_DEVICES=0,1,5 deepspeed t.py --x 1", 3, 1),
        ("export CUDA_VISIBLE_DEVICES=0,1\ndeepspeed t.py --x 1", 2, 1),
        ("accelerate launch --num_processes 16 --num_machines 2 --multi_gpu t.py --x 1", 8, 2),
        ("nohup env A=1 python t.py --x 1 > log &", 1, 1),
    ],
)
def test_launchers_say_how_many_processes(command: str, gpus: int, nodes: int) -> None:
    """Batch sizes and ZeRO shares are wrong when ranks are miscounted."""
    found = processes(find_launch(evaluate(command, "x.sh"), "x.sh"))
    assert (found["num_gpus"].value, found["num_nodes"].value) == (gpus, nodes)


def test_a_machine_that_would_be_asked_is_not_answered_for() -> None:
    """`--nproc_per_node gpu` means the cluster's GPUs, not this machine's."""
    found = processes(find_launch(evaluate("torchrun --nproc_per_node gpu t.py --x 1", "x.sh"), "x.sh"))
    assert isinstance(found["num_gpus"].value, Unknown)
    assert "num_gpus" not in processes(find_launch(evaluate("deepspeed t.py --x 1", "x.sh"), "x.sh"))


def test_official_script() -> None:
    """The script most MiniCPM-V users start from."""
    launch = find_launch(evaluate(OFFICIAL.read_text(), "s.sh"), "s.sh")
    assert launch.flags["lora_target_modules"].value == r"llm\..*layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj|o_proj)"
    assert launch.flags["do_train"].value is True
    assert launch.flags["learning_rate"].value == 1e-6
    assert launch.flags["model_name_or_path"].at[1:3] == (10, 8)  # where MODEL is set
    assert launch.flags["report_to"].value == "tensorboard"


@pytest.mark.parametrize("script", ["A='open", 'run "open', "run $(open", "run ${open", "A=( open", "run `open"])
def test_unclosed_quotes_are_named(script: str) -> None:
    """The reader must stop with a place, not hang or give a traceback."""
    with pytest.raises(UsageError) as caught:
        evaluate(script, "x.sh")
    assert caught.value.where is not None
    assert caught.value.where.startswith("x.sh:1:")


PARTS = [
    "A",
    "=",
    "$A",
    "${A:-",
    "}",
    "$(",
    ")",
    "`",
    "'",
    '"',
    "\\",
    "\n",
    " ",
    ";",
    "&&",
    "if ",
    "fi",
    "(",
    "<<",
    ">",
    "#",
    "é",
]


@given(st.lists(st.sampled_from([*PARTS, "torchrun t.py ", "--x ", "case ", "esac", "done", "for "]), max_size=25))
def test_any_text_is_read_or_refused(parts: list[str]) -> None:
    """A script this reader does not understand must not end in a traceback or an endless loop."""
    with contextlib.suppress(UsageError):
        find_launch(evaluate("".join(parts), "x.sh"), "x.sh")


def test_variables_of_a_file_that_is_read_in_are_followed_with_their_place(tmp_path: Path) -> None:
    """Clusters keep paths and sizes in env.sh; a finding must point to the line that says it."""
    (tmp_path / "env.sh").write_text("# ours\nexport RANK=${RANK:-16}\nFLAGS='--bf16 true'\nrm -rf nothing\n")
    (tmp_path / "x.sh").write_text('source "$(dirname "$0")/env.sh"\ntorchrun t.py --lora_r $RANK $FLAGS --x 1\n')
    (tmp_path / "y.sh").write_text(". ./env.sh\ntorchrun t.py --lora_r $RANK --output_dir o\n")
    for name in ("x.sh", "y.sh"):
        script = evaluate((tmp_path / name).read_text(), str(tmp_path / name))
        launch = find_launch(script, str(tmp_path / name))
        assert launch.flags["lora_r"].value == 16
        assert launch.flags["lora_r"].at[:2] == (str(tmp_path / "env.sh"), 2)
        assert [source.path for source in script.sources] == [str(tmp_path / "env.sh")]
    assert evaluate("source ~/.bashrc; source gone.sh; source $X\ntorchrun t.py --a 1\n", "x.sh").sources == []


def test_files_that_read_each_other_in_are_one_message_with_its_place(tmp_path: Path) -> None:
    """bash would go on until it is killed."""
    (tmp_path / "a.sh").write_text("source b.sh\ntorchrun t.py --x 1 --y 2\n")
    (tmp_path / "b.sh").write_text("X=1\nsource a.sh\n")
    with pytest.raises(UsageError) as error:
        evaluate((tmp_path / "a.sh").read_text(), str(tmp_path / "a.sh"))
    assert "reads itself in without end" in str(error.value)
    assert f"{tmp_path / 'b.sh'}:2:8" in str(error.value)
