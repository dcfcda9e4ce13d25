"""A page that runs a .tflite file in the browser, on a picture or on the camera."""
