"""Transfers of a grid with faults whose truth is known."""
