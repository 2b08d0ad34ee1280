"""The doors into the compiler: PyTorch to ONNX, ONNX to the FLOAT graph."""
