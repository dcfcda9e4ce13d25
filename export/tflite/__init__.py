"""What a .tflite file is: reading, patching, metadata, running, timing."""
