"""The training loop that every script shares, and the trainings of classifiers and segmenters."""

import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from src import InputError, compute, data, distributed
from src.data import cache
from src.models import classifiers, segmenters
from src.postprocessing import boxed, masks
from src.report import pictures

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
PROJECTION_WEIGHT = 0.5  # of projection_loss beside the cross-entropy


def fit(run, model, optimizer, make_batches, loss_of, *, epochs, find_unused_parameters=False):
    """Train with a cosine schedule; one row of metrics.csv, one line and one resumable state an epoch.

    Args:
        run: runs.Run; an interrupted run goes on after its last whole epoch, with the same result as without a break.
        model: already placed on the device; left in evaluation mode.
        optimizer: its learning rates are where the schedule starts.
        make_batches: function, torch.Generator to the list of batches of one epoch.
        loss_of: function, (network, batch, torch.Generator) to a dict of scalar tensors; "loss" is minimised. The
            network is the model, or DistributedDataParallel around it; `distributed` says how a loss is shared out.
        epochs: passes over the data where --passes is 1.
        find_unused_parameters: see distributed.parallel.

    Raises:
        InputError: the loss is not finite; names the epoch.
    """
    network = distributed.parallel(
        model, sync_batchnorm=run.settings.sync_batchnorm, find_unused_parameters=find_unused_parameters
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    epochs = max(1, round(epochs * run.settings.passes))
    done, state = 0, run.resume()
    if state:
        done = state["epoch"]
        try:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            if not 0 < done <= epochs:
                raise ValueError
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            text = f"{run.path / 'resume.pt'} is of another training"
            raise InputError(f"{text}; without that file the same command starts from the first epoch") from None
        run.log(f"resuming after epoch {done}")
    for epoch in range(done + 1, epochs + 1):
        start = time.monotonic()
        # Seeded by epoch, so that a resumed run sees what an unbroken one sees.
        epoch_seed = run.settings.seed * 100_003 + epoch
        torch.manual_seed(epoch_seed)
        generator = torch.Generator().manual_seed(epoch_seed)
        batches = make_batches(generator)
        distributed.check_batch(min(batches, key=len))
        model.train()
        sums = {}
        for step, batch in enumerate(compute.progress(batches, f"epoch {epoch}/{epochs}", leave=False)):
            progress = (epoch - 1 + step / len(batches)) / epochs
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * progress)) / 2
            losses = backward(run.settings, network, optimizer, loss_of, batch, generator)
            optimizer.step()
            for name, value in losses.items():  # summed on the device: reading each would wait for it
                sums[name] = sums.get(name, 0) + value.detach().float()
        distributed.broadcast_buffers(model)
        steps = len(batches) * distributed.world_size()
        row = {name: float(distributed.all_reduce(total)) / steps for name, total in sums.items()}
        if not math.isfinite(row["loss"]):
            raise InputError(f"the loss became {row['loss']} in epoch {epoch} of {run.path}; try a lower learning rate")
        seconds = time.monotonic() - start
        run.row(epoch, {**row, "seconds": seconds})
        figures = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
        run.log(f"epoch {epoch}/{epochs}: {figures}, {seconds:.0f} s, {seconds * (epochs - epoch):.0f} s left")
        run.keep({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch})
    model.eval()
    if distributed.rank() == 0:
        pictures.curves(run.path)


def backward(settings, network, optimizer, loss_of, batch, generator):
    """One step's losses, with their gradients in the parameters."""
    with compute.autocast(settings):
        losses = loss_of(network, batch, generator)
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    return losses


@torch.inference_mode()
def features_once(run, photos, model, chunk=32):
    """Compute the features of each trainval photo and of its mirror image, for a backbone that does not change.

    They are float16 in a file, 2 C h w bytes a view (0.5 MB for MobileNetV2 and 1.2 MB for ResNet-50 at 224 px). The
    processes of a machine share file and work.

    Args:
        model: has `features`, images to (features (N, C, h, w), ...).

    Returns:
        function, (photo indices (n,), torch.Generator) to features (n, C, h, w) of a random view of each photo of
        this process's shard.
    """

    def look(index, mirrored):
        images = compute.normalise(photos.batch(index))
        with compute.autocast(run.settings):
            return compute.to_numpy(model.features(images.flip(-1) if mirrored else images)[0].half())

    row_of = cache.rows(photos)
    views_of = cache.scratch(run, np.float16, (len(photos.trainval), 2, *look(photos.trainval[:1], False).shape[1:]))
    number, count = distributed.local_rank()
    for some in compute.progress(data.chunks(photos.trainval[number::count], chunk), "features", leave=False):
        for view in (0, 1):
            views_of[row_of[some], view] = look(some, view == 1)
    distributed.barrier()

    def random_views(index, generator):
        views = torch.randint(2, (len(index),), generator=generator).numpy()
        chosen = views_of[row_of[distributed.shard(index)], distributed.shard(views)]
        return compute.to_device(chosen).float()

    return random_views


def sgd(groups):
    """SGD with momentum over (parameters, learning rate) pairs; BatchNorm weights and biases get no weight decay."""
    options = []
    for parameters, rate in groups:
        parameters = [p for p in parameters if p.requires_grad]
        if parameters and rate:  # class-specific CCAM has no backbone to train
            options += _decay_weights_only(parameters, WEIGHT_DECAY, lr=rate)
    if not options:
        raise InputError("nothing would be trained; give --head-lr above 0")
    return torch.optim.SGD(options, momentum=MOMENTUM, nesterov=True, fused=True)


def adamw(model, *, lr):
    """AdamW; BatchNorm weights and biases get no weight decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(_decay_weights_only(parameters, 0.01), lr, fused=True)


def _decay_weights_only(parameters, weight_decay, **options):
    """Two groups of an optimiser: weights, and what has no weight decay, BatchNorm's weights and all biases."""
    weights, rest = ([p for p in parameters if (p.ndim > 1) == wanted] for wanted in (True, False))
    return [
        {"params": weights, "weight_decay": weight_decay, **options},
        {"params": rest, "weight_decay": 0.0, **options},
    ]


def classification_losses(logits, labels, count, *, label_smoothing=0.0):
    """Cross-entropy and accuracy of this process's part (n, K) of a batch of `count`; labels int64 (n,)."""
    parts = {
        "loss": F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing),
        "accuracy": (logits.argmax(1) == labels).float().mean(),
    }
    return {name: distributed.batch_mean(mean, len(labels), count) for name, mean in parts.items()}


def projection_loss(probability, inside):
    """How far the rows and columns of boxes are from having a pixel of the subject each.

    After the projection term of BoxInst (Tian, Shen, Wang and Chen, CVPR 2021): Dice of the highest probability inside
    the boxes of each row and of the boxes' rows, the same of columns. What lies outside, which BoxInst's term sees,
    is left to the cross-entropy. Where a box touches the sides of a crop, the crop may have cut the subject out of its
    rows (or columns), so they are left out.

    Args:
        probability: of the subject, this process's part (n, S, S) of a batch.
        inside: bool (n, S, S), the photos' boxes; all False where there is none.

    Returns:
        scalar in [0, 2], a mean over the photos whose boxes are whole; averaged over processes, that of the batch.
    """
    total, inside = 0, inside.float()
    for axis in (2, 1):
        found, wanted = (probability * inside).amax(axis), inside.amax(axis)
        cut = torch.maximum(inside.select(axis, 0), inside.select(axis, -1)).amax(1)
        whole = (1 - cut) * wanted.amax(1)
        dice = 2 * (found * wanted).sum(1) / (found**2 + wanted**2).sum(1).clamp_min(1)
        total = total + ((1 - dice) * whole).sum() / distributed.all_reduce(whole.sum()).clamp_min(1)
    return total * distributed.world_size()


def train_classifier(run, photos, model, labels, classes, *, epochs, batch_size, lr, head_lr, frozen_stages):
    """Fine-tune a classifier on image-level labels and save it.

    Args:
        photos: data.PhotoSet; trained on trainval and, where loaded, the background photos.
        model: classifiers.Classifier to start from; its head is replaced.
        labels: int64 (P+B,) class of each photo; classes: their names.
        lr, head_lr: learning rates of the backbone and of the new fully connected layer.
        frozen_stages: first stages of the backbone that stay as they are.

    Returns:
        scores: accuracy on trainval (what it learned from) and on test, of the photos with a class.

    Raises:
        InputError: there is one class only.
    """
    if len(classes) < 2:
        raise InputError(f"{photos.root} has fewer than two classes, which a classifier could tell apart")
    compute.seed_everything(run.settings.seed)
    model.fc = torch.nn.Linear(model.fc.in_features, len(classes))
    model = compute.to_device(model)
    model.backbone.freeze(frozen_stages)
    learn = np.concatenate([photos.trainval[labels[photos.trainval] >= 0], photos.background])
    optimizer = sgd([(model.backbone.parameters(), lr), (model.fc.parameters(), head_lr)])

    def loss_of(network, index, generator):
        logits = network(data.training_images(photos, index, generator))
        own = compute.to_device(labels[distributed.shard(index)])
        return classification_losses(logits, own, len(index), label_smoothing=0.1)

    fit(run, model, optimizer, lambda g: data.batches(learn, batch_size, g), loss_of, epochs=epochs)
    run.save(classifiers.checkpoint(model, run.settings, classes))
    scores = {}
    for split, index in (("test", photos.test), ("trainval", photos.trainval)):
        index = index[labels[index] >= 0]
        if len(index):
            right = classifiers.predict_classes(model, photos, index) == labels[index]
            scores[split] = {"accuracy": float(right.mean()), "photos": len(index)}
    return scores


def train_segmenter(
    run, photos, mask_of, *, segmenter, size, epochs, batch_size, lr, reading, boxes=None, frozen_stages=0
):
    """Train a segmenter on masks, save it and leave it in evaluation mode.

    Background photos, where loaded, train as empty masks.

    Args:
        mask_of: function, photo index to uint8 (size, size) labels with 255 where uncertain.
        segmenter: one of segmenters.SEGMENTERS, or smp:ARCHITECTURE:ENCODER.
        size: side in pixels of what it sees.
        reading: how masks are to be made with it, of postprocessing.finishing.reading.
        boxes: dict photo's index -> its boxes (data.boxes), for `projection_loss`.
        frozen_stages: first stages of the backbone that stay as they are; other segmenters have none to freeze.
    """
    compute.seed_everything(run.settings.seed)
    model = compute.to_device(segmenters.initial(segmenter, run.settings))
    if segmenter == "backbone_unet":
        model.backbone.freeze(frozen_stages)
    row_of, learn = cache.rows(photos), np.concatenate([photos.trainval, photos.background])
    targets = cache.scratch(run, np.uint8, (len(learn), 2 if boxes else 1, size, size))  # all 0 at first
    with compute.threads() as pool:
        number, count = distributed.local_rank()
        own = photos.trainval[number::count]
        read = compute.progress(pool.map(mask_of, own), "reading masks", total=len(own), leave=False)
        for i, target in zip(own, read, strict=True):
            targets[row_of[i], 0] = target
            if boxes and i in boxes:
                for window in boxed.windows(boxes[i], target.shape):
                    targets[row_of[i], 1][window] = 1
    distributed.barrier()

    def loss_of(network, index, generator):
        own = distributed.shard(index)
        images = compute.to_device(photos.batch(own)).float()
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        target = compute.to_device(targets[row_of[own]])
        images, target = data.augment(images, data.randomness(index, generator), target)
        logits, labels = network(compute.normalise(images)).float(), target[:, 0]
        certain = distributed.all_reduce((labels != masks.IGNORE).sum()).clamp_min(1) / distributed.world_size()
        loss = F.cross_entropy(logits, labels, ignore_index=masks.IGNORE, reduction="sum") / certain
        if not boxes:
            return {"loss": loss}
        projection = projection_loss(logits.softmax(1)[:, 1], target[:, 1] > 0)
        return {"loss": loss + PROJECTION_WEIGHT * projection, "projection": projection}

    make_batches = lambda g: data.batches(learn, batch_size, g)  # noqa: E731
    fit(run, model, adamw(model, lr=lr), make_batches, loss_of, epochs=epochs)
    run.save(segmenters.checkpoint(model, segmenter, run.settings, size, reading))
    return model
