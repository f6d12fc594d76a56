"""Every fact table, declared once: name, what a row is, columns with types, units and meaning.

This is the contract between collectors (which write rows), rules (which query them) and people (`lorachk sql`). A rule
page is prepared against this schema when it is loaded. Facts hold lengths, counts and hashes rather than dataset text.
"""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import NamedTuple, Union, get_args, get_origin

from lorachk.facts import machine_tables

LOCATION = "STRUCT(path VARCHAR, line INTEGER, col INTEGER, pointer VARCHAR)"


class Column(NamedTuple):
    """A column: DuckDB type and meaning, with the unit where there is one."""

    name: str
    type: str
    doc: str


class Table(NamedTuple):
    """A fact table; `row` says what one row is."""

    name: str
    row: str
    columns: tuple[Column, ...]

    @property
    def ddl(self) -> str:
        """CREATE TABLE statement."""
        return f'CREATE TABLE "{self.name}" ({", ".join(f"{_quoted(c.name)} {c.type}" for c in self.columns)})'


def _quoted(name: str) -> str:
    return f'"{name}"'


def _table(name: str, row: str, /, **columns: tuple[str, str] | str) -> Table:
    made = []
    for column, spec in columns.items():
        kind, doc = spec if isinstance(spec, tuple) else (spec, "")
        made.append(Column(column, kind, doc))
    return Table(name, row, tuple(made))


_TEXT, _INT, _BIG, _REAL, _FLAG, _LIST = "VARCHAR", "INTEGER", "BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR[]"

_COMPONENT = (_TEXT, "vision, resampler, llm, embedding, head, audio, other")
_STAGE = (_INT, "ZeRO stage")
_OFFLOAD = (_TEXT, "none, cpu, nvme")
_PATH = (_TEXT, "dataset file, as the user named it")
_RECORD = (_BIG, "index of the record in its file, from 0")
_SPLIT = ("ENUM('train', 'eval')", "train or eval")
_SPEAKER = "ENUM('user', 'assistant', 'system', 'tool')"  # text in all respects, but a byte per row
_TURN = (_INT, "position in the conversation, from 0")
_LINE = (_BIG, "line in the file, from 1")
_POINTER = (_TEXT, "RFC 6901 pointer in the file; for JSONL inside the line's object")

_DECLARED = (
    _table(
        "dataset",
        "one dataset file",
        path=_PATH,
        split=_SPLIT,
        container=(_TEXT, "array, lines, object, parquet, empty; NULL when nothing could be read"),
        compression=(_TEXT, "gzip, zstd; NULL for a plain file"),
        bytes=(_BIG, "size on disk; NULL for standard input"),
        encoding=(_TEXT, "utf-8, utf-8-sig, utf-16 ..."),
        records=(_BIG, "records read"),
        expected=(_TEXT, "container the trainer reads: array or lines; NULL when no trainer is known or both do"),
        problem=(_TEXT, "what is wrong with the file; NULL when it parses"),
        line=_LINE,
        col=(_INT, "column of the problem, from 1"),
        context=(_TEXT, "up to 80 characters around the problem"),
    ),
    _table(
        "registry",
        "one leaf of an entry of LLaMA-Factory's dataset_info.json whose dataset is looked at, or what is wrong in it",
        name=(_TEXT, "the dataset"),
        file=(_TEXT, "its file, as record.path names it; NULL when it is not here"),
        key=(_TEXT, "path in the entry: file_name, formatting, columns/images, tags/role_tag ..."),
        value=(_TEXT, "value as text; NULL in a row that tells a problem"),
        looked_up=(_FLAG, "a column that the trainer looks up in every record"),
        problem=(_TEXT, "what is wrong with this leaf; NULL for nothing"),
        fatal=(_FLAG, "the trainer stops on the problem; else it passes over it without a word"),
        place=(LOCATION, "where it stands"),
    ),
    _table(
        "source",
        "one configuration file that was read",
        path=(_TEXT, "as the user named it"),
        kind=(_TEXT, "deepspeed, toml, launch, peft, model"),
        bytes=(_BIG, "size on disk"),
        encoding=(_TEXT, "utf-8, utf-8-sig, utf-16 ..."),
        problem=(_TEXT, "what is wrong with the file; NULL when it parses"),
        line=_LINE,
        col=(_INT, "column of the problem, from 1"),
    ),
    _table(
        "record",
        "one dataset record",
        path=_PATH,
        record=_RECORD,
        line=_LINE,
        offset=(_BIG, "byte of the file's UTF-8 text where the record starts; NULL when it cannot be told (Parquet)"),
        pointer=_POINTER,
        split=_SPLIT,
        dialect=(
            _TEXT,
            "minicpmv, minicpmv-multi, llava, sharegpt, qwen-vl, messages, parts, alpaca, query, completion, text, "
            "unknown",
        ),
        style=(
            _TEXT,
            "keys that carry the text: from/value, role/content, alpaca, query, completion, text; NULL for none known",
        ),
        image_field=(_TEXT, "JSON type of the image field: absent, null, string, list, object, other"),
        image_count=(_INT, "images the record names"),
        video_count=(_INT, "videos the record names"),
        placeholder_count=(_INT, "image placeholders in all turns (in its dialect's spelling)"),
        turns_with_placeholder=(_INT, "turns with at least one of them"),
        turn_count=(_INT, "turns; NULL when there is no conversation"),
        verdict=(
            _TEXT,
            "what the trainer would do: kept, changed, replaced, dropped, crash; NULL when it is not known",
        ),
        reason=(_TEXT, "why, in one short clause; NULL when kept"),
        digest=("UBIGINT", "hash of what is trained: turns and image references, not the id; only for comparisons"),
        repeated_key=(_TEXT, "first key that stands twice in one object of the record"),
    ),
    _table(
        "field",
        "one JSON type of one key path in one file",
        path=_PATH,
        split=_SPLIT,
        pointer=(_TEXT, "key path; * for list positions: /conversations/*/value"),
        type=(_TEXT, "JSON type: string, integer, number, boolean, null, array, object"),
        count=(_BIG, "values"),
        record=(_BIG, "first record that has it"),
    ),
    _table(
        "turn",
        "one conversation turn",
        path=_PATH,
        record=_RECORD,
        turn=_TURN,
        role=(_TEXT, "role as written"),
        speaker=(_SPEAKER, "user, assistant, system, tool; NULL for a role no dialect knows"),
        previous=(_SPEAKER, "speaker of the turn before; NULL for the first turn"),
        content_type=(
            "ENUM('string', 'parts', 'null', 'absent', 'other')",
            "JSON type of the content: string, parts, null, absent, other",
        ),
        characters=(_BIG, "length of the text"),
        bytes=(_BIG, "UTF-8 bytes of the text: an upper bound of its tokens for byte-level tokenizers"),
        blank=(_FLAG, "no text but white space, and no image"),
        placeholders=(_INT, "plain image placeholders (<image>, or image parts)"),
        keys=(_LIST, "indexed placeholders in order (<image_00>)"),
        literals=(_LIST, "special tokens of the family written as plain text, other than its placeholder"),
        placed=(
            "ENUM('start', 'end')",
            "where its <image> placeholders stand, when they are lines of their own before or behind the text",
        ),
        tokens=(
            _INT,
            "tokens of the text without these, in its place in the template; NULL without a tokenizer, or when what "
            "stands around it could change them",
        ),
    ),
    _table(
        "image",
        "one image reference",
        path=_PATH,
        record=_RECORD,
        position=(_INT, "position among the record's images, from 0"),
        key=(_TEXT, "key in a MiniCPM-V image dict"),
        pointer=(_TEXT, "RFC 6901 pointer inside the record"),
        reference=(_TEXT, "the reference as written, shortened for data URIs; NULL when it is no string"),
        resolved=(_TEXT, "file it resolves to"),
        kind=(_TEXT, "file, url, data (a data: URI), bytes (inside a Parquet file)"),
        exists=(_FLAG, "the file is there; NULL when it was not looked for"),
        near_miss=(_TEXT, "a file that is there and was probably meant"),
        bytes=(_BIG, "size on disk"),
        format=(_TEXT, "real format from the content: JPEG, PNG ..."),
        mode=(_TEXT, "Pillow mode: RGB, RGBA, L, P, CMYK ..."),
        width=(_INT, "pixels"),
        height=(_INT, "pixels"),
        orientation=(_INT, "EXIF orientation; NULL or 1 is upright"),
        frames=(_INT, "frames of an animation or pages; 1 for a single image"),
        transparency=(_FLAG, "has an alpha channel or a transparent colour"),
        decodes=(_FLAG, "all pixels could be decoded; NULL when not tried"),
        problem=(_TEXT, "why it cannot be used"),
        pieces=(_INT, "pieces the family cuts it into (source and slices)"),
        tokens=(_INT, "tokens its block takes in the sequence, markers included"),
        features=(_INT, "of these, places of visual features"),
        markers=(_INT, "start markers of the image and its slices"),
        refused=(_TEXT, "why the model's processor, or the trainer before it, raises for this size; NULL for nothing"),
    ),
    _table(
        "box",
        "one bounding box written in a turn",
        path=_PATH,
        record=_RECORD,
        turn=_TURN,
        position=(_INT, "position among the turn's boxes, from 0"),
        x1=(_REAL, "as written"),
        y1=(_REAL, "as written"),
        x2=(_REAL, "as written"),
        y2=(_REAL, "as written"),
        form=(_TEXT, "how it is written: box-tag, qwen-box, bbox-key, list"),
    ),
    _table(
        "encoding",
        "one record at the run's token limit",
        path=_PATH,
        record=_RECORD,
        max_length=(_INT, "token limit; NULL when none is known"),
        image_tokens=(_BIG, "tokens of all image blocks, exact; NULL when an image could not be read"),
        text_tokens=(_BIG, "tokens of the text with its template, exact; NULL when it was not tokenised"),
        text_tokens_min=(_BIG, "lower bound of the text's tokens; the same number when it is exact"),
        text_tokens_max=(_BIG, "upper bound of the text's tokens"),
        tokens=(_BIG, "tokens of the whole record before the limit, exact; NULL when it was not tokenised"),
        kept=(_BIG, "tokens the trainer keeps of them"),
        cut=(_FLAG, "the record is longer than the limit; NULL when only the tokenizer could tell"),
        image_cut=(_FLAG, "an image block is cut, or cannot fit at all; NULL when only the tokenizer could tell"),
        starts=(_BIG, "image and slice start markers that are left"),
        ends=(_BIG, "image and slice end markers that are left"),
        features=(_BIG, "placeholder tokens that are left for visual features"),
        features_wanted=(_BIG, "rows of visual features that the images give"),
        supervised_before=(_BIG, "labels before the limit"),
        supervised=(_BIG, "labels that are left; NULL when it was not tokenised"),
        ends_with_eos=(_FLAG, "the last label left is the end of the turn or of the text; NULL without labels"),
        verdict=(_TEXT, "what the trainer does because of the limit; NULL for nothing, and with a reason for unknown"),
        reason=(_TEXT, "why; NULL when it does nothing"),
    ),
    _table(
        "worst",
        "the record that is heaviest to train on: what the memory estimate has to hold (one row)",
        path=_PATH,
        record=_RECORD,
        max_length=(_INT, "token limit; NULL when none is known"),
        tokens=(_BIG, "tokens before the limit"),
        text_tokens=(_BIG, "tokens of the text with its template"),
        image_tokens=(_BIG, "tokens of all image blocks; NULL when an image could not be read"),
        images=(_INT, "images"),
        pieces=(_INT, "pieces that the images are cut into; NULL when the family's cutting is not known"),
        width=("INTEGER[]", "pixels of each image; NULL in the list for one that could not be read"),
        height=("INTEGER[]", "pixels of each image"),
        kept=(_BIG, "tokens that are trained"),
        supervised=(_BIG, "labels that are left; NULL when it was not tokenised"),
        exact=(_FLAG, "the record was tokenised; else text, tokens and kept are upper bounds"),
    ),
    _table(
        "tokenizer",
        "the tokenizer and chat template the records are encoded with (one row)",
        path=(_TEXT, "model folder it is in"),
        problem=(_TEXT, "why it cannot be used; NULL when it can"),
        file=(_TEXT, "file the problem is in"),
        place=(LOCATION, "where in that file"),
        encoder=(_TEXT, "why the trainer's encoding could not be modelled; NULL when it could"),
        size=(_INT, "entries of the vocabulary with all added tokens, len(tokenizer)"),
        largest_id=(_INT, "highest id that can come out"),
        beyond=(_LIST, "tokens whose id has no row in the model's embedding (run.vocab_size), BOS, EOS and pad first"),
        bos=(_TEXT, "beginning-of-text token; NULL for none"),
        eos=(_TEXT, "end token"),
        pad=(_TEXT, "padding token"),
        adds_bos=(_FLAG, "a text gets BOS in front when it is encoded with special tokens"),
        adds_eos=(_FLAG, "and EOS behind it"),
        image_tokens=(_LIST, "the family's image tokens that the vocabulary has"),
        missing_tokens=(_LIST, "the family's image tokens that it lacks"),
        chat_template=(_FLAG, "there is a chat template"),
        template_file=(_TEXT, "file the chat template is in"),
        template_problem=(_TEXT, "what the chat template raised on a plain dialogue; NULL for nothing"),
        system_problem=(_TEXT, "what it raised on a dialogue with a system turn; NULL for nothing"),
        generation=(_FLAG, "the chat template has {% generation %}"),
    ),
    _table(
        "remedy",
        "one value of a setting that makes records shorter, and what it would leave",
        setting=(_TEXT, "as the trainer names it: max_slice_nums, max_pixels, image_max_pixels, max_dynamic_patch ..."),
        value=(_BIG, "value to set"),
        records_cut=(_BIG, "records that are longer than the limit then; an upper bound unless exact"),
        largest=(_BIG, "tokens of the longest record then; an upper bound unless exact"),
        exact=(_FLAG, "both numbers are exact: every record that matters was tokenised"),
    ),
    _table(
        "setting",
        "one leaf of a file or option the run is launched with",
        kind=(_TEXT, "deepspeed, launch (the trainer's flags), launcher, accelerate, env, peft, toml, option, model"),
        pointer=(_TEXT, "RFC 6901 pointer; /learning_rate for the flag --learning_rate"),
        name=(_TEXT, "last part of the pointer"),
        value=(_TEXT, "value as text"),
        type=(_TEXT, "JSON type: string, integer, number, boolean, null, array, object"),
        place=(LOCATION, "where it stands"),
    ),
    _table(
        "argument",
        "one argument that the trainer is given: a flag, an entry of its YAML or JSON file, or of [run.args]",
        name=(_TEXT, "as the trainer calls it, with _ for -"),
        value=(_TEXT, "value as text; NULL when only the shell or the cluster knows it"),
        type=(_TEXT, "JSON type: string, integer, number, boolean, null, array, object; unknown"),
        place=(LOCATION, "where it stands"),
    ),
    _table(
        "known_argument",
        "one argument that the run's trainer takes, in the versions of its libraries that the run will use",
        name=(_TEXT, "as the trainer calls it"),
        owner=(_TEXT, "class that declares it"),
        source=(_TEXT, "transformers 5.24.0, trl 0.17.0, owner/repository@commit, or the training script"),
        type=(_TEXT, "boolean, integer, number, string, array, object; NULL when it takes several or another kind"),
        choices=(_LIST, "the only values it takes; NULL for any"),
        value=(_TEXT, "default as JSON; NULL when the source does not tell"),
        origin=(_TEXT, "installed (read from the source here), script (the user's own), or recorded"),
        since=(_TEXT, "first recorded version of the library that has it; NULL for a trainer's own"),
        until=(_TEXT, "first recorded version without it; NULL when there is none, and for a trainer's own"),
    ),
    _table(
        "given_argument",
        "one argument that the trainer is given, and what its parser makes of it",
        name=(_TEXT, "as written, with _ for -"),
        argument=(_TEXT, "the argument that it is read as: itself, or what --no_x or an abbreviation stands for"),
        outcome=(
            _TEXT,
            "accepted; stops (the trainer ends with an error), ignored (it is passed over), doubtful (the recorded "
            "trainer has no such argument; another commit might); unknown (the trainer's own arguments are not known)",
        ),
        source=(_TEXT, "whose arguments they are, or whose it was: transformers 5.24.0 ..."),
        since=(_TEXT, "first version that has it, when the run's version is older"),
        until=(_TEXT, "first version without it, when it is gone"),
        successor=(_TEXT, "what to write instead"),
        nearest=(_TEXT, "the argument that was probably meant"),
        problem=(_TEXT, "why its value cannot be read; NULL for nothing, and when that cannot be told"),
        place=(LOCATION, "where it stands"),
    ),
    _table(
        "resolved",
        "one field of the run that has a value, and where the value comes from",
        field=(_TEXT, "column of the table run"),
        value=(_TEXT, "value as text"),
        origin=(_TEXT, "path:line:column, an option, or words such as: default of transformers 5.24.0"),
        given=(_FLAG, "it was read from a file or option, or follows from what was"),
        place=(LOCATION, "where it was read; NULL for a default"),
    ),
    _table(
        "script",
        "one thing that the training program does, read off its source and that of the modules beside it",
        kind=(
            _TEXT,
            "program and module (a file that was read; program without file: none was), class (a Trainer subclass), "
            "method (one that it overrides), bypass (compute_loss runs self.model, not the wrapped model), trainer (a "
            "Trainer is made), torch-module (a class derived from torch.nn.Module itself), loop (deepspeed.initialize, "
            "accelerator.prepare), call, checkpoint (a call of torch.utils.checkpoint), argument (a keyword of a "
            "call), assignment (to an attribute of such a name), "
            "state-dict (replaced by PEFT's), data-write (x.data[...] = ...), redraw (a loader's except that takes "
            "another record)",
        ),
        owner=(_TEXT, "classes and functions it stands in: CPMTrainer.compute_loss"),
        subject=(_TEXT, "what is called or assigned to, by its full name; the base of a class or of a method's class"),
        name=(_TEXT, "last part of that, the argument's name, or the name of the class or method"),
        value=(
            _TEXT,
            "an argument's value as text when it is a literal; what a redraw catches, NULL for everything; what made a "
            "trainer's model: Wrapper, transformers.AutoModel.from_pretrained",
        ),
        keywords=(_LIST, "names of a call's keyword arguments or a method's parameters; * and ** for the catch-alls"),
        positional=(_INT, "a call's arguments without a name"),
        used=(_FLAG, "class, method and bypass: a Trainer of that class, or of one derived from it, is made"),
        file=(_TEXT, "the file; NULL when no training program could be read"),
        place=(LOCATION, "where it stands"),
    ),
    _table(
        "model_code",
        "one thing that the Python files of the model's folder do (remote code), read off their source; none without",
        kind=(
            _TEXT,
            "module (a file that was read), class (one that an auto class loads), call (random initialisation or "
            "loading of weights), data-write (x.data[...] = ...)",
        ),
        owner=(_TEXT, "class and method, or function, it stands in: Resampler.__init__"),
        subject=(_TEXT, "what is called or assigned to, by its full name; the base of a class outside the folder"),
        name=(_TEXT, "last part of that, or the name of the class"),
        keywords=(_LIST, "names of a call's keyword arguments; the auto classes of a class"),
        initial=(_FLAG, "it runs when the model is made: in __init__, or in what that calls in the same file"),
        plain=(_FLAG, "called by a bare name; transformers leaves out torch.nn.init.x(...), and not such a name"),
        embeddings=(_FLAG, "class: get_input_embeddings() finds the embedding; NULL when that cannot be told"),
        file=(_TEXT, "the file"),
        place=(LOCATION, "where it stands"),
    ),
    _table(
        "checkpoint",
        "the checkpoint that the run goes on from (one row; none when it begins anew), by file names and JSON",
        path=(_TEXT, "its folder; NULL when the last one was asked for and there is none"),
        asked=(_FLAG, "resume_from_checkpoint asks for it; else the trainer finds it in output_dir by itself"),
        exists=(_FLAG, "it is there"),
        near=(_LIST, "checkpoints that were probably meant, when it is not"),
        files=(_INT, "files and folders in it"),
        step=(_INT, "optimizer steps it was trained"),
        max_steps=(_INT, "steps that the run had that wrote it"),
        weights=(_FLAG, "it has the weights of a model or an adapter"),
        state=(_FLAG, "it has a trainer_state.json"),
        optimizer=(_FLAG, "it has the optimizer's state"),
        deepspeed=(_FLAG, "it was written under DeepSpeed, with its states"),
        zero_stage=(_INT, "ZeRO stage it was written with; 2 stands for 1 and 2; NULL without DeepSpeed"),
        ranks=(_INT, "ranks that wrote optimizer states, by those that are here"),
        adapter=(_FLAG, "it is that of an adapter"),
        lora_r=(_INT, "rank of its adapter"),
        lora_alpha=(_REAL, "alpha of its adapter"),
        patterns=(_FLAG, "rank or alpha of its adapter differ from module to module"),
        target_modules=(_LIST, "modules of its adapter, sorted; NULL for a regex"),
        whole=(_FLAG, "the trainer takes all of it; false: only the weights (ms-swift's resume_only_model)"),
    ),
    _table(
        "ds_key",
        "one key that DeepSpeed reads from its file, in the version the run will use or in another",
        block=(_TEXT, "pointer of the block it belongs to; empty for the top level"),
        name=(_TEXT, "the key"),
        type=(_TEXT, "integer, number, boolean, string, array, object; NULL when the source does not tell"),
        origin=(_TEXT, "installed (read from the DeepSpeed source here) or recorded"),
        current=(_FLAG, "the version the run will use reads it; NULL when that version is not known"),
        strict=(_FLAG, "DeepSpeed stops at a key of this block that it does not know; NULL when that is not known"),
        versions=(_TEXT, "versions that read it, of those that were looked at: 0.14.5 to 0.19.8"),
        replaced=(_TEXT, "deprecated: the key that has taken its place"),
        removed=(_TEXT, "what DeepSpeed says when it stops at this key, which it no longer supports"),
    ),
    _table(
        "ds_value",
        "one value of the DeepSpeed configuration as it reaches DeepSpeed, after transformers' Trainer and accelerate",
        pointer=(_TEXT, "pointer in the DeepSpeed file: /zero_optimization/stage"),
        key=(_TEXT, "the same as the libraries print it: zero_optimization.stage"),
        given=(_TEXT, "value as text as it was written; NULL when it was not, or is null"),
        value=(_TEXT, "value as text that DeepSpeed is given; NULL when it cannot be known or is null"),
        type=(_TEXT, "JSON type of value; unknown when it cannot be known"),
        origin=(_TEXT, "file (or accelerate's YAML), transformers or accelerate: who gave the value"),
        reason=(_TEXT, "why value is not known"),
        argument=(_TEXT, "what the Trainer fills in or compares with, as it prints it: train_batch_size (calculated)"),
        fields=(_LIST, "TrainingArguments that it is made of"),
        argument_value=(_TEXT, "its value as text; NULL when it is not known"),
        argument_origin=(_TEXT, "where the arguments come from: path:line:column, or default of transformers 5.24.0"),
        agrees=(_FLAG, "the Trainer compares and finds both equal; NULL when it does not compare, or one is unknown"),
        mismatch=(_TEXT, "the line of the Trainer's error: - ds gradient_clipping=0.5 vs hf max_grad_norm=1.0"),
        refused=(_TEXT, "the error that transformers or accelerate raises for this value; NULL when none"),
        place=(LOCATION, "where it stands; NULL when it is not in the file"),
        argument_places=(LOCATION + "[]", "where the arguments stand, those that were given"),
    ),
    _table(
        "package",
        "one distribution",
        name=(_TEXT, "normalised name"),
        version=(_TEXT, "PEP 440 version"),
        origin=(_TEXT, "installed, environment ([environment] in lorachk.toml), or requirements (--requirements)"),
        place=(LOCATION, "where the version was stated, when not installed"),
    ),
    _table("host", "this machine (one row)", **machine_tables.HOST),
    _table("gpu", "one GPU the run is judged for, as its processes see it", **machine_tables.GPU),
    _table("gpu_pair", "two GPUs of this machine that the run's processes see", **machine_tables.GPU_PAIR),
    _table("tool", "torch's build, or what is needed to compile DeepSpeed's operators here", **machine_tables.TOOL),
    _table("environment", "one variable that decides where and how the run's processes run", **machine_tables.ENVIRONMENT),
    _table(
        "module",
        "one module of the model after PEFT",
        name=(_TEXT, "dotted name in the base model"),
        type=(_TEXT, "class name"),
        component=_COMPONENT,
        leaf=(_FLAG, "has no children in the base model"),
        linear=(_FLAG, "a Linear/Conv1D/Embedding/Conv that LoRA could wrap"),
        adapted=(_FLAG, "carries a LoRA adapter"),
        saved_whole=(_FLAG, "wrapped by modules_to_save"),
    ),
    _table(
        "target",
        "one entry of target_modules or modules_to_save",
        kind=(_TEXT, "target_modules or modules_to_save"),
        entry=(_TEXT, "as written"),
        matched=(_INT, "modules it matches in this model"),
        near_miss=(_TEXT, "names of this model that were probably meant"),
        place=(LOCATION, "where it stands"),
    ),
    _table(
        "hit",
        "one module that target_modules matches, by its name; none where the trainer looks for the modules itself",
        name=(_TEXT, "dotted name in the base model"),
        type=(_TEXT, "class name; NULL where the model was not built"),
        component=_COMPONENT,
        leaf=(_FLAG, "no container: it has parameters of its own, or no children"),
        dims=(_INT, "dimensions of its weight: 2 linear or embedding, 3 to 5 convolution; NULL for none or not known"),
        built=(_FLAG, "the model was built; else these are the names in the checkpoint"),
    ),
    _table(
        "weight",
        "one tensor of the checkpoint, from the headers of its safetensors files",
        name=(_TEXT, "name in the file"),
        module=(_TEXT, "the same without .weight, .bias ..."),
        file=(_TEXT, "file name"),
        dtype=(_TEXT, "bfloat16, float32, uint8 ...; NULL when the file is not there"),
        shape=("BIGINT[]", "shape; NULL when the file is not there"),
        numel=(_BIG, "elements"),
        component=_COMPONENT,
    ),
    _table(
        "parameter",
        "one parameter of the model after PEFT",
        name=(_TEXT, "dotted name"),
        component=_COMPONENT,
        shape=("BIGINT[]", "shape"),
        numel=(_BIG, "elements"),
        dtype=(_TEXT, "bfloat16, float32, uint8 ..."),
        bytes=(_BIG, "numel times element size"),
        requires_grad=(_FLAG, "trained"),
        adapter=(_FLAG, "belongs to the adapter (LoRA A, B, magnitude ...)"),
        saved=(_FLAG, "PEFT writes it into the adapter file"),
        tied_to=(_TEXT, "first parameter that shares its storage"),
    ),
    _table(
        "memory",
        "one component of a memory estimate, per GPU",
        zero_stage=_STAGE,
        offload_optimizer=_OFFLOAD,
        offload_param=_OFFLOAD,
        component=(_TEXT, "weights, adapter, gradients, optimizer, buffers, activations, allocator, context"),
        detail=(_TEXT, "what it is"),
        bytes=(_BIG, "bytes on each GPU at the peak"),
        host_bytes=(_BIG, "bytes of host memory per rank"),
        method=(_TEXT, "exact (from the parameter table), trace, formula, constant"),
    ),
    _table(
        "fit",
        "one ZeRO stage against the GPU",
        zero_stage=_STAGE,
        offload_optimizer=_OFFLOAD,
        offload_param=_OFFLOAD,
        configured=(_FLAG, "this is the run's own setting"),
        gpu=(_TEXT, "GPU judged for; NULL when none is known"),
        ranks=(_INT, "GPUs that share the states"),
        peak_allocated=(_BIG, "bytes, torch.cuda.max_memory_allocated"),
        needed=(_BIG, "bytes of the smallest GPU that runs it: context, communication and fragmentation included"),
        available=(_BIG, "bytes of the GPU: free when it is here, else total"),
        fits=(_FLAG, "needed <= available; NULL when no GPU is known"),
        host_needed=(_BIG, "bytes of host memory, all local ranks"),
        moment=(_TEXT, "moment of the step at which the peak happens"),
        sequence=(_INT, "tokens per record the activations were traced with"),
        micro_batch=(_INT, "records per GPU"),
    ),
    _table(
        "rehearsal",
        "the rehearsed run (one row)",
        model=(_TEXT, "miniature or weights"),
        architecture=(_TEXT, "class that was trained"),
        parameters=(_BIG, "parameters of the miniature"),
        trainable=(_BIG, "of which trained"),
        world_size=(_INT, "ranks"),
        zero_stage=(_INT, "ZeRO stage that ran"),
        device=(_TEXT, "cpu or cuda"),
        inputs=(_TEXT, "what was trained on: records with images, records, random tokens"),
        differs=(_LIST, "how the rehearsal differs from the run, beyond the size of the model"),
        steps=(_INT, "steps that were completed"),
        seconds=(_REAL, "wall time, start-up included"),
        outcome=(_TEXT, "ok, error, timeout, killed"),
        error_type=(_TEXT, "exception class"),
        error=(_TEXT, "exception text, one line"),
        phase=(_TEXT, "build, forward, backward, optimizer, save, reload"),
        no_gradient=(_FLAG, "backward found no tensor that requires grad"),
        versions=(_TEXT, "torch, transformers, peft, deepspeed that ran"),
    ),
    _table(
        "step",
        "one rehearsed step of one rank",
        rank=(_INT, "rank"),
        step=(_INT, "from 1"),
        loss=(_REAL, "NaN and infinity are kept"),
        grad_norm=(_REAL, "before clipping; NULL when the engine does not tell"),
        supervised=(_INT, "labels that are not -100"),
        tokens=(_INT, "tokens in the batch"),
        seconds=(_REAL, "wall time"),
        peak_bytes=(_BIG, "device memory peak; NULL on CPU"),
    ),
    _table(
        "gradient",
        "one trainable parameter after the first backward",
        name=(_TEXT, "dotted name"),
        component=_COMPONENT,
        adapter=(_FLAG, "belongs to the adapter"),
        status=(_TEXT, "none, zero, finite, nonfinite"),
        norm=(_REAL, "L2 norm"),
    ),
    _table(
        "update",
        "one parameter over the whole rehearsal",
        name=(_TEXT, "dotted name"),
        component=_COMPONENT,
        requires_grad=(_FLAG, "trainable"),
        adapter=(_FLAG, "belongs to the adapter"),
        changed=(_FLAG, "its values differ after the last step"),
        largest=(_REAL, "largest absolute change"),
    ),
    _table(
        "saved",
        "one tensor of the adapter that was saved, or should have been",
        name=(_TEXT, "name in the adapter file"),
        file=(_TEXT, "file name; NULL when it is missing"),
        numel=(_BIG, "elements in the file"),
        expected_numel=(_BIG, "elements in the model"),
        equal=(_FLAG, "value equals the trained one after reload"),
    ),
    _table(
        "hazard",
        "one dangerous operation seen while the model ran",
        kind=(_TEXT, "inplace-on-leaf, inplace-on-view-of-leaf"),
        operator=(_TEXT, "scatter_, __setitem__, add_ ..."),
        tensor=(_TEXT, "what was written to"),
        module=(_TEXT, "module that ran"),
        file=(_TEXT, "source file"),
        line=(_INT, "source line"),
        count=(_INT, "times it happened"),
    ),
    _table(
        "unknown",
        "one fact that could not be collected, and why",
        fact=(_TEXT, "table, or table.column"),
        reason=(_TEXT, "why"),
        count=(_BIG, "rows concerned; NULL for all"),
    ),
)

_SCALARS = {str: _TEXT, int: _BIG, float: _REAL, bool: _FLAG}


def _duck(annotation: object) -> str | None:
    """DuckDB type of a Run field; None for fields that are not columns (dictionaries)."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is list:
        return _LIST
    return _SCALARS.get(annotation) if isinstance(annotation, type) else None


def _run_table() -> Table:
    from lorachk.run import FIELDS

    columns = []
    for name, field in FIELDS.items():
        if (kind := _duck(field.type)) is None:
            continue
        columns += [
            Column(name, kind, field.metadata["description"]),
            Column(f"{name}_at", LOCATION, f"where {name} was read; NULL for a default"),
        ]
    return Table("run", "the run (one row)", tuple(columns))


@cache
def tables() -> dict[str, Table]:
    """All tables by name."""
    declared = {t.name: t for t in _DECLARED}
    return {"run": _run_table(), **declared}
