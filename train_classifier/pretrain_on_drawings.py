"""Pretrain the backbone on labelled drawings: what made data/drawings-mobilenet_v2.pt, the demo's backbone.

A drawing has three labels: what it shows, the scene, which makes the network look at the background too, and the
coat's colour, at the whole pet. The classifier that is kept knows the first alone.

Run:    python train_classifier/pretrain_on_drawings.py
Reads:  nothing; the drawings are made in memory and none of them is in the sample
Writes: runs/pretrain_on_drawings/seed0/checkpoint.pt, a file for every script's --weights
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np
import torch

from src import cli, compute, data, distributed, runs, training
from src.drawings import figures, painter, sample
from src.models import classifiers

BACKBONE = "mobilenet_v2"  # small enough for two cores and for a file of 5 MB
DRAWINGS = 18000  # labelled drawings to learn from
HELD_OUT = 2000  # further ones to measure the accuracy on
SIZE = 112  # pixels a side of them
EPOCHS = 6  # passes over them
BATCH_SIZE = 64  # drawings a step
LR = 0.002  # learning rate of AdamW, where the cosine schedule starts


def main(settings):
    run = runs.Run(settings)
    compute.seed_everything(settings.seed)
    drawings, labels = (torch.from_numpy(x) for x in sample.pretext(DRAWINGS + HELD_OUT, SIZE, settings.seed))
    classes = [len(sample.PRETEXT_KINDS), len(painter.SCENES), len(figures.COLOURS) + 1]
    model = compute.to_device(classifiers.untrained(settings.backbone, sum(classes)))
    optimizer = torch.optim.AdamW(model.parameters(), LR, fused=True)

    def loss_of(network, index, generator):
        own = distributed.shard(index)
        images = data.augment(compute.to_device(drawings[own]), data.randomness(index, generator))
        logits = network(compute.normalise(images)).split(classes, dim=1)
        wanted = compute.to_device(labels[own]).unbind(1)
        parts = [training.classification_losses(*pair, len(index)) for pair in zip(logits, wanted, strict=True)]
        return {"loss": sum(part["loss"] for part in parts), "accuracy": parts[0]["accuracy"]}

    training.fit(run, model, optimizer, lambda g: data.batches(range(DRAWINGS), BATCH_SIZE, g), loss_of, epochs=EPOCHS)
    kept = [torch.nn.Parameter(values[: classes[0]].detach()) for values in (model.fc.weight, model.fc.bias)]
    model.fc.weight, model.fc.bias = kept
    model = compute.to_device(model.half().float())  # as it is saved
    with torch.inference_mode():
        found = np.concatenate([
            compute.to_numpy(model(compute.normalise(some)).argmax(1)) for some in drawings[DRAWINGS:].split(BATCH_SIZE)
        ])  # fmt: skip
    truth, pets = labels[DRAWINGS:, 0].numpy(), len(sample.PETS)
    same_species = (found // (pets // 2) == truth // (pets // 2))[truth < pets]
    rates = {"accuracy": found == truth, "pet_or_not": (found < pets) == (truth < pets), "cat_or_dog": same_species}
    scores = {"held_out": {name: float(right.mean()) for name, right in rates.items()}}
    run.save(classifiers.checkpoint(model.half(), settings, sample.PRETEXT_KINDS) | {"image_size": SIZE})
    run.finish(scores, "train_classifier/train_classifier_cat_dog.py", weights=str(run.path / "checkpoint.pt"))


if __name__ == "__main__":
    cli.run(main, globals())
