"""The kinds of index that a leg can be; `base` has their common contract."""
