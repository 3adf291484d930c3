"""Triggers and segments in the formats that the field's tools read and write.

* `ligolw_writer`, `ligolw_reader`: tables of LIGO Light-Weight XML
* `bursts`: triggers as `sngl_burst` tables, and as HDF5 in Omicron's layout
* `flags`: segments as LIGO_LW tables, and as JSON
"""
