"""One function per verb: what the broker does, on values and a transaction."""
