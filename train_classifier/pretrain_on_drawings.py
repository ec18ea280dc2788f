"""Pretrain the backbone on labelled drawings (coat patterns, things, scenes alone), for want of ImageNet weights.

Run:    python train_classifier/pretrain_on_drawings.py --backbone resnet18
Reads:  nothing; the drawings are made in memory and none of them is in the sample
Writes: runs/pretrain_on_drawings/seed0/checkpoint.pt, a file for every script's --weights
Measured with --drawings 500 --epochs 10 on one busy core: 5.4 min, accuracy on its own drawings 0.59.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import torch

from src import cli, compute, data, distributed, runs, training
from src.drawings import sample
from src.models import classifiers

DRAWINGS = 3000  # labelled drawings
SIZE = 64  # pixels a side of them; small ones allow more passes in the same time
EPOCHS = 6  # passes over them
BATCH_SIZE = 32  # photos a step
LR = 0.001  # learning rate of AdamW, where the cosine schedule starts


def main(settings):
    run = runs.Run(settings)
    compute.seed_everything(settings.seed)
    drawings, labels = (torch.from_numpy(x) for x in sample.pretext(DRAWINGS, SIZE, settings.seed))
    model = compute.to_device(classifiers.untrained(settings.backbone, len(sample.PRETEXT_KINDS)))
    optimizer = torch.optim.AdamW(model.parameters(), LR, fused=True)

    def loss_of(network, index, generator):
        own = distributed.shard(index)
        images = data.augment(compute.to_device(drawings[own]), data.randomness(index, generator))
        logits = network(compute.normalise(images))
        return training.classification_losses(logits, compute.to_device(labels[own]), len(index))

    training.fit(run, model, optimizer, lambda g: data.batches(range(DRAWINGS), BATCH_SIZE, g), loss_of, epochs=EPOCHS)
    run.save(classifiers.checkpoint(model, settings, sample.PRETEXT_KINDS))
    run.finish({}, "train_classifier/train_classifier_cat_dog.py")


if __name__ == "__main__":
    cli.run(main, globals())
