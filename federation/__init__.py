"""Training one model together, on consented rows only.

For campaigns of consortium members: the gate that lets a row into a round only under a live
consent, the receipt of each round, privacy accounting and unlearning. This version holds nothing
yet: the package marks the place and the direction of imports (`broker` may use it, it may use
`credentials`). Flower will live in an environment and a process of its own.
"""
