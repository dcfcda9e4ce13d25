"""What is proven of a file: verification, report, page."""
