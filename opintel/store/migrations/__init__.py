"""Migrations of the store's schema, run by `open_store`."""
