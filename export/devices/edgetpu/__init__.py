"""The Coral Edge TPU: rules, limits, and Google's compiler."""
