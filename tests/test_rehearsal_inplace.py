"""The in-place tracer: every write into a leaf is listed with its line, and nothing else is."""

import inspect

import pytest

torch = pytest.importorskip("torch")

from lorachk.rehearsal.inplace import InplaceTracer  # noqa: E402


class Model(torch.nn.Module):
    """A frozen embedding with the input hook, as enable_input_require_grads() makes it, and a body that is given."""

    def __init__(self, body, hook=True, frozen=True):
        super().__init__()
        self.embed = torch.nn.Embedding(10, 4)
        self.embed.weight.requires_grad_(not frozen)
        if hook:
            self.embed.register_forward_hook(lambda _m, _i, output: output.requires_grad_(True))
        self.body = body

    def forward(self, ids):
        return self.body(self.embed(ids)).sum()


def trace(body, **options):
    model = Model(body, **options)
    tracer = InplaceTracer(model)
    with tracer.watch():
        model(torch.arange(6).view(2, 3))
    return tracer.hazards


def scatter(embeddings):
    for i in range(len(embeddings)):
        row = embeddings[i]
        row.scatter_(0, torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4))
    return embeddings


def assign(embeddings):
    embeddings[0, 1:] = 0.0
    return embeddings


def two(embeddings):
    embeddings += 1
    embeddings[0].mul_(2)
    return embeddings


def test_the_write_of_minicpm_is_found_with_its_line():
    """MiniCPM-V's `cur_vllm_emb.scatter_`: without file and line nobody finds it in remote code."""
    (hazard, count), *rest = trace(scatter).items()
    assert not rest
    assert (hazard.kind, hazard.operator, count) == ("inplace-on-view-of-leaf", "scatter_", 2)
    assert hazard.file == __file__
    lines, first = inspect.getsourcelines(scatter)
    assert lines[hazard.line - first].strip().startswith("row.scatter_")
    assert hazard.tensor.startswith("output of embed")


def test_assignment_by_index_is_found():
    """InternVL and Qwen-VL write `embeds[selected] = ...`."""
    assert [h.operator for h in trace(assign)] == ["__setitem__"]


def test_all_writes_are_listed_not_only_the_first():
    """Autograd stops at the first; the user would mend them one GPU run at a time."""
    assert [(h.operator, h.kind) for h in trace(two)] == [
        ("add_", "inplace-on-leaf"),
        ("mul_", "inplace-on-view-of-leaf"),
    ]


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (lambda e: scatter(e.clone()), {}),
        (lambda e: e.masked_scatter(torch.ones_like(e, dtype=torch.bool), torch.zeros(24)), {}),
        (scatter, {"hook": False}),
        (scatter, {"hook": False, "frozen": False}),
        (lambda e: torch.nn.functional.relu(e * 2, inplace=True), {}),
    ],
    ids=["clone", "out of place", "without the hook", "trained embedding", "on a computed tensor"],
)
def test_allowed_writes_are_no_hazard(body, options):
    """A false alarm would have people rewrite working model code."""
    assert not trace(body, **options)
    Model(body, **options)(torch.arange(6).view(2, 3))  # autograd agrees


@pytest.mark.parametrize("body", [scatter, assign, two])
def test_autograd_refuses_what_is_listed(body):
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        Model(body)(torch.arange(6).view(2, 3))
