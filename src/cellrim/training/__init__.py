"""Recipe to model: patches, augmentation, losses, loop, resume, report."""
