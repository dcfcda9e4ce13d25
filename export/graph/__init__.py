"""The Keras model on its way to a file: fixed size, heads, calibration, conversion, rescue."""
