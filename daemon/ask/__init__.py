"""Free questions: what the engine says of a detection, an area or a scene, kept with its inputs."""
