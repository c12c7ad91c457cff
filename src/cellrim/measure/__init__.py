"""Label image and image to one row of measurements per cell."""
