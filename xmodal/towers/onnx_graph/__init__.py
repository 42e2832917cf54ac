"""Frozen encoders that are ONNX graphs, run by onnxruntime (extra `onnx`)."""
