"""Online: from the notice of a scene to rows in PostGIS."""
