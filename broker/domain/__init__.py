"""The broker's rules as values and pure functions: no SQL, no network, no clock."""
