"""What changed between two passes: places compared by objects, by pixels and by the engine."""
