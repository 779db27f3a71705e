"""The PostGIS store."""
