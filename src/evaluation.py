"""What a trained network says of photos: classes, maps, and the masks made of them, in chunks of photo indices."""

from functools import partial
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F

from src import cam, compute, data, ecs, masks, metrics, pictures


@torch.inference_mode()
def predict_classes(model, photos, index, settings, among=None, chunk=64):
    """The class with the highest score for each photo, int64 (n,).

    Args:
        among: only the first so many classes are candidates; None: all.
    """
    found = {}
    for some in compute.share(data.chunks(index, chunk)):
        with compute.autocast(settings):
            classes = model(compute.normalise(photos.batch(some)))[:, :among].argmax(1)
        found.update(zip(some.tolist(), classes.tolist(), strict=True))
    found = dict(chain.from_iterable(part.items() for part in compute.gather_objects(found)))
    return np.array([found[int(i)] for i in index], np.int64)


def classes_to_ask(model, classes, photos, settings):
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
        asked[predicted] = predict_classes(model, photos, predicted, settings, count)
    return asked


def cam_and_ecs(model, photos, asked, settings, scales, delta, theta):
    """Predictor for make_masks: indices to {"cam": (n, S, S), "ecs": (n, S, S)} in [0, 1], the class from `asked`."""

    @torch.inference_mode()
    def predict(index):
        classes = torch.from_numpy(asked[index]).to(compute.device())

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


def segmenter(model, photos, size, settings):
    """Predictor for make_masks: indices to {"pet": (n, size, size)}, probabilities averaged over both mirror images."""

    @torch.inference_mode()
    def predict(index):
        batch = photos.batch(index).to(compute.device()).float()
        batch = compute.normalise(F.interpolate(batch, (size, size), mode="bilinear", antialias=True))
        with compute.autocast(settings):
            scores = [model(batch).float(), model(batch.flip(-1)).flip(-1).float()]
        return {"pet": torch.stack(scores).softmax(2)[:, :, 1].mean(0).cpu().numpy()}

    return predict


def make_masks(run, photos, outputs, predict, ignore_band=0.0, chunk=32):
    """Make, save, score and preview the masks of all pets, a chunk at a time so that memory does not grow with them.

    Args:
        run: runs.Run; masks go to <run>/<folder>/<name>.png.
        photos: data.PhotoSet.
        outputs: dict folder -> (name of a map, threshold, crf.CRF or None). A threshold of None means that the map
            is a probability already.
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
    bar = compute.progress(title="masks", total=len(own), unit="photo")
    with compute.threads() as pool:
        for some in data.chunks(own, chunk):
            maps = predict(some)
            for folder, (name, threshold, refine) in outputs.items():
                values = maps[name] if threshold is None else masks.probability(maps[name], threshold)
                at = None if threshold is None or refine is not None else masks.probability(masks.ORACLE, threshold)
                items = [
                    (photos.paths[i], photos.trimap_path(i) if truth else None, value,
                     run.path / folder / f"{photos.names[i]}.png")
                    for i, value in zip(some, values, strict=True)
                ]  # fmt: skip
                finish = partial(masks.finish, refine=refine, ignore_band=ignore_band, sweep=at)
                done = chain.from_iterable(
                    pool.map(finish, [items[k : k + group] for k in range(0, len(items), group)])
                )
                for i, (count, swept) in zip(some, done, strict=True):
                    key = split[int(i)] + folder.removeprefix("masks")
                    counts.setdefault(key, []).append(count)
                    sweeps.setdefault(key, []).append(swept)
            bar.update(len(some))
    bar.close()
    counts, sweeps = (_merge(compute.gather_objects(found)) for found in (counts, sweeps))
    if compute.rank() == 0:
        pictures.preview(run, photos, index, outputs)
    if not truth:
        return {}
    scores = {key: metrics.summarise(counts[key]) for key in sorted(counts)}
    best = {key: _best(np.array(swept)) for key, swept in sweeps.items() if swept[0] is not None}
    return scores | ({"oracle": best} if best else {})


def _merge(parts):
    """One dict of lists from each process to one of all."""
    return {key: [value for part in parts for value in part.get(key, [])] for key in dict.fromkeys(chain(*parts))}


def _best(counts):
    """Diagnostic: the threshold with the best mean pet IoU, chosen with the truth; counts is (N, thresholds, 3, 2)."""
    ious = [float(metrics.per_photo_iou(counts[:, k]).mean()) for k in range(counts.shape[1])]
    return {"threshold": round(float(masks.ORACLE[int(np.argmax(ious))]), 2), "pet_iou": max(ious)}
