"""What is measured of any torch model."""
