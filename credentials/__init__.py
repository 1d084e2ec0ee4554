"""Credentials: keys, certificates, identifiers, SD-JWT VC, status lists, verification.

Pure functions over values: no clock (`now` is an argument, Unix seconds), no network, no
storage. `credentials.verify` is the only place that builds `Verified...` values.
"""
