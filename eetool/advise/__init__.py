"""Advice before a long training: whether early exit can pay on a network, data and device (docs/decisions/0044).

It may import everything below `report`. Entry point: `advice.advise`.
"""
