"""Zero-knowledge proofs over BLS12-381.

For BBS signatures whose holder proves statements about hidden attributes ("18 or older", "lives in
one of these cities", "not revoked in this epoch") without showing them. This version holds nothing
yet: the package marks the place and the direction of imports (`credentials` may use it, it uses
nothing of this project).
"""
