"""A small transformer under transformers' Trainer: the regularizer is a callback, and gradients are clipped as usual.

Run it: python examples/transformers_callback.py (some seconds; needs transformers; downloads nothing).
"""

import argparse
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from transformers.utils import logging

import onsphere as osp
from onsphere.integrations.transformers import RegularizerCallback


def sentences(count: int, seed: int) -> list[dict[str, object]]:
    """Random words in which 1 and 2 occur once each; the class is whether 1 comes first."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(3, 20, (count, 8), generator=generator)
    first, second = torch.rand(count, 8, generator=generator).topk(2).indices.T
    words[torch.arange(count), first], words[torch.arange(count), second] = 1, 2
    return [{"input_ids": row, "labels": int(label)} for row, label in zip(words, first < second, strict=True)]


def main(steps: int = 200, coefficient: float = 0.001) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    train, test = sentences(500, seed=0), sentences(500, seed=1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    for regularized in (False, True):
        torch.manual_seed(123)
        model = BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=8, **sizes))
        regularizer = osp.Regularizer(model, osp.MMA(), coefficient, osp.where.named("*.query", "*.key"))
        callbacks = [RegularizerCallback(regularizer)] if regularized else []  # the one line
        quiet = {"report_to": [], "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "logging_steps": steps}
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(folder, max_steps=steps, learning_rate=3e-3, **quiet)
            trainer = Trainer(model, arguments, train_dataset=train, callbacks=callbacks)
            trainer.train()
        with torch.no_grad():
            answers = model.eval()(torch.stack([row["input_ids"] for row in test])).logits.argmax(1).tolist()
        right = sum(answer == row["labels"] for answer, row in zip(answers, test, strict=True))
        print(f"{'with the regularizer' if regularized else 'without'}: accuracy {right / 5:.1f} %")
        for name, value in osp.integrations.curve(regularizer).items():  # the callback logs the same
            if name.startswith("minimum_angle_deg/"):
                print(f"  {name} {value:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--coefficient", type=float, default=0.001)
    main(**vars(parser.parse_args()))
