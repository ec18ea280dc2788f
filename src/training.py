"""The training loop that every script shares, and the three trainings that use it."""

import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from src import cam, ccam, compute, data, ecs, evaluation, masks, models, pictures, segmenters
from src.errors import InputError

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4


def fit(run, model, optimizer, make_batches, loss_of, epochs):
    """Train with a cosine schedule; one row of metrics.csv, one line and one resumable state an epoch.

    Args:
        run: runs.Run; an interrupted run goes on after its last whole epoch, with the same result as without a break.
        model: already placed on the device; left in evaluation mode.
        optimizer: its learning rates are where the schedule starts.
        make_batches: function, torch.Generator to the list of batches of one epoch.
        loss_of: function, (batch, torch.Generator) to a dict of scalar tensors; "loss" is minimised. With several
            processes it computes on its share of the batch, gathers, and returns what one process would.
        epochs: passes over the data.

    Raises:
        InputError: the loss is not finite; names the epoch.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    done, state = 0, run.resume()
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["epoch"]
        run.log(f"resuming after epoch {done}")
    for epoch in range(done + 1, epochs + 1):
        start = time.time()
        # Seeded by epoch, so that a resumed run sees what an unbroken one sees.
        epoch_seed = run.settings.seed * 100_003 + epoch
        torch.manual_seed(epoch_seed)
        generator = torch.Generator().manual_seed(epoch_seed)
        batches = make_batches(generator)
        model.train()
        sums = {}
        for step, batch in enumerate(compute.progress(batches, f"epoch {epoch}/{epochs}", leave=False)):
            progress = (epoch - 1 + step / len(batches)) / epochs
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * progress)) / 2
            with compute.autocast(run.settings):
                parts = loss_of(batch, generator)
            optimizer.zero_grad(set_to_none=True)
            parts["loss"].backward()
            compute.average_gradients(model.parameters())
            optimizer.step()
            for name, value in parts.items():  # summed on the device: reading each would wait for it
                sums[name] = sums.get(name, 0) + value.detach().float()
        compute.share_buffers(model)
        row = {name: float(total) / len(batches) for name, total in sums.items()}
        if not math.isfinite(row["loss"]):
            raise InputError(f"the loss became {row['loss']} in epoch {epoch} of {run.path}; try a lower learning rate")
        seconds = time.time() - start
        run.row(epoch, {**row, "seconds": seconds})
        figures = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
        run.log(f"epoch {epoch}/{epochs}: {figures}, {seconds:.0f} s, {seconds * (epochs - epoch):.0f} s left")
        run.keep({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch})
    model.eval()
    if compute.rank() == 0:
        pictures.curves(run.path)


def sgd(groups):
    """SGD with momentum over (parameters, learning rate) pairs; BatchNorm weights and biases get no weight decay."""
    options = []
    for parameters, rate in groups:
        parameters = [p for p in parameters if p.requires_grad]
        if parameters and rate:
            options.append({"params": [p for p in parameters if p.ndim > 1], "lr": rate, "weight_decay": WEIGHT_DECAY})
            options.append({"params": [p for p in parameters if p.ndim <= 1], "lr": rate, "weight_decay": 0.0})
    return torch.optim.SGD(options, momentum=MOMENTUM, nesterov=True, fused=True)


def train_classifier(run, photos, labels, classes, start, epochs, batch_size, lr, head_lr, frozen_stages):
    """Fine-tune a classifier on image-level labels and save it.

    Args:
        photos: data.PhotoSet; trained on trainval and, where loaded, the background photos.
        labels: int64 (P+B,) class of each photo; classes: their names.
        start: models.Classifier to start from; its head is replaced.
        lr, head_lr: learning rates of the backbone and of the new fully connected layer.
        frozen_stages: first stages of the backbone that stay as they are.

    Returns:
        metrics: accuracy on trainval (what it learned from) and on test.
    """
    compute.seed_everything(run.settings.seed)
    start.fc = torch.nn.Linear(start.fc.in_features, len(classes))
    model = compute.place(start)
    model.backbone.freeze(frozen_stages)
    learn = np.concatenate([photos.trainval, photos.background])
    optimizer = sgd([(model.backbone.parameters(), lr), (model.fc.parameters(), head_lr)])

    def loss_of(index, generator):
        batch = compute.upload(photos.batch(compute.share(index)))
        batch = compute.normalise(data.augment(batch, data.randomness(index, generator)))
        scores, wanted = compute.gather(model(batch).float(), len(index)), compute.upload(labels[index])
        return {
            "loss": F.cross_entropy(scores, wanted, label_smoothing=0.1),
            "accuracy": (scores.argmax(1) == wanted).float().mean(),
        }

    fit(run, model, optimizer, lambda generator: data.batches(learn, batch_size, generator), loss_of, epochs)
    run.save(models.checkpoint(model, run.settings, classes))
    metrics = {}
    for split, index in (("test", photos.test), ("trainval", photos.trainval)):
        if len(index):
            right = evaluation.predict_classes(model, photos, index) == labels[index]
            metrics[split] = {"accuracy": float(right.mean()), "photos": len(index)}
    return metrics


def train_ccam(run, photos, model, epochs, batch_size, alpha, lr, head_lr, frozen_stages, head_of=None, guide=None):
    """Train a CCAM, its class-specific form or CCAM+ECS, decide its polarity, and leave it in evaluation mode.

    Args:
        model: ccam.CCAM.
        alpha: of SimMax's rank weights.
        lr, head_lr: learning rates of the backbone (with fc) and of the activation heads.
        frozen_stages: first stages of the backbone that stay as they are; 5 trains the heads alone, on features that
            are computed once.
        head_of: int64 (P,), which head each photo trains. Each batch then holds photos of one head, because the loss
            compares photos of one class. None: one head for all.
        guide: None, or dict(labels=int64 (P,), delta, theta, ecs_weight, class_weight): adds the
            classification loss and the squared distance between the map and the ECS-CAM of the label.
    """
    compute.seed_everything(run.settings.seed)
    for head in model.heads:
        torch.nn.init.normal_(head[0].weight, std=0.01)
    model = compute.place(model)
    model.backbone.freeze(frozen_stages)
    head_of = np.zeros(len(photos.names), np.int64) if head_of is None else head_of
    learned = list(model.backbone.parameters()) + (list(model.fc.parameters()) if guide else [])
    optimizer = sgd([(learned, lr), (model.heads.parameters(), head_lr)])

    def make_batches(generator):
        groups = [photos.trainval[head_of[photos.trainval] == head] for head in range(len(model.heads))]
        batches = [batch for group in groups if len(group) for batch in data.batches(group, batch_size, generator)]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator)]

    def loss_of(index, generator):
        if cached:
            features = cached(index, generator)
        else:
            batch = compute.upload(photos.batch(compute.share(index)))
            batch = compute.normalise(data.augment(batch, data.randomness(index, generator)))
            features, last = model.features(batch)
        logits = model.logits(features, head_of[index[0]], len(index))
        parts = {"loss": ccam.loss(features, logits, alpha, len(index))}
        if guide:
            parts |= _ecs_losses(model, batch, last, logits, index, guide)
            parts["loss"] = parts["loss"] + parts.pop("extra")
        return parts

    cached = None if guide or frozen_stages < 5 else features_once(run, photos, model)
    fit(run, model, optimizer, make_batches, loss_of, epochs)
    _decide_polarity(run, photos, model, head_of)
    return model


def scratch(run, kind, shape):
    """An array in a nameless file of the run directory, so that memory does not grow with the photos.

    The processes of one machine share it: each fills in its part, and reads after `compute.wait()`.
    """
    number, _ = compute.on_this_machine()
    path = run.path / f"scratch{os.environ.get('GROUP_RANK', '')}"  # torchrun's number of the machine
    if number == 0:
        np.memmap(path, kind, "w+", shape=shape)
    compute.wait()
    array = np.memmap(path, kind, "r+", shape=shape)
    compute.wait()
    if number == 0:
        path.unlink()
    return array


def rows(photos):
    """Row of each photo in an array of the trainval photos, int64 (P+B,)."""
    row_of = np.zeros(len(photos.names), np.int64)
    row_of[photos.trainval] = np.arange(len(photos.trainval))
    return row_of


@torch.inference_mode()
def features_once(run, photos, model, chunk=32):
    """Compute the features of each trainval photo and of its mirror image, for a backbone that does not change.

    They are float16 in a file, 2 C h w bytes a view (0.5 MB for MobileNetV2 and 1.2 MB for ResNet-50 at 224 px). The
    processes of a machine share file and work.

    Returns:
        function, (photo indices (n,), torch.Generator) to features (n, C, h, w) of a random view of each photo of
        this process's share.
    """

    def look(index, mirrored):
        batch = compute.normalise(photos.batch(index))
        with compute.autocast(run.settings):
            return model.features(batch.flip(-1) if mirrored else batch)[0].half().cpu().numpy()

    row_of = rows(photos)
    cache = scratch(run, np.float16, (len(photos.trainval), 2, *look(photos.trainval[:1], False).shape[1:]))
    number, count = compute.on_this_machine()
    for some in compute.progress(data.chunks(photos.trainval[number::count], chunk), "features", leave=False):
        for view in (0, 1):
            cache[row_of[some], view] = look(some, view == 1)
    compute.wait()

    def random_views(index, generator):
        views = torch.randint(2, (len(index),), generator=generator).numpy()
        chosen = cache[row_of[compute.share(index)], compute.share(views)]
        return compute.upload(chosen).float()

    return random_views


def _ecs_losses(model, batch, last, logits, index, guide):
    """Classification loss and MSE to the ECS-CAM; the target is made by the network as it is, without gradient."""
    labels = compute.upload(guide["labels"][index])
    own = compute.share(labels)
    scores = compute.gather(model.fc(last.mean(dim=(2, 3))).float(), len(index))
    with torch.no_grad():
        first = cam.class_maps(last, model.fc.weight, own)
        look = lambda erased: cam.class_maps(model.features(erased)[1], model.fc.weight, own)  # noqa: E731
        _, target = ecs.cam_and_ecs(look, batch, guide["delta"], guide["theta"], first)
    classify = F.cross_entropy(scores, labels)
    pull = F.mse_loss(compute.gather(logits.sigmoid(), len(index)), compute.gather(target, len(index)))
    extra = guide["class_weight"] * classify + guide["ecs_weight"] * pull
    return {"extra": extra, "class_loss": classify, "ecs_loss": pull}


@torch.inference_mode()
def _decide_polarity(run, photos, model, head_of, chunk=64):
    """Set model.polarity of each head from the border band of its maps over the photos it was trained on."""
    border = np.zeros(len(photos.names))
    for some in compute.share(data.chunks(photos.trainval, chunk)):
        with compute.autocast(run.settings):
            features, _ = model.features(compute.normalise(photos.batch(some)))
            logits = model.logits_of(features, head_of[some])
        border[some] = ccam.border_minus_inside(logits).cpu().numpy()
    border = sum(compute.gather_objects(border))
    for head in range(len(model.heads)):
        own = photos.trainval[head_of[photos.trainval] == head]
        model.polarity[head] = -1.0 if len(own) and border[own].mean() > 0 else 1.0
    turned = int((model.polarity < 0).sum())
    run.log(f"polarity: {turned} of {len(model.heads)} maps showed the background and are turned")


def train_segmenter(run, photos, labels_of, name, size, epochs, batch_size, lr):
    """Train a segmenter on masks, save it and leave it in evaluation mode.

    Args:
        labels_of: function, photo index to uint8 (size, size) labels with 255 where uncertain.
        name: segmenters.SEGMENTERS.
        size: side in pixels of what it sees.
    """
    compute.seed_everything(run.settings.seed)
    model = compute.place(segmenters.initial(name, run.settings))
    decay, free = ([p for p in model.parameters() if (p.ndim > 1) == wanted] for wanted in (True, False))
    optimizer = torch.optim.AdamW(
        [{"params": decay}, {"params": free, "weight_decay": 0.0}], lr, weight_decay=0.01, fused=True
    )
    row_of = rows(photos)
    labels = scratch(run, np.uint8, (len(photos.trainval), size, size))
    with compute.threads() as pool:
        number, count = compute.on_this_machine()
        own = photos.trainval[number::count]
        read = compute.progress(pool.map(labels_of, own), "reading masks", total=len(own), leave=False)
        for i, label in zip(own, read, strict=True):
            labels[row_of[i]] = label
    compute.wait()

    def loss_of(index, generator):
        own = compute.share(index)
        batch = compute.upload(photos.batch(own)).float()
        batch = F.interpolate(batch, (size, size), mode="bilinear", antialias=True)
        wanted = compute.upload(labels[row_of[own]])
        batch, wanted = data.augment(batch, data.randomness(index, generator), wanted)
        scores = model(compute.normalise(batch)).float()
        certain = compute.total((wanted != masks.IGNORE).sum()).clamp_min(1) / compute.processes()
        return {"loss": F.cross_entropy(scores, wanted, ignore_index=masks.IGNORE, reduction="sum") / certain}

    fit(run, model, optimizer, lambda generator: data.batches(photos.trainval, batch_size, generator), loss_of, epochs)
    run.save(segmenters.checkpoint(model, name, run.settings, size))
    return model
