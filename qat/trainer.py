# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face Trainer for encoders: distillation, word dropout, length-grouped batches, exact resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn import functional as TF
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_pt_utils import nested_gather

from bitloom.qat.compress import Hooks
from bitloom.qat.config import TrainConfig
from bitloom.qat.features import Collator, Features, LengthGrouped
from bitloom.qat.methods.method import Work
from bitloom.qat.metrics import NAMES
from bitloom.qat.net.operators import Linear
from bitloom.qat.resume import LOSSES, check, last_checkpoint
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.weights.ternary import TernaryQuant

Progress = Callable[[float, str], None]
INPUTS = {"input_ids", "token_type_ids", "attention_mask", "labels", "start_positions", "end_positions"}  # of a model


class EncoderTrainer(Trainer):
    """Trains and evaluates a BERT with a sentence or span head, on any device and any number of processes.

    model     Hugging Face model of a known family with a head, or a calibrated QuantModel
    train     features; of what methods add to their items the model sees nothing
    dev       features, scored after each epoch; all of them
    folder    where checkpoints go: weights, optimizer, schedule, random state
    epochs, learning_rate  of this phase
    work      of the methods of compression (bitloom.qat.compress.Compression.begin)

    `batch_size` is per process. `resume()` continues from the last whole checkpoint in `folder`, or starts.
    """

    def __init__(self, model: nn.Module, tokenizer: TextTokenizer, train: Features | None, dev: Features | None,
                 cfg: TrainConfig, folder: Path | str, *, epochs: float, learning_rate: float,
                 logs: Path | str | None = None, progress: Progress | None = None, work: Work | None = None):  # fmt: skip
        self.work = work
        self.cfg, self.unk_id, self.special_ids = cfg, tokenizer.unk_id, tokenizer.special_ids
        self.sampler: LengthGrouped | None = None
        args = _arguments(cfg, folder, epochs, learning_rate)
        args.label_names = ["start_positions", "end_positions"] if (dev or train).windows is not None else ["labels"]
        super().__init__(model, args, data_collator=Collator(tokenizer.pad_id), train_dataset=train, eval_dataset=dev,
                         compute_metrics=self._score if dev is not None else None)  # fmt: skip
        self.model_accepts_loss_kwargs = False  # compute_loss gives a mean over the batch
        self.remove_callback(PrinterCallback)
        self.add_callback(_EpochOrder(self))
        if ternary := [m for m in model.modules() if isinstance(m, Linear) and isinstance(m.weight_grid, TernaryQuant)]:
            self.add_callback(_Curvature(ternary))
        self.add_callback(_EpochEnd(self))
        self.losses = _Losses(self)
        self.add_callback(self.losses)
        if work is not None:
            self.add_callback(Hooks(work))
        if logs is not None:
            self.add_callback(_tensorboard(Path(logs)))
        if progress is not None:
            self.add_callback(_Progress(progress))

    def resume(self) -> None:
        """Train to the end, from the last whole checkpoint if there is one; weights, scores and curve come out the same.

        Raises ResumeError: a file of that checkpoint is not whole.
        """
        checkpoint = last_checkpoint(self.args.output_dir)
        if checkpoint is not None and (state := self._whole(checkpoint)).global_step >= state.max_steps:
            self._load_from_checkpoint(checkpoint)  # killed after the last step: the Trainer would take one more
            self.state = state
            return
        self.train(resume_from_checkpoint=checkpoint)

    def _whole(self, checkpoint: str) -> TrainerState:
        schedule = self.create_scheduler(1, self.create_optimizer()).state_dict()
        process = self.args.process_index if self.args.world_size > 1 else None
        state = check(checkpoint, self.model, self.optimizer.param_groups, set(schedule), process)
        self.optimizer = self.lr_scheduler = None  # the Trainer makes them, for as many steps as there are
        return state

    def _save_checkpoint(self, model, trial):
        """With the losses since the last log, so that a resumed run logs what an unbroken one does."""
        self.losses.keep(nested_gather(self._tr_loss, self.args.parallel_mode).mean().item(), self._globalstep_last_logged)
        super()._save_checkpoint(model, trial)

    def curve(self, phase: str) -> list[dict]:
        """Loss and dev metric by step, over resumes too: [{phase, step, loss | None, metric | None}]."""
        points = []
        for log in self.state.log_history:
            point = {"phase": phase, "step": log["step"], "loss": log.get("loss"), "metric": None}
            if self.eval_dataset is not None:
                point["metric"] = log.get(f"eval_{self.eval_dataset.metric}")
            if point["loss"] is not None or point["metric"] is not None:
                points.append(point)
        return points

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW; matrices decay, biases and LayerNorm do not."""
        if self.optimizer is None:
            parameters = [p for p in (model or self.model).parameters() if p.requires_grad]
            groups = [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.args.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate, fused=True)
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The task's loss, and what the methods of compression make of it; they see the words that are dropped."""
        inputs = dict(inputs)
        whole = dict(inputs)
        for key in whole.keys() - INPUTS:
            del inputs[key]
        if model.training and self.cfg.word_dropout:
            inputs["input_ids"] = self._drop_words(inputs["input_ids"])
        outputs = model(**as_taken(model, inputs))
        loss, labels = outputs.loss, inputs.get("labels")
        if model.training and self.cfg.label_smoothing and labels is not None and not labels.is_floating_point():
            loss = TF.cross_entropy(outputs.logits.flatten(0, -2), labels.flatten(), label_smoothing=self.cfg.label_smoothing)
        if self.work is not None and model.training:
            for method in self.work.methods:
                loss = method.loss(self.work, loss, whole, outputs)
        return (loss, outputs) if return_outputs else loss

    def _drop_words(self, ids: Tensor) -> Tensor:
        """Replace tokens by [UNK] at random, so that no single word decides; special tokens stay."""
        special = torch.isin(ids, torch.tensor(self.special_ids, device=ids.device))
        drawn = torch.rand(ids.shape, device=ids.device) < self.cfg.word_dropout
        return ids.masked_fill(drawn & ~special, self.unk_id)

    def evaluate(self, *args, **kwargs):
        """As Trainer.evaluate; the random state stays, so that a resumed run that skips one goes on alike."""
        state = torch.get_rng_state()
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            torch.set_rng_state(state)

    def _score(self, prediction) -> dict[str, float]:
        return self.eval_dataset.score(prediction.predictions)

    def _get_train_sampler(self, train_dataset=None):
        train = train_dataset or self.train_dataset
        self.sampler = LengthGrouped(train.lengths, self.args.train_batch_size, self.args.seed)
        return self.sampler


class _EpochOrder(TrainerCallback):
    """Tells the sampler which epoch begins: accelerate does so too, but not on a resume with several processes."""

    def __init__(self, trainer: EncoderTrainer):
        self.trainer = trainer

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.trainer.sampler.set_epoch(int(state.epoch or 0))


class _Curvature(TrainerCallback):
    """Gives ternary weights the optimizer's second moments of them, those of a resumed run too."""

    def __init__(self, layers: list[Linear]):
        self.layers = layers

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        for layer in self.layers:
            layer.weight_grid.curvature = optimizer.state.get(layer.weight, {}).get("exp_avg_sq")


class _EpochEnd(TrainerCallback):
    """Scores the dev split at an epoch's last step, before its checkpoint is saved.

    The Trainer's own way is after it, and a run killed in between loses the score.
    """

    def __init__(self, trainer: EncoderTrainer):
        self.trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        if self.trainer.eval_dataset is not None and (state.epoch == int(state.epoch) or state.global_step >= state.max_steps):
            control.should_evaluate = True
        return control


class _Losses(TrainerCallback, ExportableState):
    """Losses since the last log, kept in a checkpoint's trainer_state.json."""

    def __init__(self, trainer: EncoderTrainer | None = None):
        self.trainer, self.kept = trainer, {}

    def keep(self, total: float, logged: int) -> None:
        self.kept = {"total": total, "logged": logged}

    def state(self) -> dict:
        return {"args": {}, "attributes": {"kept": self.kept}}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step and (kept := state.stateful_callbacks[LOSSES]["attributes"]["kept"]):
            self.trainer._tr_loss += kept["total"]
            self.trainer._globalstep_last_logged = kept["logged"]


class _Progress(TrainerCallback):
    """Reports the fraction of the phase that is done, and its latest loss and score."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and state.max_steps:
            shown = {k.removeprefix("eval_"): v for k, v in (logs or {}).items() if k in _SHOWN and v is not None}
            text = ", ".join(f"{name} {float(value):.3f}" for name, value in shown.items())
            self.progress(min(1.0, state.global_step / state.max_steps), f"step {state.global_step} {text}".rstrip())


_SHOWN = ("loss", *(f"eval_{name}" for name in NAMES))


def _tensorboard(folder: Path) -> TrainerCallback:
    callback = TensorBoardCallback()
    callback.logging_dir = str(folder)
    return callback


def _arguments(cfg: TrainConfig, folder: Path | str, epochs: float, learning_rate: float) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=cfg.batch_size,
        per_device_eval_batch_size=cfg.eval_batch_size,
        num_train_epochs=epochs,
        max_steps=cfg.max_steps or -1,
        learning_rate=learning_rate,
        warmup_steps=cfg.warmup_ratio,  # below 1 it is a share of all steps
        weight_decay=cfg.weight_decay,
        seed=cfg.seed,
        save_strategy="steps",
        save_steps=cfg.save_steps,
        save_total_limit=1,  # the older one is removed when the newer is whole
        eval_strategy="no",  # `_EpochEnd` says when
        logging_steps=cfg.logging_steps,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,  # the collator makes just what the model takes
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def process_state() -> PartialState:
    """Which process of how many this is, and its device, set up as the Trainer will: accelerate alone may differ."""
    with TemporaryDirectory() as unused:
        _ = TrainingArguments(output_dir=unused).device
    return PartialState()


def as_taken(model: nn.Module, inputs: dict) -> dict:
    """Without segments where a family has none, or a single one."""
    config = getattr(getattr(model, "module", model), "config", None)  # `module`: of several processes
    if config is None or getattr(config, "type_vocab_size", 0) > 1:
        return inputs
    return {key: value for key, value in inputs.items() if key != "token_type_ids"}


@torch.no_grad()
def predict(model: nn.Module, features: Features, pad_id: int, batch_size: int = 64) -> list[np.ndarray]:
    """A model's logits for each item: [C], [T, C] of a label for each token, or [T, 2] (start, end) for spans. On the model's device, in order."""
    model.eval()
    device, collate = next(model.parameters()).device, Collator(pad_id)
    order = sorted(range(len(features)), key=features.lengths.__getitem__)
    answers: list = [None] * len(features)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        keys = ("input_ids", "token_type_ids")
        batch = collate([{key: features[i][key] for key in keys} for i in part])
        outputs = model(**as_taken(model, {key: value.to(device) for key, value in batch.items()}))
        spans = "start_logits" in outputs
        logits = torch.stack([outputs.start_logits, outputs.end_logits], -1) if spans else outputs.logits
        for i, row in zip(part, logits.float().cpu().numpy(), strict=True):
            answers[i] = row[: len(features[i]["input_ids"])] if row.ndim == 2 else row
    return answers
