"""A run in the formats of other libraries: sentence-transformers, open_clip, ONNX. One file a format."""
