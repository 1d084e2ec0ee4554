"""Federated training demonstrated: a consortium of real processes."""
