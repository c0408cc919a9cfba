"""What leaves a run: tables of its triplets, data sets and encoders for the Hub, ONNX."""
