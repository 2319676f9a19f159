"""Search spaces: genes, encodings and the networks that they describe.

It may import `eetool.model` and no other package of `eetool.search`. Entry points: `builtin_spaces.load_space` for a
space by name, `space.make_space` for one of your own.
"""
