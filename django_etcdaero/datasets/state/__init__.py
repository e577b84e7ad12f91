"""What the coordination plane says about datasets."""
