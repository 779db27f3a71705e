"""Chips, records and datasets."""
