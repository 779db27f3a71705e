"""From weights to the two ONNX graphs and a bundle."""
