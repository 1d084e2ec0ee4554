"""The demonstration's application: who leaves, by a logistic regression with interactions."""
