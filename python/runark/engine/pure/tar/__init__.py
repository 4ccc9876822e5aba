"""The tar stream: ustar headers with pax records, written and read by hand (`docs/archive-format.md`).

`writer` builds members from `header`, `pax`, `sparse` and `acl`; `reader` is the strict pull parser over the same
parts. Neither knows files or compression.
"""
