"""Networks: backbones, classifiers on them, segmenters."""
