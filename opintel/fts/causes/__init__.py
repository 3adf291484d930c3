"""What goes wrong, by rules and tables: codes and facets of a text, families of causes that operators extend."""
