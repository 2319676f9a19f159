"""Search spaces: genes, and the network that their values describe.

May import `eetool.model`.
Entry points: `space.Space`, and `builtin_spaces.load_space` for the spaces of eetool and of the user.
"""
