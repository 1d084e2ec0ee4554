"""The HTTP interface for machines: decode, call one use case, encode."""
