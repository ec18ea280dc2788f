"""The kinds of work that run.py times: each a function that gives, for plain True or False, a step and its count."""

import atexit
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from src import compute, data, maps, predicted, prediction, training
from src.data.decoding import decode
from src.drawings import painter
from src.methods import cam, cam_ecs, ccam
from src.models import backbones, classifiers, segmenters
from src.postprocessing import crf, finishing, masks
from src.report import pictures

NETWORK, SIDE, BATCH = "resnet50", 224, 16  # run.py's flags of these names replace them
SCALES = (0.5, 1.0, 1.5, 2.0)


def images_of(count, side):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def temporary_folder():
    """Path of a folder that goes with the program."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name)


def plain_input(images):
    """Normalised fp32 images in the default layout."""
    return compute.normalise(images).contiguous()


def network(plain, heads=1):
    torch.manual_seed(0)
    model = ccam.CCAM(classifiers.untrained(NETWORK, 37), heads=heads)
    return model.to(compute.device()) if plain else compute.to_device(model)


def looker(plain):
    """The network for inference: as it is, or with BatchNorm fused."""
    model = network(plain).eval()
    return model if plain else backbones.fuse_batchnorm(model)


def settings(amp):
    return SimpleNamespace(amp=amp, seed=0, image_size=SIDE)


def trainer(model, loss_of, amp):
    optimizer = training.sgd([(model.parameters(), 0.001)])
    model.train()

    def step():
        with compute.autocast(settings(amp)):
            loss = loss_of(model)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def ccam_train():
    images = images_of(BATCH, SIDE)

    def way(plain):
        prepare = plain_input if plain else compute.normalise

        def loss_of(model):
            features, _ = model.features(prepare(images))
            return ccam.contrastive_loss(features, model.logits(features), alpha=0.8)

        return trainer(network(plain), loss_of, not plain), BATCH

    return way


def inference():
    images = images_of(BATCH, SIDE)

    def way(plain):
        model = looker(plain)

        @torch.inference_mode()
        def step():
            with compute.autocast(settings(not plain)):
                model.features(plain_input(images) if plain else compute.normalise(images))

        return step, BATCH

    return way


def ccam_map():
    """Maps at four scales with flip: photo by photo, or all photos of a size at once."""
    images = images_of(BATCH, SIDE)

    def way(plain):
        model = looker(plain)

        @torch.inference_mode()
        def look(batch):
            def maps_of(scaled):
                with compute.autocast(settings(not plain)):
                    return model.activation_maps(scaled, np.zeros(len(scaled), np.int64))

            return maps.multi_scale(maps_of, batch, SCALES)

        if plain:
            return lambda: look(plain_input(images[:1])), 1
        return lambda: look(compute.normalise(images)), BATCH

    return way


def ecs_cam():
    """The weighted sums of ECS-CAM from given features: a photo's channels one at a time, or one product for all."""
    side = SIDE // 16
    features, classes = torch.rand(BATCH, 2048, side, side), torch.arange(BATCH) % 37
    weight = torch.randn(37, 2048)
    features, weight, classes = (x.to(compute.device()) for x in (features, weight, classes))

    def one_at_a_time(_):
        found = []
        for photo, label in zip(features, classes, strict=True):
            total = torch.zeros(side, side, device=photo.device)
            for channel, value in zip(photo, weight[label], strict=True):
                total += value * channel
            found.append(total.relu())
        return torch.stack(found)

    def way(plain):
        maps_of = one_at_a_time if plain else lambda _: cam.class_maps(features, weight, classes)
        batch = compute.normalise(images_of(BATCH, SIDE))
        return (lambda: cam_ecs.look_twice(maps_of, batch, delta=0.5, theta=0.15)), BATCH

    return way


def class_specific(classes=6, each=8, epochs=20):
    """Heads of some classes: each class's photos through the backbone in every pass, or once."""
    images = images_of(classes * each, SIDE)

    class Photos:
        names, trainval, background = list(range(len(images))), np.arange(len(images)), np.arange(0)

        def batch(self, index):
            return images[index]

    def way(plain):
        model = network(plain, classes)
        model.backbone.freeze(5)
        model.train()
        optimizer = training.sgd([(model.heads.parameters(), 0.01)])
        generator = torch.Generator().manual_seed(0)

        def all_trainings():
            with tempfile.TemporaryDirectory() as folder, compute.autocast(settings(not plain)):
                if not plain:
                    run = SimpleNamespace(settings=settings(True), path=Path(folder))
                    views = training.features_once(run, Photos(), model)
                for head in range(classes):
                    index = np.arange(head * each, (head + 1) * each)
                    for _ in range(epochs):
                        features = model.features(plain_input(images[index]))[0] if plain else views(index, generator)
                        loss = ccam.contrastive_loss(features, model.logits(features, head), alpha=0.8)
                        optimizer.zero_grad(set_to_none=True)
                        loss.backward()
                        optimizer.step()

        return all_trainings, classes

    return way


def unet_train():
    images = images_of(BATCH, SIDE)
    labels = torch.randint(0, 2, (BATCH, SIDE, SIDE), device=compute.device())

    def way(plain):
        torch.manual_seed(0)
        model = segmenters.UNet().to(compute.device()) if plain else compute.to_device(segmenters.UNet())
        prepare = plain_input if plain else compute.normalise
        return trainer(model, lambda m: F.cross_entropy(m(prepare(images)).float(), labels), not plain), BATCH

    return way


def overhead(count=64):
    """Getting a batch ready: decoding JPEG files in every pass, or taking it from the decoded cache."""
    folder = temporary_folder()
    paths = [folder / f"{i}.jpg" for i in range(count)]
    for path, photo in zip(paths, images_of(count, 2 * SIDE), strict=True):
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(path, quality=90)
    decoded = np.stack([decode(path, SIDE).transpose(2, 0, 1) for path in paths])
    index, generator = np.arange(BATCH), torch.Generator().manual_seed(0)

    def way(plain):
        def step():
            chosen = np.stack([decode(path, SIDE).transpose(2, 0, 1) for path in paths[:BATCH]])
            return plain_input(data.augment(compute.to_device(chosen).float(), data.randomness(index, generator)))

        def fast():
            batch = torch.from_numpy(decoded[index]).to(compute.device())
            return compute.normalise(data.augment(batch, data.randomness(index, generator)))

        return (step if plain else fast), BATCH

    return way


def predict(fast, size=(500, 375)):
    """predict.py on files: photo by photo, or in batches with decoding and writing beside the network."""
    folder = temporary_folder()
    paths = [folder / f"{i}.jpg" for i in range(BATCH)]
    rng = np.random.default_rng(0)
    for path in paths:  # drawn, because noise makes the dense CRF and the files as slow as no photo does
        painter.develop(painter.scene(rng, *size[::-1]), rng).save(path, quality=90)
    reading = finishing.reading((1.25,), crf.DenseCRF())

    def plainly(network):
        refinement = None if fast else finishing.refinement(reading)
        for path in paths:
            photo = decode(path)
            small = torch.from_numpy(decode(path, SIDE).transpose(2, 0, 1))[None]
            how = {"scales": reading["scales"], "flip": not fast}
            prob = segmenters.probabilities(settings(False), [network], small, SIDE, **how)
            full = finishing.refined([photo], prob, {"mask": finishing.Recipe(refinement)})["mask"][0]
            masks.save(folder / f"{path.stem}.png", masks.label(full, 0))
            pictures.save_overlay(folder / f"{path.stem}_overlay.jpg", photo, full > 0.5)
            pictures.save_cutout(folder / f"{path.stem}_cutout.png", photo, full > 0.5)

    def way(plain):
        torch.manual_seed(0)
        network = segmenters.untrained("backbone_unet", NETWORK)
        if plain:
            network = network.to(compute.device()).eval()
            return lambda: plainly(network), BATCH
        segmenter = prediction.Segmenter(network, SIDE, reading, fast, empty_below=0)
        photos = {path.stem: path for path in paths}

        def ours():
            shutil.rmtree(folder / "masks", ignore_errors=True)  # a mask that is there would be kept
            return list(predicted.write_masks(segmenter, photos, folder))

        return ours, BATCH

    return way


ROWS = {
    "ccam_train": ccam_train, "inference": inference, "ccam_map": ccam_map, "ecs_cam": ecs_cam,
    "class_specific": class_specific, "unet_train": unet_train, "overhead": overhead,
    "predict_fast": lambda: predict(fast=True), "predict": lambda: predict(fast=False),
}  # fmt: skip
COUNTED = ("ccam_train", "inference", "ccam_map", "unet_train")  # whose arithmetic is that of a network
