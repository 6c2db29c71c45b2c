"""The Lance back end: indexes that outgrow memory live in a Lance table on disk.

Nothing outside imports more than `opening`: the library costs memory and time, and is optional.
"""
