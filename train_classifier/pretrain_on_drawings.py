"""Pretrain the backbone on labelled drawings (coat patterns, things, scenes alone): data/drawings-mobilenet_v2.pt.

Run:    python train_classifier/pretrain_on_drawings.py
Reads:  nothing; the drawings are made in memory and none of them is in the sample
Writes: runs/pretrain_on_drawings/seed0/checkpoint.pt, a file for every script's --weights
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import torch

from src import cli, compute, data, distributed, runs, training
from src.drawings import sample
from src.models import classifiers

BACKBONE = "mobilenet_v2"  # small enough for two cores and for a file of 5 MB
DRAWINGS = 20000  # labelled drawings to learn from
HELD_OUT = 2000  # further ones to measure the accuracy on
SIZE = 96  # pixels a side of them
EPOCHS = 6  # passes over them
BATCH_SIZE = 64  # drawings a step
LR = 0.002  # learning rate of AdamW, where the cosine schedule starts


def main(settings):
    run = runs.Run(settings)
    compute.seed_everything(settings.seed)
    drawings, labels = (torch.from_numpy(x) for x in sample.pretext(DRAWINGS + HELD_OUT, SIZE, settings.seed))
    model = compute.to_device(classifiers.untrained(settings.backbone, len(sample.PRETEXT_KINDS)))
    optimizer = torch.optim.AdamW(model.parameters(), LR, fused=True)

    def loss_of(network, index, generator):
        own = distributed.shard(index)
        images = data.augment(compute.to_device(drawings[own]), data.randomness(index, generator))
        logits = network(compute.normalise(images))
        return training.classification_losses(logits, compute.to_device(labels[own]), len(index))

    training.fit(run, model, optimizer, lambda g: data.batches(range(DRAWINGS), BATCH_SIZE, g), loss_of, epochs=EPOCHS)
    model = model.half().float()  # as it is saved
    with torch.inference_mode():
        right = [
            model(compute.normalise(compute.to_device(drawings[some]))).argmax(1).cpu() == labels[some]
            for some in torch.arange(DRAWINGS, DRAWINGS + HELD_OUT).split(BATCH_SIZE)
        ]
    run.save(classifiers.checkpoint(model.half(), settings, sample.PRETEXT_KINDS))
    scores = {"held_out": {"accuracy": float(torch.cat(right).float().mean()), "drawings": HELD_OUT}}
    run.finish(scores, "train_classifier/train_classifier_cat_dog.py")


if __name__ == "__main__":
    cli.run(main, globals())
