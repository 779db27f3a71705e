"""Reading Sentinel-1 products: files, radiometry, geometry, land."""
