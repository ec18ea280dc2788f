"""What a trained network says of photos: classes, maps, and the masks made of them, in chunks of photo indices."""

from functools import partial
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F

from src import cam, compute, data, ecs, masks, metrics, pictures


@torch.inference_mode()
def predict_classes(model, photos, index, among=None, chunk=64):
    """The class with the highest score for each photo, int64 (n,), in full precision.

    One pass is cheap beside a map's four or more, and a choice is not a little off: in bf16 MobileNetV2 takes another
    of ImageNet's 1000 classes for every tenth photo, which costs the pretrained CAM a quarter to half a point.

    Args:
        among: only the first so many classes are candidates; None: all.
    """
    found = {}
    for some in compute.share(data.chunks(index, chunk)):
        classes = model(compute.normalise(photos.batch(some)))[:, :among].argmax(1)
        found.update(zip(some.tolist(), classes.tolist(), strict=True))
    found = dict(chain.from_iterable(part.items() for part in compute.gather_objects(found)))
    return np.array([found[int(i)] for i in index], np.int64)


def classes_to_ask(model, classes, photos):
    """The class whose map is wanted for each pet photo, int64 (P,).

    trainval: the image label, which is the supervision. test: the class that the network predicts, among pets only
    where it also knows a background class. A network with other classes (ImageNet's) is asked for its prediction
    everywhere.
    """
    pets = np.concatenate([photos.trainval, photos.test])
    labels, count = photos.labels_of(classes)
    asked = np.zeros(len(pets), np.int64)
    if labels is not None:
        asked[photos.trainval] = labels[photos.trainval]
    predicted = photos.test if labels is not None else pets
    if len(predicted):
        asked[predicted] = predict_classes(model, photos, predicted, count)
    return asked


def cam_and_ecs(model, photos, asked, settings, scales, delta, theta):
    """Predictor for make_masks: indices to {"cam": (n, S, S), "ecs": (n, S, S)} in [0, 1], the class from `asked`."""

    @torch.inference_mode()
    def predict(index):
        classes = compute.upload(asked[index])

        def maps_of(photos):
            with compute.autocast(settings):
                return cam.class_maps(model.backbone(photos)[1], model.fc.weight, classes)

        batch = compute.normalise(photos.batch(index))
        first, both = ecs.cam_and_ecs(lambda looked: cam.multi_scale(maps_of, looked, scales), batch, delta, theta)
        return {"cam": first.cpu().numpy(), "ecs": both.cpu().numpy()}

    return predict


def ccam(model, photos, head_of, settings, scales):
    """Predictor for make_masks: indices to {"ccam": (n, S, S)} in [0, 1], from head head_of[i] for photo i."""

    @torch.inference_mode()
    def predict(index):
        def maps_of(photos):
            with compute.autocast(settings):
                return model.maps(photos, head_of[index])

        maps = cam.multi_scale(maps_of, compute.normalise(photos.batch(index)), scales)
        return {"ccam": cam.normalise(maps).cpu().numpy()}

    return predict


def segmenter(networks, photos, size, settings, scales=(1.0,)):
    """Predictor for make_masks: indices to {"pet": (n, size, size)}.

    Probabilities are averaged over the networks, the scales (factors of size) and both mirror images.
    """

    @torch.inference_mode()
    def predict(index):
        batch, total = compute.upload(photos.batch(index)).float(), 0
        for scale in scales:
            side = cam.scaled_side(size, scale)
            scaled = compute.normalise(F.interpolate(batch, (side, side), mode="bilinear", antialias=True))
            for network in networks:
                with compute.autocast(settings):
                    scores = torch.stack([network(scaled), network(scaled.flip(-1)).flip(-1)])
                mean = scores.float().softmax(2)[:, :, 1].mean(0)
                total = total + F.interpolate(mean[:, None], (size, size), mode="bilinear")[:, 0]
        return {"pet": (total / (len(scales) * len(networks))).cpu().numpy()}

    return predict


def make_masks(run, photos, outputs, predict, ignore_band=0.0, chunk=32):
    """Make, save, score and preview the masks of all pets, a chunk at a time so that memory does not grow with them.

    Args:
        run: runs.Run; masks go to <run>/<folder>/<name>.png.
        photos: data.PhotoSet.
        outputs: dict folder -> masks.Recipe.
        predict: function, indices (n,) to dict name -> (n, S, S) numpy maps in [0, 1].
        ignore_band: half-width in probability of the band that is saved as 255; scoring ignores no pixel.

    Returns:
        dict with "test" and "trainval" (and "test_<x>" for a folder masks_<x>) -> metrics.summarise, and "oracle":
        the best threshold with its IoU, a diagnostic that looked at the truth. Without trimaps: empty.
    """
    for folder in outputs:
        (run.path / folder).mkdir(exist_ok=True)  # by whichever process comes first
    truth = photos.has_trimaps()
    if not truth:
        run.log("no trimaps here: masks are made but not scored")
    split = {int(i): "test" for i in photos.test} | {int(i): "trainval" for i in photos.trainval}
    index = np.concatenate([photos.test, photos.trainval])
    counts, sweeps, group = {}, {}, compute.group_size()
    own = compute.share(index)
    bar = compute.progress(title="masks", total=len(own) * len(outputs), unit="mask")

    def collect(folder, some, done):
        for i, (count, swept) in zip(some, chain.from_iterable(done), strict=True):
            key = split[int(i)] + folder.removeprefix("masks")
            counts.setdefault(key, []).append(count)
            if swept is not None:
                sweeps.setdefault(key, []).append(metrics.per_photo_iou(swept).astype(np.float32))
            bar.update()

    with compute.threads() as pool:
        waiting = []
        for some in data.chunks(own, chunk):
            maps = predict(some)
            for folder, recipe in outputs.items():
                values, threshold, at = maps[recipe.source], recipe.threshold, None
                if threshold is not None:
                    values = masks.probability(values, threshold)
                    if recipe.refine is None:
                        at = masks.probability(masks.ORACLE, threshold)
                items = [
                    (photos.paths[i], photos.trimap_path(i) if truth else None, value,
                     run.path / folder / f"{photos.names[i]}.png")
                    for i, value in zip(some, values, strict=True)
                ]  # fmt: skip
                finish = partial(masks.finish, recipe=recipe, ignore_band=ignore_band, sweep=at)
                groups = [items[k : k + group] for k in range(0, len(items), group)]
                waiting.append((folder, some, pool.map(finish, groups)))  # which the threads begin at once
            while len(waiting) > compute.unfinished() * len(outputs):
                collect(*waiting.pop(0))
        for job in waiting:
            collect(*job)
    bar.close()
    counts, sweeps = (_merge(compute.gather_objects(found)) for found in (counts, sweeps))
    if compute.rank() == 0:
        pictures.preview(run, photos, index, outputs)
    if not truth:
        return {}
    scores = {key: metrics.summarise(counts[key]) for key in sorted(counts)}
    best = {key: _best(swept) for key, swept in sweeps.items()}
    return scores | ({"oracle": best} if best else {})


def _merge(parts):
    """One dict of lists from each process to one of all."""
    return {key: [value for part in parts for value in part.get(key, [])] for key in dict.fromkeys(chain(*parts))}


def _best(ious):
    """Diagnostic: the threshold with the best mean pet IoU, chosen with the truth, from a row of IoUs a photo."""
    means = np.mean(ious, axis=0, dtype=float)
    return {"threshold": round(float(masks.ORACLE[int(np.argmax(means))]), 2), "pet_iou": float(means.max())}
