"""The U-Net, its model card, the backends that run it, the registry that finds it."""
