# SPDX-License-Identifier: Apache-2.0
"""The whole training: tokenizer, float model, calibration, quantized model, scores of both on all of the dev split."""

from __future__ import annotations

import gc
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import nn
from torch.utils.data import DataLoader
from transformers import set_seed
from transformers.utils import logging

from bitloom.hw.errors import BitloomError
from bitloom.qat import memory
from bitloom.qat.baseline import float_model, head_of_task, load_float
from bitloom.qat.checkpoint import load_plain, save_float, save_pretrained
from bitloom.qat.compress import Compression
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig, Dataset, load
from bitloom.qat.features import Collator, Features, LengthGrouped
from bitloom.qat.files import DataWarning
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import TaskData
from bitloom.qat.metrics import NAMES
from bitloom.qat.net.model import EncoderModel, FloatModel, QuantModel
from bitloom.qat.net.shape import EncoderShape, NetworkShape
from bitloom.qat.net.untrained import untrained_shape
from bitloom.qat.networks import NetworkConfig
from bitloom.qat.post_training import quantize
from bitloom.qat.resume import read_json, write_json
from bitloom.qat.splits import remarks, undefined
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.trainer import EncoderTrainer, process_state

QAT_STEP_COST = 2.0  # a quantized step takes about this many float steps: for the progress bar only
ONE_THREAD = 64  # hidden size up to which a second thread does not pay
VOCABULARY = 4096  # tokens, where neither data.vocab nor a checkpoint says
TARGETS = ("labels", "start_positions", "end_positions")  # of a batch
PARTS = ("float", "qat", "tokenizer", "logs", "checkpoints", "metrics.json", "settings.json")


class TrainError(BitloomError):
    """Settings that do not fit the data or the folder."""


def _leave_process_group() -> None:
    """Several processes: end their connections while nothing holds them any more; at the interpreter's end a thread of theirs may abort it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()  # the trainers' models, which hold them
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)


def train(model: NetworkConfig, quant: QuantConfig, training: TrainConfig, data: DataConfig, data_dir: Path | str | None,
          out: Path | str, *, compression: Sequence[MethodConfig] = (), resume: bool = True,
          progress: Callable[[float | None, str], None] | None = None) -> dict[str, Any]:  # fmt: skip
    """Train a float and a quantized encoder into the folder `out`.

    Writes out/tokenizer (tokenizer.json, vocab.txt), out/float (Hugging Face folder; with compression one of bitloom.qat.checkpoint), out/qat
    (bitloom.qat.checkpoint), out/logs (TensorBoard), out/metrics.json; while it runs, out/checkpoints too.

    data_dir  folder of data files; None: the generated corpus or the Hugging Face hub (bitloom.qat.data.load)
    compression  methods in their order (bitloom.qat.methods.read makes each from a mapping)
    resume    continue what a killed run with the same settings left in `out`: the weights come out the same, bit for
              bit; False: remove that and start anew
    progress  progress(fraction 0 .. 1 or None, text)
    returns   what metrics.json holds: {metric, examples, float, qat, scores: {float, qat}, curves: [{phase, step, loss,
              metric}], seconds: {float, qat}, exponents, vocabulary, notes: what of a checkpoint was new, which score is not defined}
    raises    DataError, TokenizerError, QuantError, MethodError, TrainError: one line that says what to do
    """
    ours = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    run = _Run(model, quant, training, data, data_dir, Path(out), progress or (lambda fraction, text: None), Compression(compression, quant, training))
    with _no_progress_bars(), _threads_for(model.hidden):
        metrics = run.all(resume)
    if ours:
        del run
        _leave_process_group()
    return metrics


@dataclass(frozen=True, kw_only=True)
class Start:
    """A trained float model with its data: what a search for bits begins with. model: in evaluation mode; train, dev: features."""

    model: nn.Module
    dataset: Dataset
    tokenizer: TextTokenizer
    train: Features
    dev: Features


@dataclass(frozen=True, kw_only=True)
class Read:
    """A task's data as a training has it, what its compression makes of the examples and adds to the items included.

    own  examples of the training split itself: what is made of example i has a number that is i modulo `own`
    """

    dataset: Dataset
    tokenizer: TextTokenizer
    train: Features
    dev: Features
    compression: Compression
    own: int


def read_task(model: NetworkConfig, quant: QuantConfig, training: TrainConfig, data: DataConfig, data_dir: Path | str | None,
              out: Path | str, *, compression: Sequence[MethodConfig] = (),
              progress: Callable[[float | None, str], None] | None = None) -> Read:  # fmt: skip
    """What `train` does before its first phase. Arguments and errors as there."""
    run = _Run(model, quant, training, data, data_dir, Path(out), progress or (lambda fraction, text: None), Compression(compression, quant, training))
    with _no_progress_bars():
        run.open(resume=True)
        dataset, tokenizer, train, dev = run._read()
        return Read(dataset=dataset, tokenizer=tokenizer, train=train, dev=dev, compression=run.compression, own=run.own)


def train_float(model: NetworkConfig, quant: QuantConfig, training: TrainConfig, data: DataConfig, data_dir: Path | str | None,
                out: Path | str, *, compression: Sequence[MethodConfig] = (),
                progress: Callable[[float | None, str], None] | None = None) -> Start:  # fmt: skip
    """The first part of `train` alone, into the same files: a later `train` with any bits goes on from out/float. Arguments and errors as there."""
    run = _Run(model, quant, training, data, data_dir, Path(out), progress or (lambda fraction, text: None), Compression(compression, quant, training))
    with _no_progress_bars(), _threads_for(model.hidden):
        run.open(resume=True)
        return run.start()


class _Run:
    """The steps of one training, each skipped if its result is already there."""

    def __init__(self, model, quant, training, data, data_dir, out, progress, compression):
        self.model, self.quant, self.training, self.data, self.out, self.compression = model, quant, training, data, out, compression
        quant.check_training(training.compile)
        self.data_dir, self.state = data_dir, process_state()
        self.report = progress if self.state.is_main_process else lambda fraction, text: None

    def all(self, resume: bool) -> dict[str, Any]:
        self.open(resume)
        path = self.out / "metrics.json"
        metrics = read_json(path, ("metric", "float", "qat", "curves")) if path.is_file() else self._steps()
        self._on_main(lambda: write_json(path, metrics))
        self._on_main(lambda: shutil.rmtree(self.out / "checkpoints", ignore_errors=True))
        return metrics

    def start(self) -> Start:
        """Up to the float model."""
        dataset, tokenizer, train, dev = self._read()
        self._float(dataset, tokenizer, train, dev)
        return Start(model=self._reload_float(dataset), dataset=dataset, tokenizer=tokenizer, train=train, dev=dev)

    def _read(self) -> tuple[Dataset, TextTokenizer, Features, Features]:
        self.report(None, "reading the data")
        dataset = load(self.data, self.data_dir)
        _check_task(dataset, self.model)
        for text in remarks(dataset):
            warnings.warn(text, DataWarning, stacklevel=2)
        tokenizer, self.own = self._tokenizer(dataset), len(dataset.train)
        dataset = self.compression.examples(dataset, tokenizer)
        train, dev = (Features(dataset, part, tokenizer, self.model.max_tokens) for part in (dataset.train, dataset.dev))
        self.compression.prepare(TaskData(dataset=dataset, tokenizer=tokenizer, train=train, model=self.model, training=self.training,
                                          device=self.state.device, report=partial(self.report, None)))  # fmt: skip
        return dataset, tokenizer, train, dev

    def _steps(self) -> dict[str, Any]:
        dataset, tokenizer, train, dev = self._read()
        floats = self._float(dataset, tokenizer, train, dev)
        quantized = self._quantized(dataset, tokenizer, train, dev)
        scores = {"float": floats["scores"], "quantized": quantized["scores"]}
        blind = [undefined(dataset, name) for name, of in scores.items() if of[dataset.metric] is None]
        return {
            "metric": dataset.metric, "examples": len(dataset.dev),
            "float": floats["scores"][dataset.metric], "qat": quantized["scores"][dataset.metric],
            "scores": {"float": floats["scores"], "qat": quantized["scores"]},
            "curves": floats["curve"] + quantized["curve"],
            "seconds": {"float": floats["seconds"], "qat": quantized["seconds"]},
            "exponents": quantized["exponents"], "vocabulary": len(tokenizer), "notes": floats["notes"] + blind,
        }  # fmt: skip

    def _on_main(self, action: Callable[[], Any]) -> None:
        """Do it in the main process; all the others wait."""
        if self.state.is_main_process:
            action()
        self.state.wait_for_everyone()

    def open(self, resume: bool) -> None:
        """Make the folder, and see that what is in it comes from the same settings."""
        groups = {"model": self.model, "quantization": self.quant, "training": self.training, "data": self.data}
        settings = {name: group.model_dump(mode="json") for name, group in groups.items()}
        if self.compression.changes:
            settings["compression"] = [entry.model_dump(mode="json") for entry in self.compression.entries]
        if not resume:
            self._on_main(lambda: _remove(self.out))
        path = self.out / "settings.json"
        if path.is_file() and (before := read_json(path, groups)) != settings:
            changed = ", ".join(name for name in settings | before if settings.get(name) != before.get(name))
            raise TrainError(f"{self.out}: got a training with other settings ({changed}), must be the same to resume; "
                             "choose another folder or start anew (resume=False)")  # fmt: skip
        self.state.wait_for_everyone()
        self._on_main(lambda: (self.out.mkdir(parents=True, exist_ok=True), write_json(path, settings)))

    def _tokenizer(self, dataset: Dataset) -> TextTokenizer:
        folder = self.out / "tokenizer"

        def make() -> None:
            if not (folder / "vocab.txt").is_file():  # which save() writes last
                self.report(None, "making the vocabulary")
                make_tokenizer(self.data.vocab, self.model.checkpoint, dataset).save(folder)

        self._on_main(make)
        return TextTokenizer.load(folder)

    def _float(self, dataset: Dataset, tokenizer: TextTokenizer, train: Features, dev: Features) -> dict[str, Any]:
        """Train (or just load) and score the float model; out/float is the sign that it is done."""
        if (self.out / "float").is_dir():
            return read_json(self.out / "float" / "bitloom_scores.json", ("scores", "curve", "seconds", "notes"))
        set_seed(self.training.seed)
        shape = untrained_shape(self.model, labels=dataset.num_labels, vocabulary=len(tokenizer), task=dataset.task)
        steps = self.training.float_epochs or self.training.qat_epochs
        memory.require(shape, min(self.training.batch_size, len(train)) if steps else 0, self.state.device)
        model, notes = self._begun(dataset, tokenizer, shape)
        self.compression.check(shape)
        if self.compression.changes:
            model = self.compression.start(model)
        QuantModel.from_float(model, self.quant, self.model.max_tokens)  # settings that do not fit fail now, not hours later
        model, result = self._phase("float", model, tokenizer, train, dev)
        result |= {"notes": notes}

        def save() -> None:
            folder = self.out / "float.tmp"
            shutil.rmtree(folder, ignore_errors=True)
            save_float(model, folder, dataset.label_names) if self.plain else model.save_pretrained(folder)
            tokenizer.save(folder)
            write_json(folder / "bitloom_scores.json", result)
            folder.rename(self.out / "float")

        self._on_main(save)
        return result

    @property
    def plain(self) -> bool:
        """The float model is one of ours, not Hugging Face's."""
        return self.compression.changes or self.model.network != EncoderShape.kind

    def _begun(self, dataset: Dataset, tokenizer: TextTokenizer, shape: NetworkShape) -> tuple[nn.Module, list[str]]:
        """The float model before any training, and what of a checkpoint is to be told."""
        if self.model.network != EncoderShape.kind:
            return FloatModel(shape).to(self.state.device), []
        head = head_of_task(dataset.task, self.model.head)
        model = float_model(self.model, len(tokenizer), dataset.num_labels, head=head, names=dataset.label_names)
        notes = getattr(model, "notes", [])
        if dataset.train.pairs is not None and getattr(model.config, "type_vocab_size", 0) < 2:
            notes.append(f"checkpoint {self.model.checkpoint}: it has no second segment: the texts of a pair are told apart by the token between them alone")
        for note in notes:
            self.report(None, note)
        if getattr(model, "fresh", []) and not (self.training.float_epochs or self.training.qat_epochs):
            raise TrainError(f"training: got no epochs of either kind, must train a head that is new; set training.float_epochs ({notes[0]})")
        model.config.id2label = dict(enumerate(dataset.label_names)) or model.config.id2label
        model.config.label2id = {name: i for i, name in model.config.id2label.items()}
        return FloatModel.from_hugging_face(model, self.model.max_tokens) if self.plain else model, notes

    def _quantized(self, dataset: Dataset, tokenizer: TextTokenizer, train: Features, dev: Features) -> dict[str, Any]:
        """Calibrate and fine-tune the quantized model."""
        start = self._reload_float(dataset)
        set_seed(self.training.seed)
        model, exponents = quantize(start, self.quant, self.model.max_tokens, calibration_batches(train, tokenizer, self.training))
        model, result = self._phase("qat", model, tokenizer, train, dev, own=start)
        self._on_main(lambda: save_pretrained(model, self.out / "qat"))
        return {**result, "exponents": exponents}

    def _reload_float(self, dataset: Dataset) -> nn.Module:
        """From the folder in any case, so that a resumed run starts from what an unbroken one does."""
        if self.plain:
            return load_plain(self.out / "float").to(self.state.device)
        model = load_float(self.out / "float", head=head_of_task(dataset.task, self.model.head), labels=dataset.num_labels, dropout=self.model.dropout)
        return model.to(self.state.device)

    def _phase(self, phase: str, model: nn.Module, tokenizer: TextTokenizer, train: Features, dev: Features,
               own: nn.Module | None = None) -> tuple[nn.Module, dict[str, Any]]:  # fmt: skip
        """Train a model; the one that it has become, and its scores. own: the float model behind a quantized one."""
        epochs = getattr(self.training, f"{phase}_epochs")
        began, learning_rate = time.monotonic(), getattr(self.training, f"{phase}_learning_rate")
        batches = partial(calibration_batches, train, tokenizer, self.training, targets=True)
        needed = self.compression.methods and (self.compression.changes or phase == "qat" and epochs)
        work = self.compression.begin(phase, model, batches, own) if needed else None

        def trainer_of(model: nn.Module) -> EncoderTrainer:
            return EncoderTrainer(
                model, tokenizer, train, dev, self.training, self.out / "checkpoints" / phase, epochs=epochs, learning_rate=learning_rate,
                logs=self.out / "logs" / phase, progress=self._share(phase), work=work,
            )  # fmt: skip

        if epochs and self.training.compile:
            compiled(model)
        trainer = trainer_of(model)
        if epochs:
            trainer.resume()
        _check_finite(model, phase)
        curve = trainer.curve(phase)  # before the final score, which is that of the last epoch once more
        if work is not None:
            model = self.compression.finish(work)
            trainer = trainer if model is work.model else trainer_of(model)
        scores = trainer.evaluate()
        kept = {name: scores[f"eval_{name}"] for name in NAMES if f"eval_{name}" in scores}
        return model, {"scores": kept, "curve": curve, "seconds": round(time.monotonic() - began, 1)}

    def _share(self, phase: str) -> Callable[[float, str], None]:
        """Progress of a phase as a part of the whole."""
        first, second = self.training.float_epochs, self.training.qat_epochs * QAT_STEP_COST
        whole = (first + second) or 1.0
        start, share = (0.0, first / whole) if phase == "float" else (first / whole, second / whole)
        return lambda fraction, text: self.report(start + share * fraction, f"{phase}: {text}")


def compiled(model: nn.Module) -> None:
    """Let torch.compile fuse a model's forward and backward, for any batch and length; parameters and their names stay as they are.

    Of an encoder of ours the network alone: what is around it looks at the mask's values.
    """
    (model.network if isinstance(model, EncoderModel) else model).compile(dynamic=True)


def calibration_batches(train: Features, tokenizer: TextTokenizer, training: TrainConfig, targets: bool = False) -> list[dict[str, torch.Tensor]]:
    """The first `calibration_batches` batches of the training data in the seed's order, for `calibrate`. targets: with their labels."""
    sampler = LengthGrouped(train.lengths, training.batch_size, training.seed)
    loader = DataLoader(train, training.batch_size, sampler=sampler, collate_fn=Collator(tokenizer.pad_id),
                        generator=torch.Generator())  # fmt: skip
    keys = ("input_ids", "attention_mask", "token_type_ids", *(TARGETS if targets else ()))
    return [{key: batch[key] for key in keys if key in batch} for batch in islice(loader, training.calibration_batches)]


def _check_finite(model: nn.Module, phase: str) -> None:
    """Refuse a model that diverged: later steps would only fail for reasons that do not name this one."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise TrainError(
                f"training: got values that are not finite in '{name}' after the {phase} phase, must be finite; lower training.{phase}_learning_rate"
            )


def _check_task(dataset: Dataset, model: NetworkConfig) -> None:
    want = "token" if dataset.task in ("span", "token_classification") else "sequence"
    if model.head != want:
        raise TrainError(f"model.head: got '{model.head}', must be '{want}' for '{dataset.name}' ({dataset.task}); set model.head: {want}")


def make_tokenizer(vocab: int | str | None, checkpoint: str | None, dataset: Dataset) -> TextTokenizer:
    if isinstance(vocab, int) and checkpoint is not None:
        raise TrainError(f"data.vocab: got a size ({vocab}) with a checkpoint, must be its own vocabulary; remove data.vocab")
    if vocab is None and checkpoint is None:
        vocab = VOCABULARY
    if isinstance(vocab, int):
        return TextTokenizer.train(dataset.train.all_texts(), vocab)
    return TextTokenizer.load(vocab or checkpoint)


@contextmanager
def _no_progress_bars():
    """`progress` tells what happens; transformers' own bars for each file would tear it apart."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _threads_for(hidden: int | None):
    """One thread for a narrow encoder: its operators are too short to share, most of all when busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if hidden is not None and hidden <= ONE_THREAD else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _remove(out: Path) -> None:
    for name in PARTS:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
