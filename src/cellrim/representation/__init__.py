"""Label images to maps and back."""
