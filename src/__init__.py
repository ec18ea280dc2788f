"""Datasets, models, maps, masks, metrics and run directories. Knows no experiment."""
