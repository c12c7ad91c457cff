"""Recipe to model: patches, augmentation, losses, loop, resume, report.

The door is :func:`cellrim.training.run.train`.
"""
