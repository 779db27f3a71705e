"""Remarks on detections, each with its evidence: flags mark, they never remove."""
