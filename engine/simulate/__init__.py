"""Simulated Sentinel-1 products, AlphaEarth tiles and truth."""
