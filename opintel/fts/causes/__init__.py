"""Families of causes: what goes wrong, by rules that operators extend."""
