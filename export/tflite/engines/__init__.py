"""Runtimes other than LiteRT's interpreter that `load_tflite(path, kernels=NAME)` can use.

Each is a script that `_child.py` runs, so it imports nothing of kseg. Its function `load` takes the
path of a file and what LiteRT says of its inputs and outputs, and returns a function from the
values of the inputs to those of the outputs.
"""
