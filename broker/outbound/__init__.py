"""Everything that opens a connection to somebody else."""
