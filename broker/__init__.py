"""The consent broker: the program that companies run."""
