"""Storage: every SQL statement of the broker; rows in, domain values out."""
