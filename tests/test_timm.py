"""--backbone timm:NAME: five stages at stride 16, maps where the network looked, and one line for what cannot be."""

import sys

import pytest
import torch
import torchvision

from conftest import TINY
from src import InputError, checkpoints, distributed, maps
from src.models import backbones, classifiers, segmenters, timm_networks

FIT = {  # name -> where in its pixels a cell looks, and whether a linear layer follows its pooling
    "resnet18": (0.0, True),
    "mobilenetv3_small_100": (0.0, False),
    "efficientnet_lite0": (0.0, True),
    "convnext_atto": (0.5, False),
    "tf_efficientnet_b0": (1.0, True),
}
UNFIT = {
    "vit_tiny_patch16_224": "it is no row of five convolutional stages",
    "resnet26d": "which no upsampling fits",
    "tf_efficientnet_lite0": "normalised otherwise than by ImageNet's mean and deviation",
}


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="timm is not installed (requirements-optional.txt)")


@pytest.mark.parametrize("name", FIT)
def test_cells_are_put_back_where_they_looked(timm, name):
    """What changes in the last stages when squares of a photo change lies at the squares, on average."""
    torch.manual_seed(0)
    backbone = classifiers.untrained(f"timm:{name}", 2).backbone.eval()
    assert backbone.centre == FIT[name][0]
    photo, off = torch.randn(1, 3, 1, 1) + 0.3 * torch.randn(1, 3, 224, 224), []
    for top, left in ((80, 112), (100, 64), (70, 130), (110, 88)):
        other = photo.clone()
        other[..., top : top + 24, left : left + 24] += torch.randn(1, 3, 1, 1)
        with torch.no_grad():
            before, after = backbone(photo), backbone(other)
        assert [feature.shape[1:] for feature in after] == [(channels, 14, 14) for channels in backbone.channels[3:]]
        changed = maps.upsample((after[0] - before[0]).square().sum(1), 224, backbone.centre)[0]
        rows, columns = torch.where(changed > changed.max() / 2)
        off.append([rows.float().mean() - top - 11.5, columns.float().mean() - left - 11.5])
    assert torch.tensor(off).mean(0).abs().max() < 4  # a map half a cell off would be 8 pixels off


def test_timms_resnet_is_torchvisions(timm, settings, tmp_path):
    """The same weights from a file give the same logits and the same features as torchvision's network."""
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    settings.weights = str(tmp_path / "weights.pth")
    ours = classifiers.pretrained(settings).eval()
    settings.backbone = "timm:resnet18"
    theirs = classifiers.pretrained(settings).eval()
    photos = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs(photos), ours(photos))
        for one, other in zip(theirs.backbone.pyramid(photos)[1:], ours.backbone.pyramid(photos)[1:], strict=True):
            torch.testing.assert_close(one, other)
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="does not hold weights of timm:resnet18"):
        classifiers.pretrained(settings)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_may_be_a_file_of_timms(timm, settings, tmp_path, suffix):
    network, path = timm.create_model("mobilenetv3_small_050"), tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        pytest.importorskip("safetensors.torch").save_file(network.state_dict(), path)
    settings.backbone, settings.weights = "timm:mobilenetv3_small_050", str(path)
    classifier = classifiers.pretrained(settings)
    assert torch.equal(classifier.backbone.stages[0][0].weight, network.conv_stem.weight)


def test_synchronised_batchnorm_keeps_the_activation(timm):
    """timm's BatchNorm is the activation after it, too; a network without activations would train without a word."""
    torch.manual_seed(0)
    network, photos = timm.create_model("mobilenetv3_small_050").eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = network(photos)
        synchronised = distributed.synchronised(network)
        assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in synchronised.modules())
        torch.testing.assert_close(synchronised(photos), before)


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_is_refused_in_a_line(timm, name):
    with pytest.raises(InputError, match=f"^timm:{name} cannot be a backbone here: .*{UNFIT[name]}$"):
        classifiers.untrained(f"timm:{name}", 2)


def test_unknown_names_missing_weights_and_a_missing_package(timm, settings, monkeypatch):
    with pytest.raises(InputError, match="timm:none_such: Unknown model"):
        backbones.create("timm:none_such")
    settings.backbone, settings.weights = "timm:mobilenetv3_small_100", "imagenet"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/no/where")
    with pytest.raises(InputError, match="the ImageNet weights of timm:mobilenetv3_small_100 cannot be had"):
        classifiers.pretrained(settings)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"needs the package timm \(pip install timm\)"):
        backbones.create("timm:resnet18")


def test_scripts_go_through_with_a_backbone_of_timms(timm, script):
    """From classifier to CAM, CCAM and a segmenter around it, each stage built anew from its checkpoint."""
    words = ["--backbone", "timm:mobilenetv3_small_050", *TINY[2:], "--no-amp"]
    words += ["--data-root", script.data_root, "--runs-root", script.runs_root]
    code, _, err = script("train_classifier/evaluate_cam.py", *words, tiny=False)
    assert code == 2 and "CAM needs a linear layer after the pooling" in err and len(err.splitlines()) == 1
    for path, *flags in (
        ("train_classifier/train_classifier_cat_dog.py", "--epochs", "1"),
        ("train_classifier/evaluate_cam.py", "--init", "cat_dog", "--test-only"),
        ("train_classifier/evaluate_cam.py", "--init", "cat_dog", "--test-only", "--method", "layercam"),
        ("train_ccam/train_ccam.py", "--epochs", "1"),
        ("train_ccam/evaluate_ccam.py", "--test-only"),
        ("train_ccam/ensemble_masks.py", "--scales", "1", "--members", "layercam cat_dog"),
        ("train_unet/train_on_gt.py", "--segmenter", "backbone_unet", "--epochs", "1", "--size", "48"),
        ("train_unet/evaluate_unet.py", "--model", "train_on_gt"),
    ):
        code, _, err = script(path, *flags, *words, tiny=False)
        assert code == 0, err
    path = script.runs_root / "train_on_gt" / "seed0" / "checkpoint.pt"
    assert checkpoints.read(path)["backbone"] == words[1]
    assert isinstance(segmenters.load(path)[0].backbone, backbones.Backbone)


def test_a_backbone_is_measured_in_inference_mode_too(timm, settings):
    """Class evidence and the expected time of own photos may be the first to ask for it."""
    timm_networks._measure.cache_clear()
    settings.backbone = "timm:mobilenetv3_small_050"
    with torch.inference_mode():
        assert classifiers.pretrained(settings).backbone.centre == 0
