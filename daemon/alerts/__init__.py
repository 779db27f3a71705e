"""Alert rules as data: what they ask, what they find on a scene, in time or in history, how it is told."""
