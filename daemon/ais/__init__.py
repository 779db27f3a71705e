"""AIS: what ships say of themselves, read from files, and laid beside what the radar saw (docs/ais.md)."""
