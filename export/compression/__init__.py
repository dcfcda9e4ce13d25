"""Smaller and quantization-aware models, by way of tf_keras."""
