"""Drawn photographs: a sample data root that needs no download, and labelled drawings to pretrain on."""
